"""What a set of queries was compared with, so that no pair is ever compared twice.

Of one set and one index a folder holds, of some night N,

    state.json            which places of the set and which ids of the index have met, from which score on pairs were kept
    N.pairs.parquet       pairs that reached that score, a file a night
    N.best.parquet        every query's best reference
    N.nearest.parquet     every reference's best queries, where the evidence needs them

A night compares new queries with all references and old queries with new references.  What is gone takes its pairs along; a
query whose best reference is gone, and a reference that lost one of its best queries, are compared anew.  Answers are those
of a search of everything, bit for bit: the score of a pair does not depend on what is searched beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import Engine, Hits, References, VectorBatch
from indexes.atomic import write_json
from scanner import artefacts
from scanner.jobs.folders import remove_folder
from scanner.progress import Progress
from scanner.search import Gallery, nearest_among

BLOCK_ROWS: Final = 4096
MARGIN: Final = 0.02
"""How far below the threshold pairs are kept: a threshold that is calibrated anew moves a little every night."""
_FORMAT: Final = "identity-leak-compared"

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Near = tuple[Int64, Float32, Int64]
"""Ids (r,) ascending, and their best queries: scores (r, k), best first, and places (r, k); -1 where there are fewer."""


@dataclass(frozen=True, slots=True)
class Queries:
    """A set of queries as a memory sees it.

    Attributes:
        rows: how many faces each night brought, by night.
        alive: (n,) bool by place: which still count.
        vectors: returns the vectors (m, dim) float32 of ascending places.
    """

    rows: dict[str, int]
    alive: NDArray[np.bool_]
    vectors: Callable[[Int64], Float32]


@dataclass(slots=True)
class Known:
    """What has met: queries below `queries` (a place) and references below `references` (an id).

    Attributes:
        floor: score from which pairs were kept.
        query, reference_id, score: (p,) those pairs, in order of `Hits`.
        best_id, best_score: (queries,) every query's best reference; id -1 where it never had one.
        near_id: (r,) ids, ascending; `near_score` (r, k) and `near_query` (r, k) their best queries; -1 where there are fewer.
    """

    floor: float
    k: int
    queries: int = 0
    references: int = 0
    pairs: Hits = field(default_factory=Hits.empty)
    best_id: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    best_score: Float32 = field(default_factory=lambda: np.empty(0, np.float32))
    near_id: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    near_score: Float32 = field(default_factory=lambda: np.empty((0, 0), np.float32))
    near_query: Int64 = field(default_factory=lambda: np.empty((0, 0), np.int64))


@dataclass(frozen=True, slots=True)
class Search:
    """How a night searches: `open_engine` makes an engine of some references of a gallery; `progress` is told."""

    open_engine: Callable[[Gallery, References], Engine]
    progress: Progress


@dataclass(frozen=True, slots=True)
class Memory:
    """The folder of one set of queries and one index."""

    folder: Path

    def update(
        self, gallery: Gallery, queries: Queries, *, night: int, threshold: float, k: int, search: Search
    ) -> tuple[Known, dict[str, int]]:
        """Compare what never met; return all that is known, and how many comparisons that took, and a full search takes.

        Args:
            gallery: the index, opened.
            queries: the set.
            night: tonight's number.
            threshold: pairs are kept from a little below it; one that is below what was kept starts anew.
            k: best queries of each reference to know; 0 for none.
            search: engine and progress.
        """
        known = self._read(gallery, queries, threshold, k)
        if known is None:
            for old in (*self.folder.glob("*.parquet"), self.folder / "state.json"):
                old.unlink(missing_ok=True)
            known = Known(threshold - MARGIN, k)
        for folder in (self.folder.parent, self.folder):
            artefacts.make_private_folder(folder)
        step = _Step(self.folder / "work", gallery, queries, known, search)
        new = step.pairs()
        if known.k:
            step.nearest()
        known.queries, known.references = len(queries.alive), gallery.index.manifest.next_id
        self._write_state(known, new, gallery, queries, night)
        remove_folder(self.folder / "work")
        return known, {"compared": step.compared, "of": int(queries.alive.sum()) * gallery.index.rows}

    def _read(self, gallery: Gallery, queries: Queries, threshold: float, k: int) -> Known | None:
        """Return what is known, or None where it says nothing about these queries and this index."""
        path = self.folder / "state.json"
        if not path.exists():
            return None
        state = artefacts.read_json(path)
        segments = _segments(gallery)
        same = (
            state.get("format") == _FORMAT
            and state["fingerprint"] == gallery.index.fingerprint
            and all(segments.get(name) == segment for name, segment in state["segments"].items())
            and list(state["rows"].items()) == list(queries.rows.items())[: len(state["rows"])]
            and state["floor"] <= threshold <= state["floor"] + 2 * MARGIN  # which pairs were kept: nothing is decided
            and k <= state["k"]
        )
        if not same:
            return None
        tables = [artefacts.read_table(self.folder / name, "pairs") for name in state["pairs"]]
        best = artefacts.read_table(self.folder / state["best"], "best")
        known = Known(
            state["floor"], state["k"], state["queries"], state["references"], Hits.concat([_hits(one) for one in tables]),
            best["reference_id"].to_numpy(), best["score"].to_numpy(),
        )  # fmt: skip
        if state["nearest"]:
            near = artefacts.read_table(self.folder / state["nearest"], "nearest")
            known.near_id = near["reference_id"].to_numpy()
            known.near_score, known.near_query = _matrix(near["score"]), _matrix(near["query"])
        return known

    def _write_state(self, known: Known, new: Hits, gallery: Gallery, queries: Queries, night: int) -> None:
        """Write the state of tonight; what only the state before needed goes."""
        path, name = self.folder / "state.json", f"{night:06d}"
        pairs = [*(artefacts.read_json(path)["pairs"] if path.exists() else []), f"{name}.pairs.parquet"]
        best, nearest = f"{name}.best.parquet", f"{name}.nearest.parquet" if known.k else None
        _write_pairs(self.folder / pairs[-1], new)
        _write(self.folder / best, "best", {"reference_id": known.best_id, "score": known.best_score})
        if nearest is not None:
            columns = {"score": _lists(known.near_score), "query": _lists(known.near_query)}
            _write(self.folder / nearest, "nearest", {"reference_id": known.near_id, **columns})
        state = {
            "format": _FORMAT,
            "format_version": 1,
            "fingerprint": gallery.index.fingerprint,
            "segments": _segments(gallery),
            "rows": queries.rows,
            "queries": known.queries,
            "references": known.references,
            "floor": known.floor,
            "k": known.k,
            "pairs": pairs,
            "best": best,
            "nearest": nearest,
        }
        write_json(path, state)
        for file in self.folder.glob("*.parquet"):
            if file.name not in {*pairs, best, nearest}:
                file.unlink()


def _segments(gallery: Gallery) -> dict[str, Any]:
    """Return what says that ids still are the references they were: the segments, none of which is ever changed."""
    return {segment.name: segment.model_dump(mode="json") for segment in gallery.index.manifest.segments}


class _Step:
    """One night's comparisons; finished blocks of queries lie in `work`, so that a killed night goes on behind them."""

    def __init__(self, work: Path, gallery: Gallery, queries: Queries, known: Known, search: Search) -> None:
        self.work, self.gallery, self.queries, self.known, self.search = work, gallery, queries, known, search
        self.references = gallery.index.references()
        self.live_ids = self.references.ids[self.references.live_rows()]
        self.places = np.flatnonzero(queries.alive)
        self.met = known.queries
        self.compared = 0

    def pairs(self) -> Hits:
        """Bring pairs and best references up to date; return the pairs that are new."""
        known, alive = self.known, self.queries.alive
        self._begin()
        fresh, old = self.places[self.places >= self.met], self.places[self.places < self.met]
        known.pairs = known.pairs.take(np.isin(known.pairs.reference_id, self.live_ids))
        lost = old[~np.isin(known.best_id[old], self.live_ids)]  # their best reference is gone
        best_id, best_score = np.full(len(alive), -1, np.int64), np.full(len(alive), -2.0, np.float32)
        best_id[: self.met], best_score[: self.met] = known.best_id, known.best_score
        best_id[lost], best_score[lost] = -1, -2.0
        later = self._later()
        rest = np.setdiff1d(old, lost) if later is not None else np.empty(0, np.int64)
        total = len(fresh) + len(rest) + len(lost)
        self.search.progress.stage(f"search of {self.gallery.name}", total=total or None, unit="faces")
        hits = Hits.concat(
            [
                *self._join("new", fresh, self.references),
                *self._join("lost", lost, self.references),
                *self._join("old", rest, later or self.references),
            ]
        )
        first = hits.best(1)
        row, score, reference = first.query_row, first.score, first.reference_id
        better = (score > best_score[row]) | ((score == best_score[row]) & (reference < best_id[row]))
        best_id[row[better]], best_score[row[better]] = reference[better], score[better]
        known.best_id, known.best_score = best_id, best_score
        kept = hits.take(hits.score >= np.float32(known.floor))
        # Of a query that is compared anew, only pairs with new references are new.
        new = kept.take(~(np.isin(kept.query_row, lost) & (kept.reference_id < known.references)))
        known.pairs = Hits.concat([known.pairs, new])
        return new

    def nearest(self) -> None:
        """Bring every reference's best queries up to date."""
        known, k = self.known, self.known.k
        stay = np.isin(known.near_id, self.live_ids)
        ids, score, query = known.near_id[stay], known.near_score[stay], known.near_query[stay]
        lost = ((query >= 0) & ~self.queries.alive[np.maximum(query, 0)]).any(axis=1)
        again = np.union1d(ids[lost], np.setdiff1d(self.live_ids, ids))
        kept = (ids[~lost], score[~lost], query[~lost])
        fresh = self.places[self.places >= self.met]
        if len(fresh) and len(kept[0]):
            kept = _merged(kept, self._nearest(kept[0], fresh), k)
        parts = [kept, self._nearest(again, self.places)]
        order = np.argsort(np.concatenate([part[0] for part in parts]))
        known.near_id = np.concatenate([part[0] for part in parts])[order]
        known.near_score = np.concatenate([part[1].reshape(-1, k) for part in parts])[order]
        known.near_query = np.concatenate([part[2].reshape(-1, k) for part in parts])[order]

    def _begin(self) -> None:
        """Make the folder of finished blocks; blocks of another state of index or queries are thrown away."""
        plan = {
            "manifest": self.gallery.index.manifest_sha256,
            "queries": hashlib.sha256(np.packbits(self.queries.alive).tobytes()).hexdigest(),
            "rows": self.queries.rows,
            "met": [self.met, self.known.references],
            "floor": self.known.floor,
        }
        path = self.work / "plan.json"
        if path.exists() and artefacts.read_json(path) != plan:
            remove_folder(self.work)
        artefacts.make_private_folder(self.work)
        write_json(path, plan)

    def _later(self) -> References | None:
        """Return the references that the queries have not met, and perhaps a few before them; None without any."""
        row = int(np.searchsorted(self.references.ids, self.known.references))
        return self.references.later(row) if row < self.references.rows_stored else None

    def _join(self, kind: str, places: Int64, references: References) -> Iterator[Hits]:
        """Yield the hits of some queries, block by block; `query_row` is the place of the query."""
        engine = None
        for number, start in enumerate(range(0, len(places), BLOCK_ROWS)):
            block = places[start : start + BLOCK_ROWS]
            path = self.work / f"{kind}-{number:06d}.parquet"
            if path.exists():
                yield _hits(artefacts.read_table(path, "pairs"))
                continue
            engine = engine or self.search.open_engine(self.gallery, references)
            found = engine.search(VectorBatch(self.queries.vectors(block)), threshold=self.known.floor, k=1)
            hits = Hits(block[found.query_row], found.reference_id, found.score)
            if kind == "old":  # a few references before the new ones may have been searched along
                hits = hits.take(hits.reference_id >= self.known.references)
            _write_pairs(path, hits)
            self.compared += len(block) * references.rows
            yield hits
            self.search.progress.advance(len(block))

    def _nearest(self, ids: Int64, places: Int64) -> Near:
        """Return the best queries of some references, given by ascending ids."""
        k = self.known.k
        if not len(ids) or not len(places):
            return ids, np.full((len(ids), k), -1.0, np.float32), np.full((len(ids), k), -1, np.int64)
        rows = np.searchsorted(self.references.ids, ids)
        score, row = nearest_among(self.references, rows, self.queries.vectors(places), k=k)
        return ids, score, np.where(row >= 0, places[np.maximum(row, 0)], -1)


def _merged(left: Near, right: Near, k: int) -> Near:
    """Return the best of both for each reference; among equal scores the lower place comes first, as in any search."""
    score = np.concatenate([left[1], right[1]], axis=1)
    query = np.concatenate([left[2], right[2]], axis=1)
    order = np.lexsort((query, -score), axis=1)[:, :k]
    return left[0], np.take_along_axis(score, order, 1), np.take_along_axis(query, order, 1)


def _hits(table: pa.Table) -> Hits:
    columns = (table[name].to_numpy() for name in ("query", "reference_id", "score"))
    return Hits.from_pairs(*columns)


def _write_pairs(path: Path, hits: Hits) -> None:
    _write(path, "pairs", {"query": hits.query_row, "reference_id": hits.reference_id, "score": hits.score})


def _write(path: Path, name: str, columns: dict[str, Any]) -> None:
    table = pa.table(columns)
    artefacts.write_tables(path, artefacts.stamped(table.schema, name), [table])


def _lists(matrix: NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], column.type)
    values: NDArray[Any] = whole.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, column.type.list_size)
