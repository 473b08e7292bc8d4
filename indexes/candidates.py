"""Candidates: pairs that a rough score could not rule out, and the rising bar for the next ones.

An engine feeds rough scores of tile after tile, each with a bound of its error; this keeps, for each query, the score
below which nothing can matter any more, and at the end scores what is left exactly.
"""

import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from indexes.engine import Question
from indexes.hits import Hits
from indexes.references import References
from indexes.rescore import cut, least_product, rescore
from indexes.vectors import Float32Array

_PRUNE_ROWS = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Rough:
    """Rough scores of a block of queries with a tile: the exact score is within `error` of `scale` times the product.

    Args:
        products: float32 or int32 (block, tile); removed rows hold -inf, or the lowest int32.
        scale: float64 (block,), positive; or 1.
        error: float64 (block,), or one number.
        peaks: (block, runs), the maxima of equal runs of neighbouring columns; all else of the products is looked at
            only where its run's maximum says so.
    """

    products: npt.NDArray[np.float32] | npt.NDArray[np.int32]
    scale: npt.NDArray[np.float64] | float
    error: npt.NDArray[np.float64] | float
    peaks: npt.NDArray[np.float32] | npt.NDArray[np.int32]


class Picked(NamedTuple):
    """Pairs that may be hits: their exact scores lie between `lower` and `upper`."""

    query_row: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    lower: Float32Array
    upper: Float32Array


class Candidates:
    """Candidates of one search.

    Args:
        question: the search.
        references: what is searched; row numbers mean its rows.

    `bars` is float32 (q,): a pair whose product is surely below its query's bar cannot be a hit. Bars
    only rise, so a thread that reads an old bar selects too much, never too little.
    """

    def __init__(self, question: Question, references: References) -> None:
        self._question = question
        self._references = references
        queries = question.queries.shape[0]
        self._k = min(question.k, references.rows)
        self._best: Float32Array = np.full((queries, self._k), -np.inf, np.float32)
        self._picked: list[Picked] = []
        self._count = 0
        self._lock = threading.Lock()
        self._prune_at = _PRUNE_ROWS
        no_best = np.full(queries, -np.inf if self._k else np.inf, np.float32)
        self.bars: Float32Array = self._bar_for(no_best)

    def select(self, start: int, row_start: int, rough: Rough) -> Picked:
        """Pick a tile's candidates; changes nothing, so threads may call it side by side.

        Args:
            start: first query of the block.
            row_start: first row of the tile.
            rough: scores of the block with the tile.
        """
        products = rough.products
        n, tile_rows = products.shape
        scale, error = np.broadcast_to(rough.scale, n), np.broadcast_to(rough.error, n)
        bars = self.bars[start : start + n].astype(np.float64)
        unknown = np.flatnonzero(np.isneginf(bars))
        if unknown.size and 0 < self._k < tile_rows:
            kth = np.partition(products[unknown], -self._k, axis=1)[:, -self._k]
            bars[unknown] = self._bar_for(_down(kth * scale[unknown] - error[unknown]))
        least = _least(bars, scale, error, products.dtype)
        runs = rough.peaks.shape[1]
        line, run = np.nonzero(rough.peaks >= least[:, None])
        found, place = np.nonzero(products.reshape(n, runs, -1)[line, run] >= least[line, None])
        line, column = line[found], run[found] * (tile_rows // runs) + place
        return picked(line + start, column + row_start, products[line, column] * scale[line], error[line])

    def add(self, some: Picked) -> None:
        """Keep candidates and raise the bars; for any thread.

        Raises:
            TooManyHits: more hits than `hits_max`, so far.
        """
        if not some.row.size:
            return
        with self._lock:
            self._picked.append(some)
            self._count += some.row.size
            if self._k:
                self._improve_best(some.query_row, some.lower)
            if self._count > min(self._prune_at, self._question.hits_max):
                self._prune()
                if self._count > self._question.hits_max:
                    self._settle()
                self._question.check_count(self._count)
                self._prune_at = self._count + _PRUNE_ROWS

    def hits(self) -> Hits:
        """Score what is left exactly and return the hits."""
        left = self._prune()
        ids = self._references.ids[left.row]
        score = rescore(self._question.queries, self._references, left.query_row, left.row)
        found = Hits.from_pairs(left.query_row, ids, score)
        return cut(found, threshold=self._question.threshold, k=self._k)

    def _prune(self) -> Picked:
        query_row, row, lower, upper = map(np.concatenate, zip(_NOTHING, *self._picked, strict=True))
        kept = upper >= self.bars[query_row]
        left = Picked(query_row[kept], row[kept], lower[kept], upper[kept])
        self._picked, self._count = [left], left.row.size
        return left

    def _settle(self) -> None:
        """Score all candidates exactly: bounds may let more through than there are hits."""
        left = self._picked[0]
        exact = rescore(self._question.queries, self._references, left.query_row, left.row)
        self._picked = [Picked(left.query_row, left.row, exact, exact)]
        self._prune()

    def _improve_best(self, query_row: npt.NDArray[np.int32], score: Float32Array) -> None:
        order = np.lexsort((-score, query_row))
        query_row, score = query_row[order], score[order]
        rank = np.arange(query_row.size) - np.searchsorted(query_row, query_row)
        top = rank < self._k
        lines, line = np.unique(query_row[top], return_inverse=True)
        fresh = np.full((lines.size, self._k), -np.inf, np.float32)
        fresh[line, rank[top]] = score[top]
        both = np.concatenate([self._best[lines], fresh], axis=1)
        self._best[lines] = np.partition(both, self._k, axis=1)[:, self._k :]
        kth = self._best[lines].min(axis=1)
        self.bars[lines] = np.maximum(self.bars[lines], self._bar_for(kth))

    def _bar_for(self, kth: Float32Array) -> Float32Array:
        threshold = self._question.threshold
        return least_product(kth if threshold is None else np.minimum(kth, np.float32(threshold)))


_NOTHING = Picked(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))


def picked(
    query_row: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    middle: npt.NDArray[np.float64],
    off: npt.NDArray[np.float64],
) -> Picked:
    """Return pairs whose exact scores are within `off` of `middle`."""
    return Picked(query_row.astype(np.int32), row, _down(middle - off), _up(middle + off))


def _least(bars: Any, scale: Any, error: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the products from which pairs may reach their bars, (block,) of `dtype`."""
    least = (bars - error) / scale
    # The lowest number of all stands for removed rows.
    if dtype == np.float32:
        return np.maximum(_down(least), np.finfo(np.float32).min)
    info = np.iinfo(np.int32)
    lowest: npt.NDArray[np.int32] = np.clip(np.floor(least), info.min + 1, info.max).astype(np.int32)
    return lowest


def _down(values: npt.NDArray[np.float64]) -> Float32Array:
    """Round to float32, never up."""
    return np.nextafter(values.astype(np.float32), np.float32(-np.inf))


def _up(values: npt.NDArray[np.float64]) -> Float32Array:
    """Round to float32, never down."""
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))
