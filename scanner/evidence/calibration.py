"""From scores of pairs whose truth is known to a threshold at a wanted false match rate.

FMR is the share of non-mated (different-person) pairs whose score reaches the threshold, TAR (= 1 - FNMR) the share
of mated (same-person) pairs that do; ISO/IEC 19795-1.  Scores are counted in bins of 2e-6, so any number of
pairs fits into memory; a threshold is always a bin's lower edge, so counts at and above it are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import scipy
from numpy.typing import NDArray

from scanner.errors import CalibrationError

BINS = 1 << 20
SAME_VECTORS = "Either people stand in the calibration set under several identities, or the embedder gives everybody the same vector."
"""Why no threshold keeps different people apart, as the end of a sentence."""
PAIRS_AT_LEAST = 10
"""Fewest false matches that a threshold may rest on."""
PAIRS_WISHED = 30
"""Doddington's rule of 30: with as many errors the rate is within ±30 % at 90 % confidence."""


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """How many pairs scored what.

    `counts` is int64 (BINS,): bin b holds scores in [-1 + 2b/BINS, -1 + 2(b+1)/BINS); the last one also 1.0.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, scores: NDArray[np.floating]) -> None:
        """Count scores in [-1, 1]; values just outside, from rounding, are clipped."""
        rows = ((np.asarray(scores, np.float64) + 1.0) * (BINS / 2)).astype(np.int64)
        np.clip(rows, 0, BINS - 1, out=rows)
        self.counts[:] += np.bincount(rows, minlength=BINS)

    @property
    def pairs(self) -> int:
        """Number of pairs counted."""
        return int(self.counts.sum())

    def reaching(self, threshold: float) -> int:
        """Return how many pairs score at or above `threshold`, counting the bin that holds it as a whole."""
        row = int(np.clip(np.floor((threshold + 1.0) * (BINS / 2)), 0, BINS - 1))
        return int(self.counts[row:].sum())


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, and what the calibration pairs say about it.

    Attributes:
        threshold: inclusive bound on the score.
        fmr: measured false match rate, at most the one asked for.
        fmr_interval: 95 % Clopper-Pearson interval, as if pairs were independent (they share people, so the
            truth is wider).
        false_matches: non-mated pairs that reach the threshold.
        non_mated_pairs: pairs that the rate rests on.
        tar: share of mated pairs that reach the threshold; None without mated pairs.
        tar_interval: 95 % Clopper-Pearson interval.
        mated_pairs: pairs that `tar` rests on.
    """

    threshold: float
    fmr: float
    fmr_interval: tuple[float, float]
    false_matches: int
    non_mated_pairs: int
    tar: float | None
    tar_interval: tuple[float, float] | None
    mated_pairs: int

    @property
    def is_thin(self) -> bool:
        """True when fewer false matches were seen than the rule of 30 wants."""
        return self.false_matches < PAIRS_WISHED


def operating_point(non_mated: ScoreCounts, mated: ScoreCounts, *, fmr: float) -> OperatingPoint:
    """Return the lowest threshold whose measured FMR is at most `fmr`.

    Args:
        non_mated: scores of pairs of different people.
        mated: scores of pairs of one person, different items.
        fmr: wanted false match rate, in (0, 1).

    Raises:
        CalibrationError: so few pairs that `fmr` would rest on fewer than `PAIRS_AT_LEAST` of them, or so many
            of them as close as can be that no threshold keeps them out.
    """
    if not 0.0 < fmr < 1.0:
        raise CalibrationError(f"A false match rate lies between 0 and 1, for instance 1e-4; got {fmr}.")
    pairs = non_mated.pairs
    allowed = math.floor(fmr * pairs * (1 + 1e-12))  # 3e-4 of 40 000 are 12, in floating point a little less
    if allowed < PAIRS_AT_LEAST:
        raise CalibrationError(
            f"A threshold at FMR {fmr:g} needs at least {math.ceil(PAIRS_AT_LEAST / fmr)} pairs of different people, "
            f"the calibration set has {pairs}. Name a larger one{_or_ask_for(pairs)}."
        )
    reaching = np.cumsum(non_mated.counts[::-1])[::-1]  # reaching[b] = pairs in bin b or above
    row = int(np.searchsorted(-reaching, -allowed))  # first bin with at most `allowed` pairs
    if row == BINS:
        raise CalibrationError(
            f"No threshold has FMR {fmr:g}: {reaching[-1]} of {pairs} pairs of different people score 1. {SAME_VECTORS}"
        )
    return point_at(non_mated, mated, threshold=-1.0 + 2.0 * row / BINS)


def _or_ask_for(pairs: int) -> str:
    """Return the lowest rate that `pairs` support, rounded up to one digit, as the end of a sentence."""
    if pairs <= PAIRS_AT_LEAST + 1:
        return ""
    digit = 10.0 ** math.floor(math.log10(PAIRS_AT_LEAST / pairs))
    return f", or ask for an FMR of {math.ceil(PAIRS_AT_LEAST / pairs / digit) * digit:.1g} or more"


def point_at(non_mated: ScoreCounts, mated: ScoreCounts, *, threshold: float) -> OperatingPoint:
    """Return what the calibration pairs say about a given threshold."""
    pairs, mates = non_mated.pairs, mated.pairs
    wrong = non_mated.reaching(threshold)
    right = mated.reaching(threshold)
    return OperatingPoint(
        threshold=threshold,
        fmr=wrong / pairs if pairs else 0.0,
        fmr_interval=proportion_interval(wrong, pairs),
        false_matches=wrong,
        non_mated_pairs=pairs,
        tar=right / mates if mates else None,
        tar_interval=proportion_interval(right, mates) if mates else None,
        mated_pairs=mates,
    )


def proportion_interval(hits: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a proportion; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    tail = (1.0 - level) / 2
    low = float(scipy.stats.beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(scipy.stats.beta.ppf(1.0 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high
