"""The compressed engine: scan codes, score what could pass exactly, and notice when that was not enough.

A fourteenth to a twenty-fifth of the memory of float32 rows and several times the speed. For each
query the scan returns its `width` best compressed scores; those above a floor, set by the codec's
measured error, are scored exactly. A query whose last compressed hit is still above the floor is
*saturated*: it is searched again wider, and in the end by the exact engine.

A pair is missed only if its compressed score falls short by more than the measured bound: 4
standard deviations at its score, or the worst of all measured pairs, whichever is wider.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from indexes.codec import Codec, CodecError
from indexes.engine import HITS_MAX, Question, check_question
from indexes.errors import IndexesError
from indexes.exact import ExactEngine, cores, one_blas_thread
from indexes.faiss_lib import CompressedScan
from indexes.hits import Hits, Int64Array
from indexes.references import References
from indexes.rescore import cut, preselection_margin, rescore, screen
from indexes.vectors import Float32Array, VectorBatch

WIDTH = 1000
"""Compressed hits first asked of each query; on 500 000 face-like rows nearly every query needs fewer."""

_WIDER = 4
_WIDENINGS_MAX = 2
_BATCH_QUERIES = 2048
_LOAD_ROWS = 1 << 17
_SCREEN_QUERIES = 64


@dataclass(frozen=True, slots=True)
class CompressedStats:
    """What searches have cost so far.

    Args:
        queries: searched.
        widened: searches repeated because the query was saturated.
        exact_queries: queries that the exact engine had to finish.
        screened: pairs scored roughly after the scan.
        rescored: pairs scored exactly.
    """

    queries: int = 0
    widened: int = 0
    exact_queries: int = 0
    screened: int = 0
    rescored: int = 0


class CompressedEngine:
    """Search through codes.

    Args:
        references: rows that all carry codes. The vectors may stay on disk: only what passes the
            scan is read.
        codec: that made the codes.
        error: measured error to rely on; None for the codec's own.
        width: compressed hits first asked of each query.
        threads: for the screening; None for the cores that this process may use.

    Memory: (code bytes + 8) * rows, 12 * width * 2048 for the scan's answers, and one gigabyte
    while the exact engine finishes a query.
    """

    name = "compressed"

    def __init__(
        self,
        references: References,
        codec: Codec,
        *,
        error: CodecError | None = None,
        width: int = WIDTH,
        threads: int | None = None,
    ) -> None:
        if not references.has_codes:
            raise IndexesError(
                "the references carry no codes. Build the index with codec='always', or use the exact engine."
            )
        self._references = references
        self._codec = codec
        self._error = error or codec.error
        self._width = width
        self._threads = threads or cores()
        self._live_rows = None if references.alive is None else references.live_rows()
        self._scan = CompressedScan(codec.centroids, _live_codes(references))
        self.stats = CompressedStats()

    @property
    def rows(self) -> int:
        """Number of references that can be found."""
        return self._references.rows

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return self._references.dim

    def search(
        self,
        queries: VectorBatch | Float32Array,
        *,
        threshold: float | None = None,
        k: int = 0,
        hits_max: int = HITS_MAX,
    ) -> Hits:
        """Search as `Engine.search` promises; see the module for how completeness is kept."""
        question = check_question(queries, dim=self.dim, threshold=threshold, k=k, hits_max=hits_max)
        if not self.rows:
            return Hits.empty()
        question = replace(question, k=min(k, self.rows))
        parts, count = [], 0
        for start in range(0, question.queries.shape[0], _BATCH_QUERIES):
            batch = question.queries[start : start + _BATCH_QUERIES]
            for hits in self._search_batch(replace(question, queries=batch)):
                parts.append(hits.shifted(start))
                count += hits.rows
                question.check_count(count)
        return Hits.concat(parts)

    def _search_batch(self, question: Question) -> list[Hits]:
        pending = np.arange(question.queries.shape[0])
        width = min(max(self._width, 2 * question.k), self.rows)
        found = []
        self._count(queries=pending.size)
        for _ in range(1 + _WIDENINGS_MAX):
            hits, saturated = self._search_width(question, pending, width)
            found.append(hits)
            pending = pending[saturated]
            if not pending.size:
                return found
            self._count(widened=pending.size)
            width = min(width * _WIDER, self.rows)
        self._count(exact_queries=pending.size)
        exact = ExactEngine(self._references, threads=self._threads)
        rest = exact.search(
            question.queries[pending],
            threshold=question.threshold,
            k=question.k,
            hits_max=question.hits_max,
        )
        found.append(Hits(pending[rest.query_row], rest.reference_id, rest.score))
        return found

    def _search_width(self, question: Question, pending: Int64Array, width: int) -> tuple[Hits, npt.NDArray[np.bool_]]:
        """Return the hits of the queries that `width` was enough for, and a mask of the others."""
        queries = np.ascontiguousarray(question.queries[pending])
        live_rows, scores = self._scan.best(self._codec.turn(queries), width)
        rows = live_rows if self._live_rows is None else self._live_rows[live_rows]
        bars = self._bars(question, queries, rows)
        floors = self._error.floor(bars)
        counts = np.count_nonzero(scores >= floors[:, None], axis=1)
        saturated = (counts == width) & (width < self.rows)
        counts[saturated] = 0
        rough = self._screen(queries, rows, counts)
        line = np.repeat(np.arange(pending.size), counts)
        column = np.arange(line.size) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = rough >= bars[line] - np.float32(2 * preselection_margin(self.dim))
        line, row = line[kept], rows[line[kept], column[kept]]
        question.check_count(line.size)
        self._count(screened=kept.size, rescored=line.size)
        exact = rescore(queries, self._references, line, row)
        hits = Hits.from_pairs(pending[line], self._references.ids[row], exact)
        return cut(hits, threshold=question.threshold, k=question.k), saturated

    def _bars(self, question: Question, queries: Float32Array, rows: Int64Array) -> Float32Array:
        """Return, for each query, a rough score that every hit reaches: float32 (q,)."""
        n = queries.shape[0]
        bars = np.full(n, np.inf, np.float32)
        if question.threshold is not None:
            bars[:] = question.threshold
        if question.k:
            # Any k rows bound the k-th best score from below, and the first k are good ones.
            first = self._screen(queries, rows, np.full(n, question.k))
            kth = first.reshape(n, question.k).min(axis=1)
            bars = np.minimum(bars, kth - np.float32(preselection_margin(self.dim)))
        return bars

    def _screen(self, queries: Float32Array, rows: Int64Array, counts: Int64Array) -> Float32Array:
        def look(start: int) -> Float32Array:
            some = slice(start, start + _SCREEN_QUERIES)
            return screen(queries[some], self._references, rows[some], counts[some])

        starts = range(0, queries.shape[0], _SCREEN_QUERIES)
        with one_blas_thread(), ThreadPoolExecutor(self._threads) as pool:
            return np.concatenate([np.empty(0, np.float32), *pool.map(look, starts)])

    def _count(self, **more: int) -> None:
        changed = {name: getattr(self.stats, name) + int(add) for name, add in more.items()}
        self.stats = replace(self.stats, **changed)


def _live_codes(references: References) -> Iterator[npt.NDArray[np.uint8]]:
    for part in references.parts:
        if part.codes is None:
            continue
        for start in range(0, part.codes.shape[0], _LOAD_ROWS):
            codes = part.codes[start : start + _LOAD_ROWS]
            yield codes if part.alive is None else codes[part.alive[start : start + _LOAD_ROWS]]
