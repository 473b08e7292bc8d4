"""References in an index: found block by block, erased with a record, and their bytes rewritten away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import Index, open_index
from indexes.lock import write_lock
from scanner.erasing.columns import VECTOR, Side, sides_of
from scanner.erasing.known import Known, Local
from scanner.erasing.rows import choose, learn

_ROWS = 16_384


def learn_from_index(path: Path, known: Known) -> list[int]:
    """Return the ids of the references that go, and learn what the index knows of them.

    Raises:
        IndexesError: the index cannot be read.
    """
    index = open_index(path)
    name, found, labels = path.resolve().name, list[int](), set[str]()
    for ids, table in _blocks(index):
        local = Local()
        chosen = choose(table, known, local, index.fingerprint)
        learn(table, chosen, known, local, index.fingerprint)
        found += ids[chosen.rows].tolist()
        labels |= _labels(table.filter(pa.array(~chosen.rows)))
    if found:
        known.references |= {f"{name}\0{reference}" for reference in found}
        gone = _labels(index.lookup(found, columns=_columns(index)))
        known.orphans |= {f"{name}\0{label}" for label in gone - labels - known.labels}
    return found


def needs_compacting(path: Path) -> bool:
    """True when the bytes of references erased earlier are still there."""
    return bool(open_index(path).manifest.tombstones)


def check_unlocked(path: Path) -> None:
    """Raise LockedError while somebody writes the index."""
    with write_lock(path):
        pass


def erase_references(path: Path, ids: list[int], *, request: str | None, at: datetime) -> None:
    """Erase references that are still there, and write every segment that held an erased one anew.

    Raises:
        LockedError: another process writes the index.
    """
    index = open_index(path)
    references = index.references()
    left = np.intersect1d(np.array(ids, np.int64), references.ids[references.live_rows()])
    if len(left):
        index.remove(left, request=request, clock=lambda: at)
    index.compact()


def _blocks(index: Index) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield (ids, rows with their vectors in the column `embedding`) of all references that are not erased."""
    references = index.references()
    rows, columns = references.live_rows(), _columns(index)
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        ids = references.ids[some]
        table = index.lookup(ids, columns=columns)
        flat = pa.array(references.gather(some).reshape(-1), pa.float32())
        yield ids, table.append_column(VECTOR, pa.FixedSizeListArray.from_arrays(flat, index.dim))


def _columns(index: Index) -> list[str]:
    """Return the columns that say whom a reference shows."""
    wanted = {name for side in sides_of(index.schema) for name in _names(side)}
    return [name for name in index.schema.names if name in wanted]


def _names(side: Side) -> set[str]:
    return {name for name in (side.uri, side.label, side.item, side.face, side.others) if name is not None}


def _labels(table: pa.Table) -> set[str]:
    names = table["identity"].to_pylist() if "identity" in table.column_names else []
    return {name for name in names if name is not None}
