"""How small a leak a run would have seen.

Copies are planted in numbers, not in pictures.  A leaked identity has, besides whatever a stranger has, one generated
face that is as close as another photo of the same person is: its statistic is the larger of a null statistic and a
mated score.  Some of the candidates are leaked, all of them go through the run's own procedure (conformal p-value,
tail, Benjamini-Hochberg), and what is counted is how often a leaked one is named.

This is a model of a leak.  A generator that blurs its copies leaks less visibly than another photo of the person
shows; `attenuation` scales the mated scores towards the null, and `fading_leaks` gives the figure for several of them.
The intervals say how well the draws know the model's answer for this null, not how well the model knows the generator;
another null of the same size would give another curve (0.24 of standard deviation at 1 200 people, where it is steepest).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.calibration import proportion_interval
from scanner.evidence.identities import check_null_size
from scanner.evidence.null import Tail, conformal_p, fit_tail
from scanner.evidence.roc import Estimate

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.2, 1.0)
"""Shares of the candidates that are made to leak, unless others are asked for."""
MATED_MIN = 20
"""Fewest same-person scores that a leak is modelled on."""
ATTENUATIONS = (1.0, 0.75, 0.5)
NEAR = 20
"""The smallest rate that is detected is known to a twentieth of itself, or to one person."""
_POOL = 20_000
"""Attenuated scores that are drawn from."""


@dataclass(frozen=True, slots=True)
class Power:
    """How often a leak of a given rate would have been seen; `rates`, `detected` and `named` are parallel.

    Attributes:
        rates: shares of the candidates that leak, ascending; whole identities, so a rate is at least 1 / candidates.
        detected: probability that at least one leaked identity is named, with its 95 % interval over the draws.
        named: mean share of the leaked identities that are named.
        smallest: rate, in whole people, from which `detected` reaches `wanted`; None when no rate does.
        smallest_low: the same by the upper ends of the intervals; None when even they do not reach it.
        smallest_high: the same by the lower ends.
        wanted: probability that is asked for.
        level: false discovery rate of the procedure.
        candidates: identities in question.
        null_identities: identities of the null.
        photos: photos that each candidate pays for.
        attenuation: 1 = a leak is as close as another photo of the person, 0 = no closer than a stranger.
    """

    rates: tuple[float, ...]
    detected: tuple[Estimate, ...]
    named: tuple[float, ...]
    smallest: float | None
    smallest_low: float | None
    smallest_high: float | None
    wanted: float
    level: float
    candidates: int
    null_identities: int
    photos: int
    attenuation: float


def power_of(
    null_statistic: NDArray[np.float32],
    mated: NDArray[np.float32],
    *,
    candidates: int,
    photos: int = 1,
    level: float = 0.05,
    rates: Sequence[float] = RATES,
    draws: int = 200,
    wanted: float = 0.8,
    attenuation: float = 1.0,
    seed: int,
) -> Power:
    """Plant leaks at known rates and count how often the run's procedure names one.

    Args:
        null_statistic: (k,) float32, the statistic of each null identity (best score over all queries, one photo).
        mated: (j,) float32, scores between two photos of one person, from the null's own people.
        candidates: identities in question, >= 1.
        photos: photos of each candidate; p-values are that many times larger, and one of the photos is mated with
            the leak.
        level: false discovery rate at which identities are named.
        rates: shares of candidates that leak, in (0, 1]; each is rounded to whole identities, at least one.
        draws: simulated runs for each rate; all rates share their random numbers, so the curve does not jump.
        wanted: probability of detection that `smallest` is for.
        attenuation: in [0, 1]: a leak scores attenuation x mated + (1 - attenuation) x null statistic.
        seed: equal seeds give equal figures.

    Raises:
        CalibrationError: too few null identities or mated scores, or no candidate.
    """
    _check(len(null_statistic), len(mated), candidates)
    rng = np.random.default_rng([seed, 0])
    tail = fit_tail(null_statistic)
    leaked = _leak_p(null_statistic, mated, tail, attenuation, rng)
    counts = sorted({max(1, min(candidates, round(rate * candidates))) for rate in rates})
    hits = {
        count: _hits(count, candidates, photos, leaked, len(null_statistic), tail, level, draws, seed)
        for count in counts
    }
    # The curve has steps (a null without a tail names nobody below some number): look at whole people around it.
    while (step := _step(hits, draws, wanted)) is not None:
        hits[step] = _hits(step, candidates, photos, leaked, len(null_statistic), tail, level, draws, seed)
    counts = sorted(hits)
    found = np.stack([hits[count] for count in counts], axis=1)
    seen = (found > 0).sum(0)
    detected = tuple(Estimate(int(n) / draws, *proportion_interval(int(n), draws)) for n in seen)
    whole = tuple(count / candidates for count in counts)
    return Power(
        whole, detected, tuple((found.mean(0) / counts).tolist()),
        _crossing(whole, [d.value for d in detected], wanted), _crossing(whole, [d.high for d in detected], wanted),
        _crossing(whole, [d.low for d in detected], wanted),
        wanted, level, candidates, len(null_statistic), photos, attenuation,
    )  # fmt: skip


def fading_leaks(
    null_statistic: NDArray[np.float32],
    mated: NDArray[np.float32],
    *,
    candidates: int,
    photos: int = 1,
    level: float = 0.05,
    rates: Sequence[float] = RATES,
    draws: int = 200,
    wanted: float = 0.8,
    seed: int,
) -> tuple[Power, ...]:
    """Return `power_of` for each of `ATTENUATIONS`: what is left when the generator blurs its copies."""
    return tuple(
        power_of(
            null_statistic, mated, candidates=candidates, photos=photos, level=level, rates=rates, draws=draws,
            wanted=wanted, attenuation=attenuation, seed=seed,
        )
        for attenuation in ATTENUATIONS
    )  # fmt: skip


def _check(null_identities: int, mated: int, candidates: int) -> None:
    check_null_size(null_identities)
    if mated < MATED_MIN:
        raise CalibrationError(
            f"The null has {mated} people with a second photo; at least {MATED_MIN} are needed to say how close a leak "
            "would be. Use a null whose identities have several photos."
        )
    if candidates < 1:
        raise CalibrationError(
            f"Power is asked for {candidates} candidate identities; at least one is needed. Name an index with identities."
        )


def _one_photo_p(statistic: NDArray[np.floating], null: NDArray[np.floating], tail: Tail) -> NDArray[np.float64]:
    """Return p-values of identities with one photo: the tail's beyond its start, else conformal."""
    in_tail = (np.asarray(statistic) > tail.start) & (tail.refused == "")
    return np.where(in_tail, tail.p(statistic), conformal_p(statistic, null))


