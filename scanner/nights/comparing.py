"""One night's comparisons: what never met, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from indexes import Hits, References, VectorBatch
from indexes.atomic import write_json
from scanner import artefacts
from scanner.jobs.folders import remove_folder, sweep
from scanner.nights.known import Int64, Known, Near, Queries, Search
from scanner.nights.pair_files import read_pairs, write_pairs
from scanner.search import Gallery, nearest_among

BLOCK_ROWS: Final = 4096


class Step:
    """One night's comparisons; finished blocks of queries lie in `work`, so that a killed night goes on behind them."""

    def __init__(self, work: Path, gallery: Gallery, queries: Queries, known: Known, search: Search) -> None:
        self.work, self.gallery, self.queries, self.known, self.search = work, gallery, queries, known, search
        self.references = gallery.index.references()
        self.live_ids = self.references.ids[self.references.live_rows()]
        self.places = np.flatnonzero(queries.alive)
        self.met = known.queries
        self.compared = 0

    def pairs(self, inputs: Mapping[str, str]) -> Hits:
        """Bring pairs and best references up to date; return the pairs that are new."""
        known, alive = self.known, self.queries.alive
        self._begin(inputs)
        fresh, old = self.places[self.places >= self.met], self.places[self.places < self.met]
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

    def _begin(self, inputs: Mapping[str, str]) -> None:
        """Make the folder of finished blocks; blocks of another state of index or queries are thrown away."""
        plan = {**inputs, "met": [self.met, self.known.references], "floor": self.known.floor}
        path = self.work / "plan.json"
        if path.exists() and artefacts.read_json(path) != plan:
            remove_folder(self.work)
        artefacts.make_private_folder(self.work)
        sweep(self.work)
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
            self.compared += len(block) * references.rows
            if path.exists():
                yield read_pairs(path)
                continue
            engine = engine or self.search.open_engine(self.gallery, references)
            found = engine.search(VectorBatch(self.queries.vectors(block)), threshold=self.known.floor, k=1)
            hits = Hits(block[found.query_row], found.reference_id, found.score)
            if kind == "old":  # a few references before the new ones may have been searched along
                hits = hits.take(hits.reference_id >= self.known.references)
            write_pairs(path, hits)
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
