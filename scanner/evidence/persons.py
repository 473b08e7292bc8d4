"""Were these few photos in training?  One p-value for the whole set, against people known not to be in training.

Photos of one person are not independent, so the person is what is exchanged: the mean best score of k photos against
the same mean of k photos of every null identity that has as many (conformal).  Works of many people are independent of
each other: each is exchanged with one photo of each null identity, and the mean normal score (van der Waerden 1952) is
compared with that of sets drawn from all of them (permutation).  Both need exchangeability alone; beyond what can be
counted a tail is fitted (Knijnenburg et al. 2009 for permutations), and both answers are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.calibration import proportion_interval
from scanner.evidence.identities import NULL_MIN, check_null_size
from scanner.evidence.null import conformal_p, fit_tail
from scanner.evidence.roc import Estimate, auc

Of = Literal["person", "many"]
SIZES = (1, 2, 5, 10, 20, 40, 70, 100)
"""Numbers of works at which the power is given."""
PERMUTATIONS = 10_000
_ROUNDING = 1e-9
"""Sums of the same numbers in another order differ by less."""


@dataclass(frozen=True, slots=True)
class SetEvidence:
    """What is said of a set of photos.

    Attributes:
        of: whether all are of one person, or of many.
        photos: that were handed in.
        used: photos that are compared at once.
        groups: sets of so many that all photos make; the p-values are that of the closest set times their number.
        statistic: mean best score ("person") or mean normal score ("many"); higher is closer.
        p_value: from the fitted tail where the statistic lies in it, else `p_counted`.
        p_counted: share of sets as close, none of it modelled.
        floor: the smallest `p_counted` that there could be.
        null_identities: people that the set is compared with.
        effect: "person": share of these people whose photos are as close (Clopper-Pearson); "many": probability that
            one of the photos is closer than one of a person not in training (DeLong).
        tail_refused: why no tail is used; "" when there is one.
    """

    of: Of
    photos: int
    used: int
    groups: int
    statistic: float
    p_value: float
    p_counted: float
    floor: float
    null_identities: int
    effect: Estimate
    tail_refused: str


@dataclass(frozen=True, slots=True)
class PowerPoint:
    """How often a set of `photos`, of which a share leaks, has a p-value of at most the level asked for."""

    photos: int
    leaking: float
    reached: Estimate


def weigh_person(
    best: NDArray[np.float32],
    null_best: NDArray[np.float32],
    null_identity: NDArray[np.int64],
    *,
    level: float = 0.01,
    seed: int,
) -> SetEvidence:
    """Weigh photos of one person against people known not to be in training.

    As many photos are compared at once as enough null identities have (`photos_usable`).  More photos make several sets,
    drawn once, by the seed; the closest set counts, and pays for all (Bonferroni).  Photos for which there are too few
    null people to pay are left out.

    Args:
        best: (m,) float32, best score of each photo over all samples; m >= 1.
        null_best: (n,) the same of null photos.
        null_identity: (n,) int64 codes of whose they are.
        level: p-value that matters: so many null identities are kept that a smaller one can be counted.
        seed: draws the photos.

    Raises:
        CalibrationError: no photo, or fewer than `NULL_MIN` null identities.
    """
    _check(best, null_identity)
    rng = np.random.default_rng([seed, 0])
    used = photos_usable(len(best), null_identity, level=level)
    null = null_best[_sets(null_identity, used, rng)].mean(1, dtype=np.float64)
    shuffled = rng.permutation(np.sort(best))
    payable = max(1, math.floor(level * (len(null) + 1) + 1e-9))  # more sets than this could not reach the level
    ends = [min(end, len(best)) for end in range(used, len(best) + used, used)][:payable]  # the last may share photos
    statistic = max(float(shuffled[end - used : end].mean(dtype=np.float64)) for end in ends)
    p_value, counted, refused = _p(statistic, null)
    as_close = round(counted * (len(null) + 1)) - 1
    effect = Estimate(as_close / len(null), *proportion_interval(as_close, len(null)))
    groups = len(ends)
    return SetEvidence(
        "person", len(best), used, groups, statistic, min(1.0, groups * p_value), min(1.0, groups * counted),
        min(1.0, groups / (len(null) + 1)), len(null), effect, refused,
    )  # fmt: skip


def weigh_works(
    best: NDArray[np.float32],
    null_best: NDArray[np.float32],
    null_identity: NDArray[np.int64],
    *,
    draws: int = PERMUTATIONS,
    seed: int,
) -> SetEvidence:
    """Weigh photos of many people, one each, against one photo of each null identity.

    Args:
        best: (m,) float32, best score of each photo over all samples; m >= 1.
        null_best: (n,) the same of null photos.
        null_identity: (n,) int64 codes of whose they are.
        draws: permutations; their number bounds `p_counted`.
        seed: draws the null photos and the permutations.

    Raises:
        CalibrationError: no photo, or fewer than `NULL_MIN` null identities.
    """
    _check(best, null_identity)
    rng = np.random.default_rng([seed, 1])
    null = null_best[_sets(null_identity, 1, rng)[:, 0]]
    n, everybody = len(best), len(best) + len(null)
    scores = _normal_scores(np.concatenate([best, null]))
    if n == 1:
        (p_value, counted, refused), floor = _p(float(best[0]), np.asarray(null, np.float64)), 1.0 / everybody
    else:
        pool = np.sort(scores)  # so that the order of the photos does not show
        drawn = np.array([pool[rng.choice(everybody, n, replace=False, shuffle=False)].mean() for _ in range(draws)])
        p_value, counted, refused = _p(float(scores[:n].mean()) - _ROUNDING, drawn)
        ways = math.lgamma(everybody + 1) - math.lgamma(n + 1) - math.lgamma(len(null) + 1)
        p_value = max(p_value, math.exp(-ways))  # no permutation test can say less than one in all its ways
        floor = 1.0 / (draws + 1)
    statistic = float(scores[:n].mean())
    return SetEvidence("many", n, n, 1, statistic, p_value, counted, floor, len(null), auc(best, null), refused)


def photos_usable(photos: int, null_identity: NDArray[np.int64], *, level: float = 0.01) -> int:
    """Return the largest number, at most `photos`, of photos that enough null identities have.

    Enough are `NULL_MIN`, and 1 / `level` where the null has as many people: else more photos would hide what fewer show.
    """
    counts = np.sort(np.bincount(null_identity))[::-1]
    enough = math.ceil(1.0 / level)
    return max(1, min(photos, int(counts[(enough if NULL_MIN <= enough <= len(counts) else NULL_MIN) - 1])))


def person_power(
    null_best: NDArray[np.float32],
    mated: NDArray[np.float32],
    null_identity: NDArray[np.int64],
    *,
    level: float,
    photos_max: int,
    seed: int,
) -> tuple[PowerPoint, ...]:
    """Return how often a leaked person would have been told, for 1, 2, … photos.

    Every null identity in turn is leaked: each of its photos becomes as close as it is to another photo of the person
    (if that is closer than it was), and the others are the null.

    Args:
        null_best: (n,) float32.
        mated: (n,) float32, score of each photo with another one of its person, or NaN; photos without one take the
            mean of their person's.
        null_identity: (n,) int64 codes.
        level: p-value that counts as told.
        photos_max: last number of photos.
        seed: draws the photos.
    """
    mated = _filled(mated, null_identity)
    leaked = np.fmax(null_best, mated)
    points = []
    for photos in range(1, photos_usable(photos_max, null_identity, level=level) + 1):
        sets = _sets(null_identity, photos, np.random.default_rng([seed, 2, photos]))
        plain = np.sort(null_best[sets].mean(1, dtype=np.float64))
        told = sets[~np.isnan(mated[sets]).any(1)]
        if len(told) == 0:
            continue
        statistic = leaked[told].mean(1, dtype=np.float64)
        own = null_best[told].mean(1, dtype=np.float64)
        as_close = len(plain) - np.searchsorted(plain, statistic, side="left") - (own >= statistic)
        hits = int(np.count_nonzero((1.0 + as_close) / len(plain) <= level))
        points.append(PowerPoint(photos, 1.0, _share(hits, len(told))))
    return tuple(points)


def works_power(
    null_best: NDArray[np.float32],
    mated: NDArray[np.float32],
    null_identity: NDArray[np.int64],
    *,
    level: float,
    leaking: float,
    sizes: Sequence[int] = SIZES,
    runs: int = 200,
    seed: int,
) -> tuple[PowerPoint, ...]:
    """Return how often a set of works would have been told, of which a share `leaking` leaks; see `person_power`.

    Sets are drawn from the null's own people, and the p-value is the normal approximation of the permutation's.
    """
    rng = np.random.default_rng([seed, 3])
    mated = _filled(mated, null_identity)
    with_mate = np.flatnonzero(~np.isnan(mated))
    mates = with_mate[_sets(np.unique(null_identity[with_mate], return_inverse=True)[1], 1, rng)[:, 0]]
    others = np.flatnonzero(~np.isin(null_identity, null_identity[mates]))
    rest = others[_sets(np.unique(null_identity[others], return_inverse=True)[1], 1, rng)[:, 0]]
    plain = np.concatenate([null_best[mates], null_best[rest]]).astype(np.float64)
    leaked = np.maximum(null_best[mates], mated[mates]).astype(np.float64)
    points = []
    for size in (s for s in sizes if s <= len(mates) // 2):
        leaks = max(1, round(leaking * size))
        hits = 0
        for _ in range(runs):
            chosen = rng.choice(len(mates), size, replace=False)
            now = plain.copy()
            now[chosen[:leaks]] = leaked[chosen[:leaks]]
            hits += normal_p(now, chosen) <= level
        points.append(PowerPoint(size, leaks / size, _share(hits, runs)))
    return tuple(points)


def normal_p(values: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
    """Return the permutation p-value of the chosen values' mean normal score, by the normal approximation."""
    scores, n, everybody = _normal_scores(values), len(chosen), len(values)
    spread = math.sqrt(n * scores.var() * (everybody - n) / (everybody - 1))
    return float(stats.norm.sf((scores[chosen].sum() - n * scores.mean()) / spread)) if spread > 0 else 1.0


