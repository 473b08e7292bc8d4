"""What is known of a set of queries and an index: the pairs that met, and the best of both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexes import Engine, Hits, References
from scanner.progress import Progress
from scanner.search import Gallery

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
