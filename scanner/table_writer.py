"""Parquet files of ours: written table by table, complete or absent, sealed where there is a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from indexes.atomic import atomic_path
from indexes.keys import current_keys
from indexes.sealed import create

ROW_GROUP_ROWS: Final = 8192
PRIVATE_COLUMNS: Final = frozenset({"embedding", "crop_png", "latent"})
"""Columns of which one is enough for a table to be sealed."""
_VECTORS: Final = frozenset({"embedding", "latent"})


class TableWriter:
    """Writes one Parquet file, table by table, complete or absent: a context manager.

    Row groups depend on the rows alone, not on how they were cut into tables: equal rows give equal bytes.
    When the block raises, no file is left.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema, self.rows = path, schema, 0
        self._waiting: list[pa.Table] = []
        self._count = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            temporary.touch(mode=0o600)
            private = PRIVATE_COLUMNS.intersection(self.schema.names) and current_keys()
            sink = stack.enter_context(create(temporary)) if private else temporary
            writer = pq.ParquetWriter(
                sink, self.schema, compression="zstd", write_page_checksum=True, **_encodings(self.schema)
            )
            self._writer = stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows of the writer's schema."""
        self._waiting.append(table.cast(self.schema))
        self._count += table.num_rows
        self.rows += table.num_rows
        if self._count >= ROW_GROUP_ROWS:
            joined = pa.concat_tables(self._waiting).combine_chunks()
            whole = self._count - self._count % ROW_GROUP_ROWS
            for start in range(0, whole, ROW_GROUP_ROWS):
                self._writer.write_table(joined.slice(start, ROW_GROUP_ROWS))
            self._waiting, self._count = [joined.slice(whole)], self._count - whole

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is not None:
                raise error  # so that the writer below removes what was begun
            if self._count:
                self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())


def write_tables(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write tables one after the other as one Parquet file, complete or absent; return its rows."""
    with TableWriter(path, schema) as writer:
        for table in tables:
            writer.write(table)
    return writer.rows


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """Return how pyarrow is to lay the columns out: vectors with bytes of the same significance together.

    A dictionary of components, pyarrow's own choice, makes them larger than they are, since hardly two are equal.
    """
    leaves = [leaf for field in schema for leaf in _leaves(field)]
    vectors = [leaf for leaf in leaves if leaf.partition(".")[0] in _VECTORS]
    return {
        "use_dictionary": [leaf for leaf in leaves if leaf not in vectors],
        "column_encoding": dict.fromkeys(vectors, "BYTE_STREAM_SPLIT"),
    }


def _leaves(field: pa.Field, above: str = "") -> Iterator[str]:
    """Yield the columns that Parquet makes of a field, by its names for them."""
    path = above + field.name
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _leaves(inner, f"{path}.")
    elif pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
        yield f"{path}.list.element"
    else:
        yield path
