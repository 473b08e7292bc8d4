"""The flat engine: faiss's exhaustive search, with our scores and our inclusive threshold.

It copies every vector into memory. The exact engine does the same work in bounded memory; this one
is here as an independent witness, and for machines whose faiss has the faster matrix product.
"""

import numpy as np

from indexes.engine import HITS_MAX, Question, check_question
from indexes.faiss_lib import FlatScan
from indexes.hits import Hits, Int64Array
from indexes.references import References
from indexes.rescore import cut, least_product, rescore
from indexes.vectors import Float32Array, VectorBatch, product_margin

_LOAD_ROWS = 16_384
_TIES_ROOM = 16
_WIDER = 4


class FlatEngine:
    """faiss IndexFlatIP and an exact re-score.

    Args:
        references: the rows to search. Needs 4 * rows * dim bytes of memory.
    """

    name = "flat"

    def __init__(self, references: References) -> None:
        self._references = references
        self._live_rows = references.live_rows()
        self._scan = FlatScan(
            references.dim,
            (np.delete(tile.vectors, tile.dead, axis=0) for tile in references.tiles(_LOAD_ROWS)),
        )

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
        """Search as `Engine.search` promises."""
        question = check_question(queries, dim=self.dim, threshold=threshold, k=k, hits_max=hits_max)
        if not self.rows or not question.queries.shape[0]:
            return Hits.empty()
        parts = []
        if threshold is not None:
            least = least_product(np.float32(threshold)) - product_margin(self.dim)
            query_row, row, _ = self._scan.at_least(question.queries, float(least))
            parts.append((query_row, row))
        if k:
            parts.append(self._best(question.queries, min(k, self.rows)))
        return self._score(question, parts)

    def _best(self, queries: Float32Array, k: int) -> tuple[Int64Array, Int64Array]:
        """Return all (query_row, row) that may be among the k best, ties at the k-th place included."""
        margin = np.float32(product_margin(self.dim))
        found: list[tuple[Int64Array, Int64Array]] = []
        pending, width = np.arange(queries.shape[0]), min(k + _TIES_ROOM, self.rows)
        while pending.size:
            rows, scores = self._scan.best(queries[pending], width)
            bars = least_product(scores[:, k - 1] - margin) - margin
            open_ended = scores[:, -1] >= bars if width < self.rows else np.zeros(len(bars), bool)
            line, column = np.nonzero((scores >= bars[:, None]) & ~open_ended[:, None])
            found.append((pending[line], rows[line, column]))
            pending, width = pending[open_ended], min(width * _WIDER, self.rows)
        return (
            np.concatenate([query_row for query_row, _ in found]),
            np.concatenate([row for _, row in found]),
        )

    def _score(self, question: Question, parts: list[tuple[Int64Array, Int64Array]]) -> Hits:
        # The same pair may have been found for the threshold and for the k best.
        pairs = np.unique(np.concatenate([query_row * self.rows + row for query_row, row in parts]))
        question.check_count(pairs.size)
        query_row, live_row = np.divmod(pairs, self.rows)
        row = self._live_rows[live_row]
        score = rescore(question.queries, self._references, query_row, row)
        found = Hits.from_pairs(query_row, self._references.ids[row], score)
        return cut(found, threshold=question.threshold, k=question.k)
