"""The tables of one run, asked a little at a time: views with row numbers, pictures of faces one by one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner import artefacts
from scanner.errors import QueryError
from scanner.report.database import TABLES, Database
from scanner.serve.keyset import Rows

QUERY_S = 30.0
"""A question that takes longer is broken off."""
EXPORT_S = 3600.0
TOGETHER = 4
"""Questions at once; others wait for up to `WAIT_S`."""
WAIT_S = 20.0
OPEN_MAX = 12
"""Runs whose tables are open at once."""
EXPORTS = 2
"""Exports at once: each holds up to a gigabyte while it sorts."""
CropKey = tuple[str, str] | tuple[str, int]
"""Of a scanned face ("", its id), of a reference (its index, its id)."""
_running = threading.BoundedSemaphore(TOGETHER)
_exporting = threading.BoundedSemaphore(EXPORTS)
_opening = threading.Lock()
_opened: OrderedDict[RunTables, Database] = OrderedDict()


class RunTables:
    """The tables of a run; may be asked from several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Look which tables the run has; they are opened when they are asked for the first time.

        Args:
            folder: run folder.
        """
        self._folder = folder
        self.has = frozenset(name for name in TABLES if (folder / f"{name}.parquet").is_file())

    def ask(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Answer one statement of ours.

        Raises:
            ArtefactError: a table is broken, foreign or newer.
            QueryError: it took too long or too much memory, or too many others were running.
        """
        if not _running.acquire(timeout=WAIT_S):
            raise QueryError("Too many questions at once. Try again in a moment.")
        try:
            rows: Rows = self._database().select(sql, list(values)).to_pylist()
        finally:
            _running.release()
        return rows

    @contextmanager
    def stream(self, sql: str, values: Sequence[Any]) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Lend the columns of an answer and its rows, batch by batch; it may take as long as the reader does.

        Raises:
            QueryError: other exports are under way, or it takes too much time or memory.
        """
        if not _exporting.acquire(timeout=WAIT_S):
            raise QueryError(f"{EXPORTS} exports are under way. Try again when one of them is done.")
        try:
            with (
                Database([self._folder], time_limit_s=EXPORT_S) as database,
                database.stream(sql, list(values)) as answer,
            ):
                yield answer.schema, answer.batches
        finally:
            _exporting.release()

    @cached_property
    def has_crops(self) -> bool:
        """Whether crops were kept."""
        return self._crops.is_file()

    def crop(self, side: str, key: CropKey) -> bytes | None:
        """Return the picture of a face as PNG; None where it was not kept.

        Args:
            side: query or reference.
            key: ("", query id), or (index, reference id).

        Raises:
            ArtefactError: the pictures are broken, foreign or newer.
            SealError: they are sealed, and none of the keys opens them.
        """
        if not self._crops.is_file():
            return None
        column = "query_id" if side == "query" else "reference_id"
        with artefacts.open_artefact(self._crops, "crops") as file:
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, columns=["side", "index", column])
                same = pc.and_(pc.equal(keys["side"], side), pc.equal(keys[column], key[1]))
                if side == "reference":
                    same = pc.and_(same, pc.equal(keys["index"], key[0]))
                row = pc.index(same, value=True).as_py()
                if row >= 0:
                    # One row group can hold a hundred megabytes of pictures: they are read in small steps.
                    return _row_of(file, group, row)
        return None

    def _database(self) -> Database:
        """Return the open database; one that nobody asked for longest is let go, and closes when its last answer is given."""
        with _opening:
            if self not in _opened:
                _opened[self] = Database([self._folder], time_limit_s=QUERY_S)
            _opened.move_to_end(self)
            while len(_opened) > OPEN_MAX:
                _opened.popitem(last=False)
            return _opened[self]

    @property
    def _crops(self) -> Path:
        return self._folder / "crops.parquet"


def _row_of(file: Any, group: int, row: int) -> bytes | None:
    for batch in file.iter_batches(batch_size=64, row_groups=[group], columns=["crop_png"]):
        if row < batch.num_rows:
            found: bytes = batch["crop_png"][row].as_py()
            return found
        row -= batch.num_rows
    return None
