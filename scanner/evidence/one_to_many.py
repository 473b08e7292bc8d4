"""Searches of a labelled set among its own people: identification rates at every threshold and gallery size.

Every photo is searched among one photo of every *other* identity (its own is left out): a search of somebody who is not
in a gallery of G = people - 1.  A photo that is not its identity's gallery photo is a mated search as well.  What is kept of
20 000 x 20 000 scores are those of the highest-scoring non-mated pairs: swept from the top, each adds a known
amount to the FPIR of any gallery size, so one cumulative sum holds the FPIR at every threshold exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.calibration import BINS, SAME_VECTORS
from scanner.evidence.rates import Rate, at_size, beyond, clear_share, fnir, fpir_of_fmr, freedom_of, interval

ERRORS_AT_LEAST = 10
"""Fewest searches with a false match that a threshold may rest on."""
PEOPLE_MIN = 3


@dataclass(frozen=True, slots=True)
class RatePoint:
    """A threshold at a wanted FPIR for one gallery size; `dataclasses.asdict` makes JSON of it.

    Attributes:
        wanted: FPIR asked for.
        gallery_size: references, one a person; several photos of a person count as several, which is on the safe side.
        threshold: inclusive.
        threshold_interval: thresholds between which a set like this one would have put it (95 %; Woodruff 1952).
        fpir: measured at the threshold, at most `wanted`; says whether it is extrapolated.
        fnir: at the threshold; None without mated searches.
        false_matches_per_1000: expected false matches (not searches) in 1000 searches of people who are not there.
        fpir_by_fmr: 1 - (1 - FMR)^N with the FMR measured at the same threshold; above `fpir` where false matches gather
            in few searches.
        extrapolated: the gallery is larger than the measured one.
    """

    wanted: float
    gallery_size: int
    threshold: float
    threshold_interval: tuple[float, float]
    fpir: Rate
    fnir: Rate | None
    false_matches_per_1000: float
    fpir_by_fmr: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Searches:
    """Outcomes of all searches of a labelled set.

    Attributes:
        person: (s,) int32, whose photo was searched, as a code 0..people-1.
        score: (e,) float32, falling: the best-scoring non-mated (search, reference) pairs.
        search: (e,) int32, which search each pair is of.
        reference: (e,) int32, the person whose gallery photo it found.
        place: (e,) int32, how many better pairs the same search has.
        pair: (e,) int32, one number for each two people, whoever of them was searched.
        mated: (m,) float32, score of each mated search with its own person's gallery photo.
        mated_person: (m,) int32.
        people: number of people; the gallery has one fewer.
        floor: pairs below this score were not kept; -1 when all were.
    """

    person: NDArray[np.int32]
    score: NDArray[np.float32]
    search: NDArray[np.int32]
    reference: NDArray[np.int32]
    place: NDArray[np.int32]
    pair: NDArray[np.int32]
    mated: NDArray[np.float32]
    mated_person: NDArray[np.int32]
    people: int
    floor: float

    @property
    def gallery(self) -> int:
        """References in each search."""
        return self.people - 1

    def reaching(self, cut: float) -> int:
        """Return how many non-mated pairs reach a threshold."""
        return int(np.searchsorted(-self.score, -np.float64(cut), side="right"))

    def fmr(self, cut: float) -> float:
        """Return the share of non-mated (search, reference) pairs that reach a threshold."""
        return self.reaching(cut) / (len(self.person) * self.gallery)

    def closest(self, most: int) -> list[tuple[int, int, float]]:
        """Return the pairs of people with the best non-mated scores, as codes, each once with its best score."""
        first = np.sort(np.unique(self.pair, return_index=True)[1])[:most]
        ends = ((int(self.person[self.search[row]]), int(self.reference[row]), float(self.score[row])) for row in first)
        return [(min(one, other), max(one, other), best) for one, other, best in ends]

    def rising(self, size: int) -> NDArray[np.float64]:
        """Return the FPIR among `size` <= gallery references when the threshold is each pair's score, (e,) float64.

        Ties: at a score that several pairs have, the last of them counts.
        """
        most = int(self.place.max(initial=-1)) + 1
        clear = clear_share(np.arange(most + 1), gallery=self.gallery, size=size)
        return np.cumsum((clear[:-1] - clear[1:])[self.place]) / len(self.person)

    def fpir_at(self, cut: float, *, size: int, level: float = 0.95) -> Rate:
        """Return the FPIR at a threshold, among references of any number, as searches and references share people.

        Raises:
            CalibrationError: the threshold lies below what was kept.
        """
        if cut < self.floor:
            raise CalibrationError(
                f"FPIR at threshold {cut:.4f} is not known: of {len(self.person)} searches the {len(self.score)} best "
                f"pairs were kept, down to {self.floor:.4f}. Take a smaller FPIR or a larger gallery."
            )
        count = self.reaching(cut)
        search = self.search[:count]
        found = np.bincount(search, minlength=len(self.person))
        most = int(found.max(initial=0))
        clear = clear_share(np.arange(most + 1), gallery=self.gallery, size=min(size, self.gallery))
        mean = float((1.0 - clear)[found].mean())
        # What one reference fewer would take off a search, by how many it found.
        last = np.concatenate([[0.0], clear[:-1] - clear[1:]])[found]
        variance, freedom = self._variance((1.0 - clear)[found] - mean, last[search])
        low, high = interval(mean, variance, people=self.people, freedom=freedom, level=level)
        measured = Rate(mean, low, high, len(self.person), int((found > 0).sum()))
        return at_size(measured, gallery=self.gallery, size=size)

    def _variance(self, off: NDArray[np.float64], taken: NDArray[np.float64]) -> tuple[float, float]:
        """Dyadic cluster-robust variance, see `scanner.evidence.rates`, and its degrees of freedom.

        Args:
            off: (s,) each search's value less the mean.
            taken: (c,) what the reference of each of the first c pairs adds to its search.
        """
        searches, pairs = len(off), len(taken)
        as_reference = np.bincount(self.reference[:pairs], taken, minlength=self.people) / searches
        moved = np.bincount(self.person, off, minlength=self.people) / searches + as_reference - as_reference.mean()
        both = np.bincount(self.pair[:pairs], taken) / searches
        twice = float(both @ both)
        variance = float(moved @ moved) * self.people / (self.people - 1) - twice
        return max(variance, twice), freedom_of(moved)

    def threshold_at(self, wanted: float, *, size: int) -> float:
        """Return the lowest threshold whose FPIR among `size` references is at most `wanted`.

        Raises:
            CalibrationError: `wanted` is no rate, the set has too few searches for it, or no threshold has it.
        """
        if not 0.0 < wanted < 1.0:
            raise CalibrationError(f"A false positive rate lies between 0 and 1, for instance 0.01; got {wanted}.")
        return self._cut(self.rising(min(size, self.gallery)), wanted, size)

    def supported_cuts(self, wanted: Sequence[float], *, size: int) -> list[float]:
        """Return the thresholds of `threshold_at` for several rates, rising, each once, without those not supported."""
        rising = self.rising(min(size, self.gallery))
        cuts: set[float] = set()
        for rate in wanted:
            try:
                cuts.add(self._cut(rising, rate, size))
            except CalibrationError:
                continue  # said where a single rate is asked for; a curve is only shorter
        return sorted(cuts)

    def _cut(self, rising: NDArray[np.float64], wanted: float, size: int) -> float:
        here = beyond(wanted, gallery=size, size=min(size, self.gallery))
        allowed = int(np.searchsorted(rising, here * (1 + 1e-12), side="right"))
        if allowed == len(rising) and self.floor > -1.0:
            raise CalibrationError(
                f"A threshold at FPIR {wanted:g} among {size} references lies below the {len(rising)} best pairs that were "
                f"kept (down to {self.floor:.4f}). Ask for a smaller FPIR, or name a larger gallery."
            )
        cut = _edge_above(float(self.score[allowed])) if allowed < len(rising) else -1.0
        if cut >= 1.0:
            same = int((self.place[: self.reaching(1.0 - 2.0 / BINS)] == 0).sum())
            raise CalibrationError(
                f"No threshold has FPIR {wanted:g} among {size} references: {same} of {len(self.person)} searches find somebody "
                f"else with score 1. {SAME_VECTORS}"
            )
        wrong = int((self.place[: self.reaching(cut)] == 0).sum())
        if wrong < ERRORS_AT_LEAST:
            raise CalibrationError(self._too_few(wanted, size, here, wrong))
        return cut

    def _too_few(self, wanted: float, size: int, here: float, wrong: int) -> str:
        searches = len(self.person)
        text = (
            f"A threshold at FPIR {wanted:g} among {size} references lets {wrong} of the set's {searches} searches go wrong "
            f"(FPIR {here:.2g} among {min(size, self.gallery)}); at least {ERRORS_AT_LEAST} are needed. "
        )
        if size < self.gallery:
            return text + "Name a larger set, or ask for a higher FPIR."
        share = ERRORS_AT_LEAST / searches
        most = int(self.gallery * math.log1p(-wanted) / math.log1p(-share)) if share < 1 else 0
        return text + (
            f"Name a labelled set of about {_two_digits(searches * math.sqrt(share / here)):.0f} photos (with more people in "
            "proportion)"
            + (f", or a gallery of at most {most}" if most else "")
            + (
                f", or ask for an FPIR of {_two_digits(beyond(share, gallery=self.gallery, size=size)):.2g} or more"
                if most
                else ""
            )
            + "."
        )

    def point(self, wanted: float, *, size: int) -> RatePoint:
        """Return the threshold at a wanted FPIR with everything that is known of it.

        Raises:
            CalibrationError: see `threshold_at`.
        """
        cut = self.threshold_at(wanted, size=size)
        measured = self.fpir_at(cut, size=size)
        low, high = self._threshold_interval(self.fpir_at(cut, size=min(size, self.gallery)), min(size, self.gallery))
        fmr = self.fmr(cut)
        return RatePoint(
            wanted, size, cut, (min(low, cut), max(high, cut)), measured, self.fnir_at(cut), 1000.0 * size * fmr,
            fpir_of_fmr(fmr, size), measured.extrapolated,
        )  # fmt: skip

    def fnir_at(self, cut: float) -> Rate | None:
        """Return the FNIR at a threshold; None without mated searches."""
        return fnir(self.mated, cut=cut, cluster=self.mated_person) if len(self.mated) else None

    def _threshold_interval(self, rate: Rate, size: int) -> tuple[float, float]:
        """Thresholds at the ends of the rate's interval: the interval of a quantile (Woodruff 1952)."""
        rising = self.rising(size)
        ends = [int(np.searchsorted(rising, end, side="right")) for end in (rate.high, rate.low)]
        low, high = (float(self.score[min(end, len(rising) - 1)]) for end in ends)
        return low, high


