"""Trade-off curves (DET, ROC), FPIR against gallery size, and what a false match rate becomes at a gallery size.

DET: FNIR against FPIR for one gallery size; ROC: TAR against FMR over all pairs (ISO/IEC 19795-1).  Curves are read at
rates that lie evenly on a log scale, each point with its threshold, so that a page can draw and a reader check them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scanner.errors import CalibrationError
from scanner.evidence.calibration import BINS, OperatingPoint, ScoreCounts
from scanner.evidence.one_to_many import ERRORS_AT_LEAST, RatePoint, Searches
from scanner.evidence.rates import Rate, beyond, fpir_of_fmr

CURVE_POINTS = 25
FPIR_DRAWN_MAX = 0.5
CLOSEST = 10


@dataclass(frozen=True, slots=True)
class DetPoint:
    """Both identification rates at one threshold."""

    threshold: float
    fpir: Rate
    fnir: Rate


@dataclass(frozen=True, slots=True)
class DetCurve:
    """Identification rates among `size` references, from low FPIR to high."""

    size: int
    points: tuple[DetPoint, ...]


@dataclass(frozen=True, slots=True)
class RocPoint:
    """Rates of pairs at one threshold."""

    threshold: float
    fmr: float
    tar: float


@dataclass(frozen=True, slots=True)
class SizeRate:
    """What a threshold becomes among `size` references: FPIR as measured, and as 1 - (1 - FMR)^size says."""

    size: int
    fpir: Rate
    by_fmr: float


@dataclass(frozen=True, slots=True)
class SizeCurve:
    """FPIR of one threshold against gallery size; `fmr` is what all pairs say of the threshold."""

    threshold: float
    fmr: float
    sizes: tuple[SizeRate, ...]


@dataclass(frozen=True, slots=True)
class ClosePeople:
    """Two identities of the set and the best score between them: one person under two names, where it is very high."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class OneToMany:
    """Identification rates of one embedder on one labelled set.

    Attributes:
        searches: photos that were searched among one photo of every other person.
        mated_searches: photos that were searched for another photo of their person.
        gallery: references in each search.
        fpir: rate asked for.
        points: thresholds at that rate, one for each gallery size that the set can support.
        skipped: a sentence for each that it cannot.
        sizes: FPIR against gallery size at the thresholds of the wanted FMRs.
        det: curves for the gallery sizes.
        roc: curve of all pairs.
        closest: identities that come closest to each other. One person under two names moves every threshold up.
    """

    searches: int
    mated_searches: int
    gallery: int
    fpir: float
    points: tuple[RatePoint, ...]
    skipped: tuple[str, ...]
    sizes: tuple[SizeCurve, ...]
    det: tuple[DetCurve, ...]
    roc: tuple[RocPoint, ...]
    closest: tuple[ClosePeople, ...]


def one_to_many(
    searches: Searches,
    *,
    fpir: float,
    gallery_sizes: Sequence[int],
    operating_points: Sequence[OperatingPoint],
    non_mated: ScoreCounts,
    mated: ScoreCounts,
    names: Sequence[str],
) -> OneToMany:
    """Return everything that a page or a table shows.

    Args:
        searches: outcomes on the labelled set.
        fpir: wanted rate.
        gallery_sizes: references; rising, each once.
        operating_points: thresholds at wanted false match rates, for the table of gallery sizes.
        non_mated: scores of all pairs of different people.
        mated: scores of all pairs of one person.
        names: of the people, by code.

    Raises:
        CalibrationError: `fpir` is no rate.
    """
    points: list[RatePoint] = []
    skipped: list[str] = []
    if not 0.0 < fpir < 1.0:
        searches.threshold_at(fpir, size=1)  # says so
    for size in gallery_sizes:
        try:
            points.append(searches.point(fpir, size=size))
        except CalibrationError as error:
            skipped.append(str(error))
    curves = [
        size_curve(searches, point.threshold, fmr=point.fmr, sizes=gallery_sizes)
        for point in operating_points
        if point.threshold >= searches.floor
    ]
    det = (
        tuple(DetCurve(size, det_points(searches, size=size)) for size in gallery_sizes) if len(searches.mated) else ()
    )
    return OneToMany(
        len(searches.person), len(searches.mated), searches.gallery, fpir, tuple(points), tuple(skipped), tuple(curves),
        tuple(curve for curve in det if curve.points), roc_points(non_mated, mated),
        tuple(ClosePeople(names[one], names[other], best) for one, other, best in searches.closest(CLOSEST)),
    )  # fmt: skip


def size_curve(searches: Searches, cut: float, *, fmr: float, sizes: Sequence[int]) -> SizeCurve:
    """Return the FPIR of one threshold for several gallery sizes.

    Raises:
        CalibrationError: the threshold lies below the pairs that were kept.
    """
    rows = (SizeRate(size, searches.fpir_at(cut, size=size), fpir_of_fmr(fmr, size)) for size in sizes)
    return SizeCurve(cut, fmr, tuple(rows))


def det_points(searches: Searches, *, size: int, points: int = CURVE_POINTS) -> tuple[DetPoint, ...]:
    """Return FNIR against FPIR among `size` references.

    Args:
        searches: with mated searches.
        size: beyond the measured gallery the FPIR is extrapolated.
        points: at most so many, evenly on a log scale from the lowest FPIR that the set supports to 0.5.
    """
    lowest = _lowest(searches, size)
    wanted = np.geomspace(lowest, FPIR_DRAWN_MAX, points).tolist() if lowest < FPIR_DRAWN_MAX else []
    cuts = reversed(searches.supported_cuts(wanted, size=size))
    rates = [(cut, searches.fpir_at(cut, size=size), searches.fnir_at(cut)) for cut in cuts]
    return tuple(DetPoint(cut, false_positive, missed) for cut, false_positive, missed in rates if missed is not None)


def _lowest(searches: Searches, size: int) -> float:
    """Return the FPIR among `size` references at the threshold where as many searches as are needed go wrong."""
    rising = searches.rising(min(size, searches.gallery))
    first = np.flatnonzero(searches.place == 0)
    if len(first) < ERRORS_AT_LEAST:
        return 1.0
    here = float(rising[first[ERRORS_AT_LEAST - 1]])
    return beyond(here, gallery=searches.gallery, size=max(size, searches.gallery))


def roc_points(non_mated: ScoreCounts, mated: ScoreCounts, *, points: int = CURVE_POINTS) -> tuple[RocPoint, ...]:
    """Return TAR against FMR over all pairs, from the lowest FMR that ten pairs support to 1; () without mated pairs."""
    pairs, mates = non_mated.pairs, mated.pairs
    lowest = min(1.0, 10 / pairs) if pairs else 1.0
    if mates == 0 or lowest >= 1.0:
        return ()
    wrong = np.cumsum(non_mated.counts[::-1])[::-1]
    right = np.cumsum(mated.counts[::-1])[::-1]
    # The first bin from which on at most so many pairs lie.
    rows = np.searchsorted(-wrong, -np.geomspace(lowest, 1.0, points) * pairs * (1 + 1e-12))
    return tuple(
        RocPoint(-1.0 + 2.0 * row / BINS, int(wrong[row]) / pairs, int(right[row]) / mates)
        for row in sorted(set(rows.tolist()), reverse=True)
        if row < BINS
    )
