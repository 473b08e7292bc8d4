"""Candidates and nulls of a job: indexes that it keeps of their sources, or that somebody else keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from indexes import Index, build_index, open_index
from indexes.atomic import sync_folder
from scanner import artefacts
from scanner.jobs.embedding.intake import RoadIntake
from scanner.jobs.folders import remove_folder
from scanner.jobs.indexing.build import Block, blocks_of, recipe_of, write_account
from scanner.jobs.options import FaceOptions
from scanner.nights.take import Fresh
from scanner.progress import Progress
from scanner.search import check_fingerprint


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
                check_fingerprint(index, intake.fingerprint, what="the job's embedder")
                self._add(index, intake)
            else:
                index = self._build(intake)
            write_account(index, intake, self.specs, resume=True)
        if fresh.items_gone and self.path.exists():
            self._remove(open_index(self.path), fresh.items_gone)

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

    def _add(self, index: Index, intake: RoadIntake) -> None:
        there = {*index.column("item_id").to_pylist(), *index.column("face_id").to_pylist()} - {""}
        blocks = blocks_of(intake, self.progress, schema=index.schema, leave_out=there)
        new: Iterator[Block] = (block for block in blocks if len(block[0]))
        first = next(new, None)
        if first is not None:
            index.add(_chain(first, new))

    def _remove(self, index: Index, items: frozenset[str]) -> None:
        references = index.references()
        ids = references.ids[references.live_rows()]
        gone = pc.is_in(index.column("item_id"), value_set=pa.array(sorted(items), pa.string()))
        chosen = ids[gone.to_numpy()]
        if len(chosen):
            index.remove(chosen, clock=self.clock)


def _chain(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest
