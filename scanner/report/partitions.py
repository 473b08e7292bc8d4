"""More rows than memory holds, cut into parts on disk: rows with equal keys lie in one part.

    with Partitions(folder, schema, keys=["query_id"], parts=parts_for(rows)) as cut:
        cut.add(table)                      # again and again
        for part in range(cut.parts): cut.read(part)

What has to see all rows of a key (a join, a group) then works part by part.  The files are scratch: the folder is the
caller's, who removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes.atomic import disk_full_explained

PART_ROWS = 1 << 19
PARTS_MAX = 256
"""Each part is an open file; beyond `PARTS_MAX * PART_ROWS` rows parts grow."""


def parts_for(rows: int) -> int:
    """Return how many parts to cut so many rows into, for about `PART_ROWS` rows in memory at a time."""
    return min(PARTS_MAX, 1 + rows // PART_ROWS)


class Partitions:
    """Rows of a schema in `parts` files: a context manager; `read` may be called once no more rows come.

    Args:
        folder: where the files go; it must be there and empty of files called NUMBER.arrow.
        schema: of all rows.
        keys: string columns; rows that agree in all of them come to lie in one part.
        parts: how many.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, keys: Sequence[str], parts: int) -> None:
        self.folder, self.schema, self.parts = folder, schema, parts
        self._keys = tuple(keys)
        self._stack = ExitStack()
        self._writers: list[pa.RecordBatchWriter] = []

    def __enter__(self) -> Self:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with ExitStack() as stack:
            for part in range(self.parts):
                file = stack.enter_context(pa.OSFile(str(self._path(part)), "wb"))
                self._writers.append(stack.enter_context(pa.ipc.new_stream(file, self.schema, options=options)))
            self._stack = stack.pop_all()
        return self

    def add(self, table: pa.Table) -> None:
        """Add rows of the schema, in any number and order."""
        table = table.cast(self.schema)
        with disk_full_explained(self.folder):
            if self.parts == 1:
                self._writers[0].write_table(table)
                return
            part = _hashes(table, self._keys) % np.uint64(self.parts)
            order = np.argsort(part, kind="stable")
            ordered = table.take(pa.array(order))
            bounds = np.searchsorted(part[order], np.arange(self.parts + 1))
            for number, writer in enumerate(self._writers):
                first, end = int(bounds[number]), int(bounds[number + 1])
                if end > first:
                    writer.write_table(ordered.slice(first, end - first))

    def read(self, part: int) -> pa.Table:
        """Return the rows of a part, in the order in which they were added."""
        self._stack.close()
        with pa.OSFile(str(self._path(part))) as file:
            return pa.ipc.open_stream(file).read_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _path(self, part: int) -> Path:
        return self.folder / f"{part}.arrow"


def _hashes(table: pa.Table, keys: Sequence[str]) -> NDArray[np.uint64]:
    """Return a number for each row, equal for equal keys; each different text is hashed once."""
    total = np.zeros(table.num_rows, np.uint64)
    for key in keys:
        encoded = table[key].combine_chunks().dictionary_encode(null_encoding="encode")
        of_text = [0 if text is None else crc32(text.encode()) + 1 for text in encoded.dictionary.to_pylist()]
        total = total * np.uint64(0x9E3779B97F4A7C15) + np.array(of_text, np.uint64)[encoded.indices.to_numpy()]
    return total >> np.uint64(1)
