"""Samples of one generated identity are one trial: who belongs together, how many trials there are, and intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

BLOCK = 2048
TILE = 8192
SLACK = 1e-4
"""More than a float32 product of unit vectors can be wrong by; whatever is closer than that is scored in float64."""
_PAIRS = 1 << 16
_NUMBERS = 1 << 20


@dataclass(frozen=True, slots=True)
class ClusterSizes:
    """How many independent trials some samples amount to.

    Attributes:
        clusters: number of generated identities.
        largest: samples of the largest one.
        effective_n: Kish (1965), section 5.4: (sum m)^2 / sum m^2.  As many equally large clusters would say as much if
            the samples of a cluster were all alike; equal to the number of samples when no two share a cluster.
    """

    clusters: int
    largest: int
    effective_n: float


def cluster_sizes(cluster: NDArray[np.integer]) -> ClusterSizes:
    """Return the number of clusters, the largest, and Kish's effective number.

    Args:
        cluster: (n,) codes, any integers; n may be 0.
    """
    sizes = np.unique(cluster, return_counts=True)[1].astype(np.float64)
    if not len(sizes):
        return ClusterSizes(0, 0, 0.0)
    return ClusterSizes(len(sizes), int(sizes.max()), float(sizes.sum() ** 2 / (sizes**2).sum()))


def cluster_bootstrap(
    values: NDArray[np.floating] | NDArray[np.bool_],
    cluster: NDArray[np.integer],
    *,
    draws: int = 1000,
    seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of the mean of `values`, drawing whole clusters with replacement.

    Davison & Hinkley 1997, section 3.8.  A plain percentile interval is too short with few clusters; its percentiles are
    moved outwards as Student's t wants it (Hesterberg 2015, section 3.4), for as many trials as Kish's effective
    number says.  One cluster alone says nothing: (-inf, inf).

    Args:
        values: (n,), n >= 1.
        cluster: (n,) codes of what is independent, any integers.
        draws: bootstrap samples.
        seed: draws them.
        level: of the interval, in (0, 1).
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    sizes = np.bincount(codes).astype(np.float64)
    sums = np.bincount(codes, weights=np.asarray(values, np.float64))
    if len(sizes) == 1:
        return -np.inf, np.inf
    # Clusters of one size and one sum are alike: how often each kind is drawn says all, and there are few kinds of counts.
    kinds, alike = np.unique(np.stack([sizes, sums], axis=1), axis=0, return_counts=True)
    rng = np.random.default_rng([seed, len(sizes)])
    means = np.empty(draws)
    at_once = max(1, _NUMBERS // len(kinds))
    for start in range(0, draws, at_once):
        times = rng.multinomial(len(sizes), alike / len(sizes), size=min(at_once, draws - start)).astype(np.float64)
        means[start : start + at_once] = (times @ kinds[:, 1]) / (times @ kinds[:, 0])
    trials = sizes.sum() ** 2 / (sizes**2).sum()
    tail = scipy.stats.norm.cdf(np.sqrt(trials / (trials - 1.0)) * scipy.stats.t.ppf((1.0 - level) / 2, trials - 1.0))
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def lead_clusters(vectors: NDArray[np.float32], *, radius: float, block: int = BLOCK) -> NDArray[np.int32]:
    """Group samples by leaders, in one pass (Hartigan 1975, chapter 3).

    Each vector in turn joins the nearest leader so far whose score reaches `radius` (ties: the older leader), or becomes
    a leader.  Another order of the samples may give other clusters; `block` never does: what the tiled float32
    product leaves open is decided in float64, pair by pair.

    Args:
        vectors: (n, d) float32, unit rows; n may be 0.
        radius: lowest score at which two samples count as one identity, inclusive; in (-1, 1].
        block: rows that are compared at once.

    Returns:
        (n,) int32 codes 0.., in order of first appearance.
    """
    rows = np.ascontiguousarray(vectors, np.float32)
    codes = np.full(len(rows), -1, np.int32)
    leaders = np.empty(len(rows), np.int64)
    count = 0
    for start in range(0, len(rows), block):
        here = rows[start : start + block]
        best, code = _nearest(here, rows, leaders[:count], radius)
        fresh = _new_leaders(here, np.flatnonzero(code < 0), radius)
        leaders[count : count + len(fresh)] = start + fresh
        _join_fresh(here, fresh, count, radius, best, code)
        count += len(fresh)
        codes[start : start + block] = code
    return codes


def _nearest(
    here: NDArray[np.float32], rows: NDArray[np.float32], leaders: NDArray[np.int64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return each row's score with its nearest leader in reach, and that leader's code; -inf and -1 without one."""
    best = np.full(len(here), -np.inf)
    code = np.full(len(here), -1, np.int32)
    for first in range(0, len(leaders), TILE):
        tile = rows[leaders[first : first + TILE]]
        scores = here @ tile.T
        cut = np.maximum(scores.max(axis=1) - SLACK, np.maximum(best, radius) - SLACK)
        hopeful = np.flatnonzero(scores.max(axis=1) >= cut)
        place, column = np.nonzero(scores[hopeful] >= cut[hopeful, None])
        _improve(here, tile, hopeful[place], column, first, radius, best, code)
    return best, code


