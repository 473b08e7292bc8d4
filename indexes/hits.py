"""Hits: which query met which reference, with what score, in three parallel arrays.

Columns, not objects: a nightly search makes millions. Order is part of the value, so two searches
that found the same thing are equal, byte for byte.

    hits = Hits.from_pairs(query_row, reference_id, score)
    strong = hits.take(hits.score >= 0.5)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexes.errors import IndexesError
from indexes.vectors import Float32Array

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Hits sorted by (query_row ascending, score descending, reference_id ascending).

    Args:
        query_row: int64 (h,), row in the batch of queries, >= 0.
        reference_id: int64 (h,), the id of the reference.
        score: float32 (h,), cosine in [-1, 1], higher is closer.

    Raises:
        IndexesError: other dtypes, unequal lengths or another order.
    """

    query_row: Int64Array
    reference_id: Int64Array
    score: Float32Array

    def __post_init__(self) -> None:
        columns = {"query_row": np.int64, "reference_id": np.int64, "score": np.float32}
        shape = self.query_row.shape
        for name, dtype in columns.items():
            column = getattr(self, name)
            if column.dtype != dtype or column.ndim != 1 or column.shape != shape:
                raise IndexesError(
                    f"hits' {name} must be {np.dtype(dtype)} of shape ({shape[0]},), "
                    f"got {column.dtype} of shape {column.shape}. Use Hits.from_pairs."
                )
        if not _is_sorted(self.query_row, self.reference_id, self.score):
            raise IndexesError("hits must be sorted by (query_row, -score, reference_id). Use Hits.from_pairs.")

    @classmethod
    def from_pairs(
        cls,
        query_row: npt.NDArray[np.integer[Any]],
        reference_id: npt.NDArray[np.integer[Any]],
        score: Float32Array,
    ) -> "Hits":
        """Sort pairs that come in any order.

        Args:
            query_row: integers (h,).
            reference_id: integers (h,).
            score: float32 (h,), without NaN.
        """
        order = np.lexsort((reference_id, -score, query_row))
        return cls(
            query_row[order].astype(np.int64, copy=False),
            reference_id[order].astype(np.int64, copy=False),
            score[order],
        )

    @classmethod
    def empty(cls) -> "Hits":
        """Return no hits."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))

    @classmethod
    def concat(cls, parts: Sequence["Hits"]) -> "Hits":
        """Merge hits of any parts into one sorted value; no parts give no hits."""
        if not parts:
            return cls.empty()
        return cls.from_pairs(
            np.concatenate([part.query_row for part in parts]),
            np.concatenate([part.reference_id for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    @property
    def rows(self) -> int:
        """Number of hits."""
        return int(self.query_row.shape[0])

    def __len__(self) -> int:
        return self.rows

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hits):
            return NotImplemented
        return (
            np.array_equal(self.query_row, other.query_row)
            and np.array_equal(self.reference_id, other.reference_id)
            and np.array_equal(self.score, other.score)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content is arrays

    def take(self, chosen: npt.NDArray[np.bool_] | Int64Array) -> "Hits":
        """Return the hits under a mask of shape (h,), or at ascending places."""
        return Hits(self.query_row[chosen], self.reference_id[chosen], self.score[chosen])

    def of_query(self, query_row: int) -> "Hits":
        """Return one query's hits, best first."""
        start, stop = np.searchsorted(self.query_row, [query_row, query_row + 1])
        return Hits(self.query_row[start:stop], self.reference_id[start:stop], self.score[start:stop])

    def counts(self, queries: int) -> Int64Array:
        """Return the number of hits of each of `queries` queries: int64 (queries,)."""
        return np.bincount(self.query_row, minlength=queries)

    def ranks(self) -> Int64Array:
        """Return each hit's place among its query's hits, 0 for the best: int64 (h,)."""
        return np.arange(self.rows) - np.searchsorted(self.query_row, self.query_row)

    def best(self, k: int) -> "Hits":
        """Return each query's `k` best hits; among equal scores the lowest id comes first."""
        return self.take(self.ranks() < k)

    def shifted(self, query_rows: int) -> "Hits":
        """Return the same hits with `query_rows` added to each query row.

        For a batch that begins at that row of a longer list of queries.
        """
        return Hits(self.query_row + query_rows, self.reference_id, self.score)


def _is_sorted(query_row: Int64Array, reference_id: Int64Array, score: Float32Array) -> bool:
    same_query = query_row[1:] == query_row[:-1]
    same_score = same_query & (score[1:] == score[:-1])
    in_order = (query_row[1:] > query_row[:-1]) | (same_query & (score[1:] < score[:-1]))
    return bool(np.all(in_order | (same_score & (reference_id[1:] >= reference_id[:-1]))))