def _leak_p(
    null: NDArray[np.float32], mated: NDArray[np.float32], tail: Tail, attenuation: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return one-photo p-values of leaks alone, to draw from."""
    if attenuation == 1.0:
        return _one_photo_p(mated, null, tail)
    blurred = attenuation * rng.choice(mated, _POOL) + (1.0 - attenuation) * rng.choice(null, _POOL)
    return _one_photo_p(blurred, null, tail)


def _stranger_p(uniform: NDArray[np.float64], photos: int, null: int, tail: Tail) -> NDArray[np.float64]:
    """Return p-values of people who were not in training.

    One photo's p-value is uniform: on the whole numbers over null + 1 when conformal, on an interval in the tail.
    The smallest of several is drawn at once; p is monotone in the score, so max of scores = min of p-values.
    """
    smallest = 1.0 - (1.0 - uniform) ** (1.0 / photos)
    floors = np.ceil(smallest * (null + 1)) / (null + 1)
    one = floors if tail.refused else np.where(smallest <= tail.share, smallest, floors)
    return np.minimum(photos * one, 1.0)


def _cut(p: NDArray[np.float64], level: float) -> float:
    """Return the largest p-value that Benjamini-Hochberg rejects at `level`, or -1: `bh_q_values(p) <= level`, faster."""
    low = np.sort(p[p <= level])
    passed = np.flatnonzero(low * len(p) / np.arange(1, len(low) + 1) <= level)
    return float(low[passed[-1]]) if len(passed) else -1.0


def _crossing(rates: Sequence[float], reached: Sequence[float], wanted: float) -> float | None:
    """Return the first rate, in whole people, at which a curve reaches `wanted`."""
    return next((rate for rate, value in zip(rates, reached, strict=True) if value >= wanted), None)


def _step(hits: dict[int, NDArray[np.int64]], draws: int, wanted: float) -> int | None:
    """Return the number of leaked people to look at next, or None when `wanted` lies between two whole people."""
    below = 0
    for count in sorted(hits):
        if int((hits[count] > 0).sum()) >= wanted * draws:
            return (below + count) // 2 if count - below > max(1, count // NEAR) else None
        below = count
    return None


def _hits(
    count: int, candidates: int, photos: int, leaked: NDArray[np.float64], null: int, tail: Tail, level: float, draws: int,
    seed: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Return for each draw how many of `count` leaked people are named; draws share their random numbers at all counts."""
    named = np.zeros(draws, np.int64)
    for draw in range(draws):
        rng = np.random.default_rng([seed, 1, draw])
        p = _stranger_p(rng.random(candidates), photos, null, tail)
        if_leaked = np.minimum(np.minimum(photos * leaked[rng.integers(len(leaked), size=candidates)], 1.0), p)
        # Who is leaked does not matter: the draws are exchangeable.
        now = np.concatenate([if_leaked[:count], p[count:]])
        named[draw] = np.count_nonzero(now[:count] <= _cut(now, level))
    return named