def _check(best: NDArray[np.float32], null_identity: NDArray[np.int64]) -> None:
    if len(best) == 0:
        raise CalibrationError("No photo to weigh, at least one is needed. Hand in photos with a usable face.")
    check_null_size(int(null_identity.max(initial=-1)) + 1)


def _filled(mated: NDArray[np.float32], identity: NDArray[np.int64]) -> NDArray[np.float32]:
    """Give photos without a mated score the mean of their person's; NaN where the person has none."""
    known = ~np.isnan(mated)
    count = np.bincount(identity, known)
    total = np.bincount(identity, np.where(known, mated, 0.0))
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return np.where(known, mated, mean[identity]).astype(np.float32)


def _sets(identity: NDArray[np.int64], photos: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (people, photos) rows: that many random photos of each identity that has as many."""
    order = np.lexsort((rng.random(len(identity)), identity))
    counts = np.bincount(identity)
    start = np.cumsum(counts) - counts
    return np.asarray(order[start[counts >= photos][:, None] + np.arange(photos)], np.int64)


def _p(statistic: float, null: NDArray[np.float64]) -> tuple[float, float, str]:
    """Return the p-value, that without a tail, and why there is no tail."""
    tail = fit_tail(null)
    counted = float(conformal_p(np.array([statistic]), null)[0])
    if tail.refused or statistic <= tail.start:
        return counted, counted, tail.refused
    return float(tail.p(np.array([statistic]))[0]), counted, ""


def _normal_scores(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(stats.norm.ppf(stats.rankdata(values) / (len(values) + 1)), np.float64)


def _share(hits: int, trials: int) -> Estimate:
    return Estimate(hits / trials, *proportion_interval(hits, trials))
