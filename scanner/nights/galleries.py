"""Candidates and nulls of a job: indexes that it keeps of their sources, or that somebody else keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes import Index, VectorBatch, build_index, open_index
from indexes.atomic import sync_folder
from scanner import artefacts
from scanner.jobs.embedding.intake import RoadIntake
from scanner.jobs.folders import remove_folder
from scanner.jobs.indexing.build import Block, add_new, blocks_of, recipe_of, write_account
from scanner.jobs.options import FaceOptions
from scanner.nights.entries import Fresh
from scanner.progress import Progress

_NAMED: Final = ("item_id", "uri", "identity")
_ROWS: Final = 16_384


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index that the job keeps of a set's sources; see `take.Kept`.

    Attributes:
        path: where.
        specs: its sources, as they can be opened.
        faces: how pictures become vectors.
        seed: draws what a codec is trained on.
        clock: says when something was erased.
        progress: where to report.
    """

    path: Path
    specs: tuple[str, ...]
    faces: FaceOptions
    seed: int
    clock: Callable[[], datetime]
    progress: Progress

    def put(self, fresh: Fresh) -> None:
        """See `Kept.put`."""
        if fresh.parts is not None and fresh.opened is not None and fresh.counts.faces:
            self.progress.stage(f"index of {self.path.stem}", total=fresh.counts.faces, unit="faces")
            intake = RoadIntake(fresh.opened, fresh.parts)
            if self.path.exists():
                index = open_index(self.path)
                add_new(index, intake, self.progress)
            else:
                index = self._build(intake)
            write_account(index, intake, self.specs, resume=True)
        if fresh.names_changed and self.path.exists():
            self._follow(fresh.seen, fresh.items_gone)

    def _build(self, intake: RoadIntake) -> Index:
        made = self.path.with_name(f".{self.path.name}.building")
        remove_folder(made)  # of a night that was killed
        build_index(
            made,
            blocks_of(intake, self.progress),
            fingerprint=intake.fingerprint,
            dim=intake.dim,
            schema=artefacts.REFERENCE_ROWS,
            embedder=recipe_of(intake, self.faces),
            seed=self.seed,
        )
        made.chmod(artefacts.PRIVATE)
        made.rename(self.path)
        sync_folder(self.path.parent)
        return open_index(self.path)

    def _follow(self, seen: pa.Table, items_gone: frozenset[str]) -> None:
        """Take out references of which no entry is left; where it has another name or label now, the reference gets that one.

        A reference is never changed: it is added again with the same vector, and then the old one is removed, so that a
        second call after a kill finds what is left to do.
        """
        index = open_index(self.path)
        references = index.references()
        rows = references.live_rows()
        named = pa.table({name: index.column(name) for name in _NAMED})
        mine = pa.concat_arrays([seen["item_id"].combine_chunks(), pa.array(sorted(items_gone), pa.string())])
        other = pc.invert(pc.is_in(_keys(named), value_set=_keys(seen)))
        stale = pc.and_(other, pc.is_in(named["item_id"], value_set=mine)).to_numpy()
        if not stale.any():
            return
        seen = seen.filter(pc.is_in(seen["item_id"], value_set=named["item_id"].filter(pa.array(stale))))
        old = references.ids[rows[stale]]
        faces = index.column("face_id")
        good = faces.filter(pa.array(~stale))
        there = set(good.filter(pc.is_in(good, value_set=faces.filter(pa.array(stale)))).to_pylist())
        blocks = (block for block in self._renamed(index, old, seen, there) if len(block[0]))
        first = next(blocks, None)
        if first is not None:
            open_index(self.path).add(chain([first], blocks))
        open_index(self.path).remove(old, clock=self.clock)

    def _renamed(self, index: Index, ids: NDArray[np.int64], seen: pa.Table, there: set[str]) -> Iterator[Block]:
        """Yield the references of items that are still there, as their entries are called now."""
        names: dict[str, list[tuple[str, str | None]]] = {}
        for item, *name in zip(*(seen[column].to_pylist() for column in _NAMED), strict=True):
            names.setdefault(item, []).append(tuple(name))
        references = index.references()
        for start in range(0, len(ids), _ROWS):
            some = ids[start : start + _ROWS]
            vectors = references.gather(np.searchsorted(references.ids, some))
            kept, rows = [], []
            for place, row in enumerate(index.lookup(some, columns=index.schema.names).to_pylist()):
                called = names.get(row["item_id"], [])
                if called and row["face_id"] not in there:
                    there.add(row["face_id"])
                    first = next((one for one in called if one[0] == row["uri"]), called[0])
                    others = [uri for uri, _ in called if uri != first[0]]
                    rows.append({**row, "uri": first[0], "identity": first[1], "other_uris": others})
                    kept.append(place)
            yield VectorBatch(vectors[kept]), pa.Table.from_pylist(rows, index.schema)


def _keys(table: pa.Table) -> pa.ChunkedArray:
    """Return item, name and label of each row as one text."""
    return pc.binary_join_element_wise(*(table[name].fill_null("\0") for name in _NAMED), "\n")
