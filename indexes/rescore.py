"""The exact score of a pair, and the cut that every engine ends with.

The score is the float64 inner product of the two stored float32 rows, summed in one fixed order,
rounded to float32 and clipped to [-1, 1]. It depends on the two rows alone: not on the engine, the
batch, the tile, the segment or the number of threads. Engines may pre-select as they like, but
hits hold these scores, so the hits of any two engines are equal bit for bit.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from indexes.hits import Hits
from indexes.references import References
from indexes.vectors import Float32Array

_PAIRS_AT_ONCE = 4096
"""8 MiB of products at 256 components: stays within the second-level cache of two cores."""


def score_pairs(left: Float32Array, right: Float32Array) -> Float32Array:
    """Score parallel rows.

    Args:
        left: float32 (m, d), unit rows.
        right: float32 (m, d), unit rows.

    Returns:
        float32 (m,), row i is the cosine of left[i] and right[i], in [-1, 1].
    """
    # The product of two float32 is exact in float64, and numpy sums each contiguous row pairwise in
    # an order set by d alone. A matrix product would be faster, and would differ with its shape.
    products = np.multiply(left, right, dtype=np.float64)
    scores = np.add.reduce(products, axis=1)
    clipped: Float32Array = np.clip(scores, -1.0, 1.0).astype(np.float32)
    return clipped


def least_product(score: npt.NDArray[np.float32] | np.float32) -> Float32Array:
    """Return from which inner product on a pair may score at least `score`; vectors may be a little longer than 1.

    Products above 1 all score 1, those below -1 all score -1.
    """
    return np.where(score <= -1, np.float32(-np.inf), np.minimum(score, np.float32(1)))


def rescore(
    queries: Float32Array,
    references: References,
    query_row: npt.NDArray[np.integer[Any]],
    row: npt.NDArray[np.integer[Any]],
) -> Float32Array:
    """Score pairs of a query and a row of the references.

    Args:
        queries: float32 (q, d), unit rows.
        references: where `row` points.
        query_row: integers (m,), each below q.
        row: integers (m,), each below `references.rows_stored`.

    Returns:
        float32 (m,), as `score_pairs`. Needs 12 MiB besides the result, whatever m is.
    """
    scores = np.empty(row.shape[0], np.float32)
    # In order of row: each page of a memory-mapped base is touched once.
    order = np.argsort(row, kind="stable")
    for start in range(0, order.shape[0], _PAIRS_AT_ONCE):
        some = order[start : start + _PAIRS_AT_ONCE]
        vectors = references.gather(row[some].astype(np.int64, copy=False))
        scores[some] = score_pairs(queries[query_row[some]], vectors)
    return scores


def cut(hits: Hits, *, threshold: float | None, k: int) -> Hits:
    """Keep the hits that a search promises: score >= threshold, or among their query's k best.

    Args:
        hits: exact scores.
        threshold: inclusive, compared as float32, which the scores are; None keeps none for it.
        k: best hits to keep of each query; among equal scores at the k-th place the lowest id.
    """
    kept = hits.ranks() < k
    if threshold is not None:
        kept |= hits.score >= np.float32(threshold)
    return hits.take(kept)
