"""The slow, obvious twin of every engine: all pairs, one query at a time, in float64.

It reads every vector into memory and is the oracle that the others are tested against.
"""

import numpy as np

from indexes.engine import HITS_MAX, check_question
from indexes.hits import Hits
from indexes.references import References
from indexes.vectors import Float32Array, VectorBatch


class NaiveEngine:
    """Search by scoring every pair. Needs 8 * rows * dim bytes, twice."""

    name = "naive"

    def __init__(self, references: References) -> None:
        live = references.live_rows()
        self._ids = references.ids[live]
        self._vectors = references.gather(live).astype(np.float64)
        self.rows = references.rows
        self.dim = references.dim

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
        found = [Hits.empty()]
        for query_row, query in enumerate(question.queries):
            exact = (self._vectors * query.astype(np.float64)).sum(axis=1)
            score = np.clip(exact, -1, 1).astype(np.float32)
            best_first = np.lexsort((self._ids, -score))
            kept = best_first[:k].tolist()
            if threshold is not None:
                kept += [row for row in best_first[k:].tolist() if score[row] >= np.float32(threshold)]
            found.append(Hits(np.full(len(kept), query_row), self._ids[kept], score[kept]))
        hits = Hits.concat(found)
        question.check_count(hits.rows)
        return hits
