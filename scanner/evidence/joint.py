"""One statement from several embedders that looked at the same people.

Each embedder says of each photo how close the queries come to it.  The joint statistic of a photo is the mean of what
they say, each in units of its own null's standard deviation, and weighed by how far other photos of the same person lie
above that null (a linear discriminant that takes the embedders for independent: Fisher 1936).  If an identity was not in
training, its vector of scores and those of the null identities are exchangeable, however much the embedders agree with
each other: dependence between them needs no model and costs no error, only a part of the gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.identities import check_null_size
from scanner.evidence.multiple import bh_q_values, by_q_values
from scanner.evidence.null import Tail, fit_tail

_TILE_SCORES = 1 << 22
"""Joint statistics in memory at once: 32 MiB."""


@dataclass(frozen=True, slots=True)
class JointEvidence:
    """What several embedders together say of each candidate identity; arrays are (m,), one entry an identity.

    Attributes:
        statistic: joint statistic of the identity's best photo, float64: weighted mean over the embedders of
            (score - mean) / standard deviation, both of the null.
        photos: number of its photos.
        p_conformal: exact if photos are exchangeable; never below photos / (null_identities + 1).
        p_value: from the fitted tail where the statistic lies in it, else `p_conformal`.
        q_bh: Benjamini-Hochberg q-value of `p_value`.
        q_by: Benjamini-Yekutieli q-value of `p_value`.
        q_conformal: Benjamini-Hochberg q-value of `p_conformal`.
        null: (k,) float64 joint statistics of the null identities, one photo each.
        weights: (e,) share of each embedder in the statistic, at least 0, together 1.
        correlation: (e, e) Pearson correlation of the embedders' scores over null identities.
        tail: the fitted tail of the null, or why there is none.
    """

    statistic: NDArray[np.float64]
    photos: NDArray[np.int64]
    p_conformal: NDArray[np.float64]
    p_value: NDArray[np.float64]
    q_bh: NDArray[np.float64]
    q_by: NDArray[np.float64]
    q_conformal: NDArray[np.float64]
    null: NDArray[np.float64]
    weights: NDArray[np.float64]
    correlation: NDArray[np.float64]
    tail: Tail


def weigh_jointly(
    scores: NDArray[np.float32],
    identities: NDArray[np.int64],
    null_scores: NDArray[np.float32],
    null_identities: NDArray[np.int64],
    *,
    mated: NDArray[np.float64] | None = None,
    seed: int,
) -> JointEvidence:
    """Return a joint p-value and q-values for each candidate identity.

    An identity with m photos has m chances, so its p-value is m times that of its best photo (Bonferroni).

    Args:
        scores: (n, e) for every candidate photo its best score over all queries, by each of e >= 1 embedders.
        identities: (n,) codes 0..m-1 of whose photo it is; every code occurs.
        null_scores: (k, e) the same of null photos, same embedders in the same order.
        null_identities: (k,) codes of the null identities; every code occurs.
        mated: (e,) what another photo of the same person typically scores, over candidates and null together, so that it
            treats them alike; None weighs all embedders equally, and so do values that are below every null.
        seed: draws the photo that stands for each null identity, the same one for all embedders.

    Raises:
        CalibrationError: fewer null identities than `scanner.evidence.identities.NULL_MIN`, or an embedder whose scores
            are the same for all of them.
    """
    people = int(null_identities.max(initial=-1)) + 1
    check_null_size(people)
    rng = np.random.default_rng([seed, 0x7017])
    order = np.lexsort((rng.random(len(null_identities)), null_identities))
    null = null_scores[order[np.unique(null_identities[order], return_index=True)[1]]].astype(np.float64)
    middle, spread = null.mean(axis=0), null.std(axis=0)
    flat = null.min(axis=0) == null.max(axis=0)
    if flat.any():
        blind = ", ".join(str(place + 1) for place in np.flatnonzero(flat))
        raise CalibrationError(
            f"Embedder {blind} gives all {people} null identities one score, expected scores that differ: it cannot be "
            "weighed with the others. Leave it out, or look at its index."
        )
    if mated is not None and not (mated > middle).any():
        mated = None
    weights = np.ones(null.shape[1]) if mated is None else np.maximum((mated - middle) / spread, 0.0)
    weights = weights / weights.sum()
    exact = scores.astype(np.float64)
    joint, joint_null = (_summed((values - middle) / spread * weights) for values in (exact, null))
    tail = fit_tail(joint_null)
    one = joint_conformal_p(exact, null, mated=mated)
    of_photo = np.where((joint > tail.start) & (tail.refused == ""), tail.p(joint), one)
    photos = np.bincount(identities)
    conformal = np.minimum(photos * _least(one, identities, len(photos)), 1.0)
    p_value = np.minimum(photos * _least(of_photo, identities, len(photos)), 1.0)
    statistic = np.full(len(photos), -np.inf)
    np.maximum.at(statistic, identities, joint)
    embedders = null.shape[1]
    correlation = np.corrcoef(null, rowvar=False).reshape(embedders, embedders)
    return JointEvidence(
        statistic, photos, conformal, p_value, bh_q_values(p_value), by_q_values(p_value), bh_q_values(conformal),
        joint_null, weights, correlation, tail,
    )  # fmt: skip


def joint_conformal_p(
    scores: NDArray[np.floating], null: NDArray[np.floating], *, mated: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Return p-values of the joint statistic that need nothing but exchangeability (Vovk et al. 2005).

    The means and standard deviations that weigh the embedders are those of the null *and* the photo in question, so the
    statistic treats all k + 1 alike and the p-value is exact.  (The null's alone would not know the photo, and favour it.)

    Args:
        scores: (n, e) of the photos in question.
        null: (k, e) of null photos, one an identity.
        mated: (e,) as of `weigh_jointly`; an embedder whose value is not above the mean is not heard.

    Returns:
        (n,) float64: (1 + number of null photos whose joint statistic is at or above the photo's own) / (k + 1).
    """
    exact, others = np.asarray(scores, np.float64), np.asarray(null, np.float64)
    (n, embedders), k = exact.shape, len(others)
    mean, variance = others.mean(axis=0), others.var(axis=0)
    # Mean and variance of the null and one more value, without going through the null again (Welford 1962).
    spread = variance * k / (k + 1) + k / (k + 1) ** 2 * (exact - mean) ** 2
    weight = 1.0 / np.sqrt(spread)
    if mated is not None:
        weight = np.maximum(mated - (k * mean + exact) / (k + 1), 0.0) / spread
    at_or_above = np.empty(n, np.int64)
    rows = max(1, _TILE_SCORES // k)
    for start in range(0, n, rows):
        some = slice(start, min(start + rows, n))
        own, theirs = np.zeros(some.stop - start), np.zeros((some.stop - start, k))
        # Summed by hand in one order on both sides: equal scores give equal statistics, whatever the tile.
        for place in range(embedders):
            own += weight[some, place] * exact[some, place]
            theirs += weight[some, place, None] * others[None, :, place]
        at_or_above[some] = (theirs >= own[:, None]).sum(axis=1)
    return np.asarray((1.0 + at_or_above) / (k + 1.0), np.float64)


def agreement(q_values: NDArray[np.floating], *, level: float) -> NDArray[np.int32]:
    """Count the embedders that name each identity alone.

    Args:
        q_values: (m, e) q-values of each embedder's own statement.
        level: false discovery rate at which one is named.

    Returns:
        (m,) int32 in 0..e.
    """
    return np.asarray((np.asarray(q_values) <= level).sum(axis=1), np.int32)


def _summed(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum over embedders, in their order."""
    total = np.zeros(len(parts))
    for place in range(parts.shape[1]):
        total += parts[:, place]
    return total


def _least(p_values: NDArray[np.float64], identities: NDArray[np.int64], people: int) -> NDArray[np.float64]:
    least = np.ones(people)
    np.minimum.at(least, identities, p_values)
    return least
