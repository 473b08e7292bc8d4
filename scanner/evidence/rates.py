"""Error rates of searches (1:N) instead of pairs: false positive and false negative identification rates.

FPIR(N, T): share of searches of people who are *not* among N references that still find a reference at T or above.
FNIR(N, T): share of searches of people who *are* (by another photo) whose reference scores below T; every reference at
T or above is reported, whatever its rank (ISO/IEC 19795-1:2021, open-set identification).

A rate measured among G references holds for n <= G by an exact average over all choices of n of them
(hypergeometric), and beyond G by 1 - (1 - FPIR(G))^(N/G): N/G independent galleries.  That is an extrapolation and is
marked so; ISO/IEC 5152 backs extreme-value extrapolation for FMR and excludes FPIR, so no tail model is used here.

Searches and references share people, so they are no independent trials.  The variance of a rate adds up what each person
moves, as searcher and as reference, and takes pairs that were counted from both ends off once (dyadic cluster-robust
variance: Aronow, Samii and Assenova 2015, Political Analysis 23; for one-sided clusters the usual one).  The interval is
that of a proportion with as many independent trials as give this variance (Korn and Graubard 1998, Survey Methodology
24), which holds for rates near 0 where a bootstrap sees no error at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from scanner.errors import CalibrationError

_ROUNDING = 1e-24
"""A variance below it is rounding: no count of people gives a rate to 12 digits."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate with its interval.

    Attributes:
        value: in [0, 1].
        low: lower end of the 95 % interval.
        high: upper end.
        trials: searches that it rests on.
        errors: those among them that went wrong, in the whole gallery.
        extrapolated: the gallery is larger than the measured one.
    """

    value: float
    low: float
    high: float
    trials: int
    errors: int
    extrapolated: bool = False


def clear_share(found: NDArray[np.integer], *, gallery: int, size: int) -> NDArray[np.float64]:
    """Return in what share of all sub-galleries of `size` none of `found` references is.

    Args:
        found: any shape; how many of the gallery's references reach the threshold.
        gallery: number of references, at least `found`.
        size: of the sub-galleries, at most `gallery`.

    Returns:
        Same shape, float64: C(gallery - found, size) / C(gallery, size).
    """
    left = gallery - np.asarray(found, np.float64)
    possible = left >= size
    left = np.where(possible, left, size)
    whole = scipy.special.gammaln(gallery + 1.0) - scipy.special.gammaln(gallery - size + 1.0)
    log_share = scipy.special.gammaln(left + 1.0) - scipy.special.gammaln(left - size + 1.0) - whole
    # gammaln rounds: none found is all clear, exactly.
    return np.where(np.asarray(found) == 0, 1.0, np.where(possible, np.exp(np.minimum(log_share, 0.0)), 0.0))


def beyond(rate: float, *, gallery: int, size: int) -> float:
    """Return the FPIR among `size` references from that among `gallery`: 1 - (1 - rate)^(size / gallery)."""
    return 1.0 if rate >= 1.0 else -math.expm1(size / gallery * math.log1p(-rate))


def fpir_of_fmr(fmr: float, size: int) -> float:
    """Return the FPIR that a false match rate gives if scores of one search were independent: 1 - (1 - fmr)^size."""
    return beyond(fmr, gallery=1, size=size)


def fpir(
    over: NDArray[np.int64], *, gallery: int, size: int, cluster: NDArray[np.integer] | None = None, level: float = 0.95
) -> Rate:
    """Return the false positive identification rate among `size` references.

    Args:
        over: (s,) int64, how many of the gallery's references (one a person) reach the threshold in each search.
        gallery: references that were searched.
        size: references that the rate is wanted for; beyond `gallery` it is extrapolated and says so.
        cluster: (s,) whose search it is; searches of one cluster are not independent. None: each its own.
        level: of the interval.  The gallery is taken as it is: with searches and references that share people,
            `Searches.fpir_at` also counts what another gallery would change.

    Raises:
        CalibrationError: no search, or no reference.
    """
    _check_sizes(len(over), gallery, size)
    wrong = 1.0 - clear_share(over, gallery=gallery, size=min(size, gallery))
    rate = clustered(wrong, cluster, level=level)
    return at_size(replace(rate, errors=int((over > 0).sum())), gallery=gallery, size=size)


def at_size(rate: Rate, *, gallery: int, size: int) -> Rate:
    """Carry a rate measured among `gallery` references over to a larger `size`; smaller ones are left as they are."""
    if size <= gallery:
        return rate
    value, low, high = (beyond(v, gallery=gallery, size=size) for v in (rate.value, rate.low, rate.high))
    return replace(rate, value=value, low=low, high=high, extrapolated=True)


def fnir(
    mated: NDArray[np.floating], *, cut: float, cluster: NDArray[np.integer] | None = None, level: float = 0.95
) -> Rate:
    """Return the false negative identification rate.

    Args:
        mated: (s,) score of each search with the reference of the same person.
        cut: inclusive threshold.
        cluster: (s,) whose search it is; None: each its own.
        level: of the interval.

    Raises:
        CalibrationError: no search.
    """
    _check_sizes(len(mated), 1, 1)
    return clustered((np.asarray(mated, np.float64) < cut).astype(np.float64), cluster, level=level)


def clustered(wrong: NDArray[np.float64], cluster: NDArray[np.integer] | None, *, level: float = 0.95) -> Rate:
    """Return the mean of (s,) values in [0, 1] with an interval whose independent units are the clusters."""
    mean = float(wrong.mean())
    codes = np.arange(len(wrong)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    moved = np.bincount(codes, wrong - mean) / len(wrong)
    people = len(moved)
    variance = float(moved @ moved) * people / max(1, people - 1)
    low, high = interval(mean, variance, people=people, freedom=freedom_of(moved), level=level)
    return Rate(mean, low, high, len(wrong), int((wrong > 0).sum()))


def freedom_of(moved: NDArray[np.float64]) -> float:
    """Return the degrees of freedom of a variance that is a sum of squares, by their fourth moment (Satterthwaite 1946).

    Args:
        moved: (people,) what each moves the estimate, summing to about 0.

    Returns:
        2 people / (kurtosis - 1), between 1 and people - 1: few where a handful of people make the variance.
    """
    squares = moved * moved
    spread = float(squares.var())
    freedom = 2.0 * len(moved) * float(squares.mean()) ** 2 / spread if spread > 0.0 else np.inf
    return float(np.clip(freedom, 1.0, max(1, len(moved) - 1)))


def interval(mean: float, variance: float, *, people: int, freedom: float, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a proportion whose estimate has a given variance.

    Args:
        mean: the estimate.
        variance: of the estimate; 0 where no error (or nothing but errors) was seen, or the same everywhere.
        people: independent units; as many trials are assumed when the variance is 0.
        freedom: degrees of freedom of the variance, at least 1.
        level: of the interval.
    """
    if variance > _ROUNDING and 0.0 < mean < 1.0:
        tail = (1.0 + level) / 2
        trials = (
            mean * (1.0 - mean) / variance * float((scipy.stats.norm.ppf(tail) / scipy.stats.t.ppf(tail, freedom)) ** 2)
        )
    else:
        trials = float(people)
    return beta_interval(mean * trials, trials, level=level)


def beta_interval(errors: float, trials: float, *, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a proportion for a number of errors and trials that need not be whole.

    Jeffreys' equal-tailed interval, whose mean coverage is the nominal one (Brown, Cai and DasGupta 2001, section 4); it
    ends at 0 without errors and at 1 without anything else, where the other end is Clopper and Pearson's.
    """
    tail = (1.0 - level) / 2
    right = max(trials - errors, 0.0)
    if errors <= 0.0:
        return 0.0, 1.0 - tail ** (1.0 / trials)
    if right <= 0.0:
        return float(tail ** (1.0 / trials)), 1.0
    low = float(scipy.stats.beta.ppf(tail, errors + 0.5, right + 0.5))
    high = float(scipy.stats.beta.ppf(1.0 - tail, errors + 0.5, right + 0.5))
    return min(low, errors / trials), max(high, errors / trials)


def _check_sizes(searches: int, gallery: int, size: int) -> None:
    if searches < 1 or gallery < 1 or size < 1:
        raise CalibrationError(
            f"An identification rate needs searches and references; got {searches} searches, a gallery of {gallery} and a "
            f"wanted size of {size}. Name a labelled set with more people."
        )
