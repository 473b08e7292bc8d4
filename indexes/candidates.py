"""Candidates: pairs that a rough score could not rule out, and the rising bar for the next ones.

The exact engine feeds rough scores of tile after tile; this keeps, for each query, the score below
which nothing can matter any more, and at the end scores what is left exactly.
"""

import numpy as np
import numpy.typing as npt

from indexes.engine import Question
from indexes.hits import Hits
from indexes.references import References
from indexes.rescore import cut, preselection_margin, rescore
from indexes.vectors import Float32Array

_PRUNE_ROWS = 2_000_000


class Candidates:
    """Candidates of one search.

    Args:
        question: the search.
        references: what is searched; row numbers mean its rows.

    `bars` is float32 (q,): a pair whose rough score is below its query's bar cannot be a hit. Bars
    only rise, so a thread that reads an old bar selects too much, never too little.
    """

    def __init__(self, question: Question, references: References) -> None:
        self._question = question
        self._references = references
        queries, dim = question.queries.shape
        # Two margins: one for the pair's own rough score, one for the rough k-th best.
        self.slack = np.float32(2 * preselection_margin(dim))
        self._k = min(question.k, references.rows)
        self._best: Float32Array = np.full((queries, self._k), -np.inf, np.float32)
        self._query_rows: list[npt.NDArray[np.int32]] = []
        self._rows: list[npt.NDArray[np.int64]] = []
        self._scores: list[Float32Array] = []
        self._count = 0
        self._prune_at = _PRUNE_ROWS
        no_best = np.full(queries, -np.inf if self._k else np.inf, np.float32)
        self.bars: Float32Array = self._bar_for(no_best)

    def select(
        self, start: int, row_start: int, products: Float32Array
    ) -> tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int64], Float32Array]:
        """Pick a tile's candidates; changes nothing, so threads may call it side by side.

        Args:
            start: first query of the block.
            row_start: first row of the tile.
            products: float32 (block, tile), rough scores.

        Returns:
            (start, query_row, row, rough score) for `add`.
        """
        bars = self.bars[start : start + products.shape[0]]
        # One pass over the products finds the few lines worth a second look.
        lines = np.flatnonzero(products.max(axis=1) >= bars)
        looked_at, bars = products[lines], bars[lines]
        if self._k and self._k < products.shape[1] and np.isneginf(bars).any():
            kth = np.partition(looked_at, -self._k, axis=1)[:, -self._k]
            bars = np.maximum(bars, self._bar_for(kth))
        line, column = np.nonzero(looked_at >= bars[:, None])
        query_row = (lines[line] + start).astype(np.int32)
        return start, query_row, column + row_start, looked_at[line, column]

    def add(
        self,
        picked: tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int64], Float32Array],
    ) -> None:
        """Keep what `select` picked and raise the bars; one thread only.

        Raises:
            TooManyHits: more candidates than `hits_max` allows hits.
        """
        _, query_row, row, score = picked
        if not query_row.size:
            return
        self._query_rows.append(query_row)
        self._rows.append(row)
        self._scores.append(score)
        self._count += query_row.size
        if self._k:
            self._improve_best(query_row, score)
        if self._count > min(self._prune_at, self._question.hits_max):
            self._prune()
            self._question.check_count(self._count)
            self._prune_at = self._count + _PRUNE_ROWS

    def hits(self) -> Hits:
        """Score what is left exactly and return the hits."""
        query_row, row, _ = self._prune()
        ids = self._references.ids[row]
        score = rescore(self._question.queries, self._references, query_row, row)
        found = Hits.from_pairs(query_row, ids, score)
        return cut(found, threshold=self._question.threshold, k=self._k)

    def _prune(
        self,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], Float32Array]:
        query_row = np.concatenate([np.empty(0, np.int32), *self._query_rows])
        row = np.concatenate([np.empty(0, np.int64), *self._rows])
        score = np.concatenate([np.empty(0, np.float32), *self._scores])
        kept = score >= self.bars[query_row]
        query_row, row, score = query_row[kept], row[kept], score[kept]
        self._query_rows, self._rows, self._scores = [query_row], [row], [score]
        self._count = query_row.size
        return query_row, row, score

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
        if threshold is not None:
            kth = np.minimum(kth, np.float32(threshold))
        bars: Float32Array = kth - self.slack
        return bars
