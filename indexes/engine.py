"""What every engine promises, and the checks that all of them begin with.

An engine answers one question: which pairs of a query and a reference score at least `threshold`,
and which are each query's `k` best. It owns no files and decides nothing about what a score means.

    hits = engine.search(queries, threshold=0.43)          # every pair at or above 0.43
    hits = engine.search(queries, k=10)                    # ten best of each query
"""

import math
from dataclasses import dataclass
from typing import Protocol

from indexes.errors import IndexesError, MismatchError, TooManyHits
from indexes.hits import Hits
from indexes.vectors import Float32Array, VectorBatch

HITS_MAX = 20_000_000
"""Default limit on the hits of one search: 400 MB of hits, and about 1 GB while they are sorted."""


class Engine(Protocol):
    """A search over fixed references.

    Every engine returns the same hits for the same references, bit for bit: scores are those of
    `rescore.score_pairs`, order is that of `Hits`. They differ in time and memory only.
    """

    @property
    def name(self) -> str:
        """Short name for reports: exact, flat, compressed or cuda."""
        ...

    @property
    def rows(self) -> int:
        """Number of references that can be found."""
        ...

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        ...

    def search(
        self,
        queries: VectorBatch | Float32Array,
        *,
        threshold: float | None = None,
        k: int = 0,
        hits_max: int = HITS_MAX,
    ) -> Hits:
        """Return every pair with score >= threshold, and each query's k best besides.

        Args:
            queries: unit vectors, (q, d); an array is checked as VectorBatch checks it.
            threshold: inclusive, compared as float32; None for the k best alone.
            k: best references of each query to return whether or not they reach the threshold;
                among equal scores at the k-th place the lowest ids are taken. 0 for none. Where k
                exceeds `rows`, all rows are returned, without padding.
            hits_max: limit on the hits of this call.

        Returns:
            Hits in their order; query_row counts from 0 in `queries`.

        Raises:
            VectorError: the queries are no unit vectors.
            MismatchError: the queries have another dimension.
            TooManyHits: there are more than `hits_max`; says what to change.
            IndexesError: neither threshold nor k is asked for, or they make no sense.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A checked search.

    Args:
        queries: float32 (q, d), unit rows.
        threshold: inclusive, finite; None for none.
        k: >= 0; positive where threshold is None.
        hits_max: > 0.
    """

    queries: Float32Array
    threshold: float | None
    k: int
    hits_max: int

    def check_count(self, hits: int) -> None:
        """Raise TooManyHits when there are more hits, or candidates for hits, than the limit."""
        if hits > self.hits_max:
            raise TooManyHits(
                f"the search of {self.queries.shape[0]} queries with threshold "
                f"{self.threshold} and k {self.k} found at least {hits} hits, more than the limit "
                f"of {self.hits_max}. Raise the threshold, search fewer queries at a time, "
                "or pass a higher hits_max."
            )


def check_question(
    queries: VectorBatch | Float32Array,
    *,
    dim: int,
    threshold: float | None,
    k: int,
    hits_max: int,
) -> Question:
    """Check a search's arguments; see `Engine.search` for them and for what is raised."""
    batch = queries if isinstance(queries, VectorBatch) else VectorBatch(queries)
    if batch.dim != dim:
        raise MismatchError(
            f"the queries have {batch.dim} components, the references {dim}. "
            "They come from different embedders; embed both with the same one."
        )
    if threshold is None and k == 0:
        raise IndexesError("the search asks for nothing. Pass threshold=, k= or both.")
    if threshold is not None and not math.isfinite(threshold):
        raise IndexesError(f"threshold must be a finite number, got {threshold}.")
    if k < 0 or hits_max < 1:
        raise IndexesError(f"k must be >= 0 and hits_max >= 1, got {k} and {hits_max}.")
    return Question(batch.vectors, threshold, k, hits_max)