def _improve(
    here: NDArray[np.float32],
    tile: NDArray[np.float32],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    first: int,
    radius: float,
    best: NDArray[np.float64],
    code: NDArray[np.int32],
) -> None:
    """Score some pairs exactly and let each row join the nearest, in place; codes of `tile` start at `first`."""
    exact = _score(here, tile, row, column)
    order = np.lexsort((column, -exact, row))
    row, column, exact = row[order], column[order], exact[order]
    row, once = np.unique(row, return_index=True)
    column, exact = column[once], exact[once]
    better = (exact >= radius) & (exact > best[row])
    best[row[better]] = exact[better]
    code[row[better]] = (first + column[better]).astype(np.int32)


def _new_leaders(here: NDArray[np.float32], open_rows: NDArray[np.int64], radius: float) -> NDArray[np.int64]:
    """Return which of the rows that no leader reaches become leaders, in order."""
    left = here[open_rows]
    scores = left @ left.T
    reach = scores >= radius
    one, other = np.nonzero(np.abs(scores - radius) <= SLACK)
    reach[one, other] = _score(left, left, one, other) >= radius
    taken = np.zeros(len(left), np.bool_)
    leads: list[int] = []
    for place in range(len(left)):
        if not taken[place]:
            leads.append(place)
            taken |= reach[place]
    return open_rows[np.array(leads, np.int64)]


def _join_fresh(
    here: NDArray[np.float32],
    fresh: NDArray[np.int64],
    first: int,
    radius: float,
    best: NDArray[np.float64],
    code: NDArray[np.int32],
) -> None:
    """Let rows join leaders that stand before them in the same block, in place."""
    tile = here[fresh]
    scores = here @ tile.T
    scores[fresh[None, :] >= np.arange(len(here))[:, None]] = -np.inf
    highest = scores.max(axis=1, initial=-np.inf)
    cut = np.maximum(highest, np.maximum(best, radius)) - SLACK
    row, column = np.nonzero(scores >= cut[:, None])
    _improve(here, tile, row, column, first, radius, best, code)
    code[fresh] = first + np.arange(len(fresh), dtype=np.int32)


def _score(
    left: NDArray[np.float32], right: NDArray[np.float32], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return scores of chosen pairs, each summed in float64 by itself, so that its neighbours cannot change it."""
    exact = np.empty(len(one))
    for start in range(0, len(one), _PAIRS):
        these = slice(start, start + _PAIRS)
        exact[these] = (left[one[these]].astype(np.float64) * right[other[these]]).sum(axis=1)
    return exact
