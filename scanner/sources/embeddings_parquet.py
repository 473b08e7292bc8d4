"""Embeddings in a Parquet column of lists of numbers, with id, uri and identity columns where there are any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner.errors import SourceError
from scanner.sources.embedding_rows import FINGERPRINT_KEY, ROWS_MAX, EmbeddingRows, unit_rows
from scanner.sources.location import Location
from scanner.sources.parquet import columns_sentence, open_parquet, rows_of_groups, text_column


class ParquetEmbeddings:
    """The rows of one file."""

    def __init__(self, location: Location, *, column: str) -> None:
        """Read the footer; where lists may differ in length, the most frequent one of the first rows is right.

        Raises:
            SourceError: no Parquet file, or no column of lists of floats with that name.
        """
        self.uri = location.uri
        self._location = location
        self._column = column
        with location.open() as file:
            parquet = open_parquet(file, self.uri)
            schema = parquet.schema_arrow
            self._size_bytes = file.seek(0, 2)
            self._group_rows = rows_of_groups(parquet, self._size_bytes, self.uri)
            kind = _vector_type(schema, column, self.uri)
            self.dim = kind.list_size if pa.types.is_fixed_size_list(kind) else _usual_length(parquet, column)
        if self.count() and not self.dim:
            raise SourceError(f"Column {column!r} of {self.uri} holds no numbers in its first rows.")
        names = [text_column(schema, name, self.uri, must_be=False) for name in ("id", "uri", "identity")]
        self._names = [name for name in names if name is not None]
        mark = (schema.metadata or {}).get(FINGERPRINT_KEY)
        self.fingerprint: str | None = mark.decode("utf-8", "replace") if mark else None

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, column, rows, dim, bytes and a hash over samples of the content."""
        return {
            "kind": "parquet embeddings",
            "uri": self.uri,
            "column": self._column,
            "entries": self.count(),
            "dim": self.dim,
            "bytes": self._size_bytes,
            "content": self._location.content_hash(),
        }

    def count(self) -> int:
        """Return how many rows there are."""
        return sum(self._group_rows)

    def batches(self, *, rows_max: int = ROWS_MAX, skip: int = 0) -> Iterator[EmbeddingRows]:
        """Yield blocks that never reach over the end of a row group."""
        with self._location.open() as file:
            parquet = open_parquet(file, self.uri)
            first = 0
            for group, rows in enumerate(self._group_rows):
                if first + rows > skip:
                    yield from self._group(parquet, group, first=first, skip=skip, rows_max=rows_max)
                first += rows

    def _group(self, parquet: Any, group: int, *, first: int, skip: int, rows_max: int) -> Iterator[EmbeddingRows]:
        end = first + self._group_rows[group]
        columns = [self._column, *self._names]
        try:
            for batch in parquet.iter_batches(batch_size=rows_max, row_groups=[group], columns=columns):
                passed = min(max(0, skip - first), batch.num_rows)
                if passed < batch.num_rows:
                    yield self._block(batch.slice(passed), first + passed)
                first += batch.num_rows
        except (pa.ArrowException, OSError, ValueError):  # also names that are no UTF-8
            pass
        for start in range(max(first, skip), end, rows_max):
            lost = dict.fromkeys(range(start, min(start + rows_max, end)), f"row group {group} cannot be read")
            yield self._rows(np.zeros((0, self.dim)), np.zeros(0, np.int64), {}, lost)

    def _block(self, batch: Any, first: int) -> EmbeddingRows:
        lists = batch.column(self._column)
        lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
        bad = {
            first + int(index): "no vector" if lengths[index] < 0 else f"{lengths[index]} numbers, expected {self.dim}"
            for index in np.flatnonzero(lengths != self.dim)
        }
        mask = pa.array(lengths == self.dim)
        # What is null inside a list becomes NaN, and its row a reject.
        numbers = pc.list_flatten(lists.filter(mask)).to_numpy(zero_copy_only=False)
        names = {
            name: [None if own is None else str(own) for own in batch.column(name).filter(mask).to_pylist()]
            for name in self._names
        }
        rows = first + np.flatnonzero(lengths == self.dim).astype(np.int64)
        return self._rows(numbers.reshape(-1, self.dim), rows, names, bad)

    def _rows(self, vectors: Any, rows: Any, names: dict[str, list[str | None]], bad: dict[int, str]) -> EmbeddingRows:
        return unit_rows(vectors, uri=self.uri, rows=rows, names=names, bad=bad)


def _vector_type(schema: Any, column: str, uri: str) -> Any:
    if column not in schema.names:
        raise SourceError(f"Column {column!r} of {uri} is not there.  {columns_sentence(schema)}")
    kind = schema.field(column).type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise SourceError(f"Column {column!r} of {uri} holds {kind}; lists of floats are needed.")
    return kind


def _usual_length(parquet: Any, column: str) -> int:
    """Return the most frequent length among the first lists; 0 where there is none."""
    try:
        batch = next(parquet.iter_batches(batch_size=1024, columns=[column]), None)
    except (pa.ArrowException, OSError):
        return 0
    lengths = [] if batch is None else pc.drop_null(pc.list_value_length(batch.column(column))).to_pylist()
    return Counter(lengths).most_common(1)[0][0] if lengths else 0