def searches_of(
    person: NDArray[np.int32], score: NDArray[np.float32], search: NDArray[np.int32], reference: NDArray[np.int32], *,
    mated: NDArray[np.float32], mated_person: NDArray[np.int32], people: int, floor: float,
) -> Searches:  # fmt: skip
    """Order the kept pairs of all searches; arguments as the attributes of `Searches`.

    Pairs come in order of search and reference: those that tie stay in it.

    Raises:
        CalibrationError: fewer than `PEOPLE_MIN` people, or no search.
    """
    if people < PEOPLE_MIN or len(person) == 0:
        raise CalibrationError(
            f"Identification rates need at least {PEOPLE_MIN} identities, one searched among the others; the calibration "
            f"set has {people}. Name a larger one."
        )
    order = np.argsort(-score, kind="stable")
    score, search, reference = score[order], search[order], reference[order]
    searcher = person[search].astype(np.int64)
    code = np.minimum(searcher, reference) * people + np.maximum(searcher, reference)
    pair = np.unique(code, return_inverse=True)[1].astype(np.int32)
    return Searches(
        person, score, search, reference, _place_within(search, len(person)), pair, mated, mated_person, people, floor
    )


def _place_within(search: NDArray[np.int32], searches: int) -> NDArray[np.int32]:
    """Return for each pair, in falling order, how many of the same search came before."""
    order = np.argsort(search, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(search, minlength=searches))[:-1]])
    place = np.empty(len(search), np.int32)
    place[order] = np.arange(len(search)) - first[search[order]]
    return place


def _two_digits(value: float) -> float:
    """Round up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit * (1 - 1e-9)) * unit


def _edge_above(score: float) -> float:
    """Return the lowest edge of the bins of `ScoreCounts` above a score, so that pairs counted there agree."""
    return min(1.0, -1.0 + 2.0 * (math.floor((score + 1.0) * (BINS / 2)) + 1) / BINS)
