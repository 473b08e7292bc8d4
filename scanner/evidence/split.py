"""Does a re-created face still show the person?  Match rates at a fixed false match rate, with intervals over people.

Type-I: a re-created photo against the very photo.  Type-II: against another photo of the same person (Mai, Cao, Yuen
and Jain 2017, arXiv 1703.00832).  The threshold at the fixed FMR comes from pairs of different
people, of two kinds: original photos among each other, and re-created photos against others' originals.  Re-created
faces all look alike, which lifts the scores of strangers (or sinks them): a rate is one of recognition only at a threshold
that holds for both, so the stricter of the two is the headline.

Photos of a person are no independent trials, and the threshold is measured on the same people.  Both go into the
interval: each person moves the rate by its own photos, and by what its pairs move the threshold times the slope of the
ROC there.  A pair belongs to two people and counts with both, which is a little on the safe side (compare Aronow, Samii
and Assenova 2015, Political Analysis 23, who take it off once).  Intervals are as in `scanner.evidence.rates`, after Korn
and Graubard 1998, with people - 1 degrees of freedom.  Simulated with known truth, 60 people and a threshold that rests
on 70 pairs or more, they cover 93 to 96 % in 16 settings of 250 runs, 95 % on average (`tests/scanner/evidence`);
`MatchRate.false_matches` says on how many a threshold rests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.calibration import PAIRS_AT_LEAST
from scanner.evidence.rates import interval

NullKind = Literal["original", "recreated"]
MatchType = Literal["type_1", "type_2"]
NULLS: tuple[NullKind, ...] = ("original", "recreated")
TYPES: tuple[MatchType, ...] = ("type_1", "type_2")
PAIRS_WISHED = 100
_WIDER = 2.0
"""The slope of the ROC is taken between this fraction and this multiple of the FMR."""


@dataclass(frozen=True, slots=True)
class MatchRate:
    """Share of trials that reach the threshold.

    Attributes:
        value: in [0, 1].
        low: lower end of the interval.
        high: upper end.
        trials: photos (type-I), or pairs of photos (type-II).
        people: whose photos they are.
        threshold: inclusive.
        null: which pairs of different people put it there.
        false_matches: pairs of different people that it rests on; below `PAIRS_WISHED` the interval is too short.
    """

    value: float
    low: float
    high: float
    trials: int
    people: int
    threshold: float
    null: NullKind
    false_matches: int


class Judged:
    """What one judge says of one set of re-created photos: all scores between these and the originals."""

    def __init__(
        self, recreated: NDArray[np.float32], original: NDArray[np.float32], person: NDArray[np.integer]
    ) -> None:
        """Score everything against everything.

        Args:
            recreated: (n, d) float32, unit rows; NaN rows (the judge could not embed it) match nobody.
            original: (n, d) float32, unit rows, of the photos that were re-created.
            person: (n,) codes, any integers.

        Raises:
            CalibrationError: fewer than three people.
        """
        self.person = np.unique(person, return_inverse=True)[1].astype(np.int64)
        self.people = int(self.person.max(initial=-1)) + 1
        if self.people < 3:  # noqa: PLR2004
            raise CalibrationError(
                f"A match rate at a fixed false match rate needs pairs of different people; got {self.people} people. "
                "Name photos of more people."
            )
        across = np.nan_to_num(recreated @ original.T, nan=-1.0).astype(np.float64)
        among = (original @ original.T).astype(np.float64)
        self._alien = self.person[:, None] != self.person[None, :]
        self._scores = {"original": among, "recreated": across}
        self._across = across
        upper = np.triu(np.ones_like(self._alien), 1)  # the same pair counts once
        self._falling = {
            "original": np.sort(among[self._alien & upper])[::-1],
            "recreated": np.sort(across[self._alien])[::-1],
        }
        rows = np.arange(len(self.person))
        first, second = np.nonzero(~self._alien & ~np.eye(len(rows), dtype=np.bool_))
        self._pairs = {"type_1": (rows, rows), "type_2": (first, second)}

    def threshold(self, fmr: float, null: NullKind) -> float:
        """Return the lowest threshold that at most `fmr` of the null's pairs reach.

        Raises:
            CalibrationError: so few pairs that the rate would rest on fewer than ten of them; or no rate.
        """
        falling = self._falling[null]
        if not 0.0 < fmr < 1.0:
            raise CalibrationError(f"A false match rate lies between 0 and 1, for instance 1e-3; got {fmr}.")
        allowed = _allowed(fmr, len(falling))
        if allowed < PAIRS_AT_LEAST:
            raise CalibrationError(
                f"A threshold at FMR {fmr:g} needs {math.ceil(PAIRS_AT_LEAST / fmr)} pairs of photos of different people, "
                f"the photos give {len(falling)}. Name more photos, or ask for a higher FMR."
            )
        return float(np.nextafter(falling[allowed], np.inf)) if allowed < len(falling) else -1.0

    def false_matches(self, threshold: float, null: NullKind) -> float:
        """Return the share of the null's pairs that reach a threshold: with "recreated", what chance alone gives."""
        falling = self._falling[null]
        return float(np.searchsorted(-falling, -threshold, side="right")) / len(falling)

    def hits(self, match: MatchType, threshold: float) -> NDArray[np.bool_]:
        """Return (trials,) whether each reaches the threshold; type-I in order of photos."""
        first, second = self._pairs[match]
        return np.asarray(self._across[first, second] >= threshold)

    def trials(self, match: MatchType) -> int:
        """Return the number of trials; type-II has none where nobody has two photos."""
        return len(self._pairs[match][0])

    def rate(self, match: MatchType, *, fmr: float, null: NullKind, level: float = 0.95) -> MatchRate:
        """Return the match rate at the threshold of one null.

        Args:
            match: "type_1" or "type_2".
            fmr: of the threshold.
            null: which pairs set it.
            level: of the interval.

        Raises:
            CalibrationError: see `threshold`; or no trial.
        """
        self._check_trials(match)
        cut = self.threshold(fmr, null)
        hit = self.hits(match, cut).astype(np.float64)
        value = float(hit.mean())
        owner = self.person[self._pairs[match][0]]
        moved = np.bincount(owner, hit - value, minlength=self.people) / len(hit)
        by_threshold = self._moved_by_threshold(match, cut, fmr, null)
        people = len(np.unique(owner))
        own = float(moved @ moved)
        moved = moved - by_threshold
        variance = max(float(moved @ moved), 0.5 * own) * people / (people - 1)
        low, high = interval(value, variance, people=people, freedom=people - 1.0, level=level)
        return MatchRate(value, low, high, len(hit), people, cut, null, _allowed(fmr, len(self._falling[null])))

    def strict(self, fmr: float) -> NullKind:
        """Return the null whose threshold is higher; raises CalibrationError as `threshold` does."""
        return "recreated" if self.threshold(fmr, "recreated") > self.threshold(fmr, "original") else "original"

    def headline(self, match: MatchType, *, fmr: float, level: float = 0.95) -> MatchRate:
        """Return the match rate at the stricter of the two nulls' thresholds."""
        return self.rate(match, fmr=fmr, null=self.strict(fmr), level=level)

    def _check_trials(self, match: MatchType) -> None:
        if not self.trials(match):
            raise CalibrationError("Type-II needs people with two photos, and nobody has them. Name more photos.")

    def _moved_by_threshold(self, match: MatchType, cut: float, fmr: float, null: NullKind) -> NDArray[np.float64]:
        """Return (people,) what each person's null pairs move the rate."""
        slope = self._slope(match, fmr, null)
        over = (self._scores[null] >= cut) & self._alien
        by_pair = _over_people(over, self.person, self.people) + _over_people(over, self.person, self.people).T
        pairs = _over_people(self._alien, self.person, self.people)
        pairs = pairs + pairs.T
        total = pairs.sum() / 2
        moved = slope * (by_pair - pairs * (by_pair.sum() / pairs.sum())) / total
        return np.asarray(moved.sum(axis=1))

    def _slope(self, match: MatchType, fmr: float, null: NullKind) -> float:
        """Return how much the match rate grows with the FMR."""
        falling = self._falling[null]
        ends = [_allowed(rate, len(falling)) for rate in (fmr / _WIDER, min(fmr * _WIDER, 1.0))]
        cuts = [np.nextafter(falling[end], np.inf) if end < len(falling) else -1.0 for end in ends]
        gain = float(self.hits(match, cuts[1]).mean() - self.hits(match, cuts[0]).mean())
        return gain / max((ends[1] - ends[0]) / len(falling), 1.0 / len(falling))


def share_by_all(hits: list[NDArray[np.bool_]], person: NDArray[np.integer], *, level: float = 0.95) -> MatchRate:
    """Return the share of photos that every judge matches: one matcher is no evidence.

    Args:
        hits: one (n,) a judge, type-I in order of photos.
        person: (n,) codes.
        level: of the interval, in which each judge's threshold is taken as it is.
    """
    both = np.logical_and.reduce(hits).astype(np.float64)
    codes = np.unique(person, return_inverse=True)[1]
    moved = np.bincount(codes, both - both.mean()) / len(both)
    people = len(moved)
    variance = float(moved @ moved) * people / max(1, people - 1)
    low, high = interval(float(both.mean()), variance, people=people, freedom=max(1.0, people - 1.0), level=level)
    return MatchRate(float(both.mean()), low, high, len(both), people, math.nan, "original", 0)


def match_rate_slowly(
    recreated: NDArray[np.float32], original: NDArray[np.float32], person: NDArray[np.integer], *, fmr: float
) -> dict[str, float]:
    """Return what `Judged` says, pair by pair: the obvious twin for tests."""
    n = len(person)
    score = {
        "original": [
            float(original[i] @ original[j]) for i in range(n) for j in range(i + 1, n) if person[i] != person[j]
        ],
        "recreated": [float(recreated[i] @ original[j]) for i in range(n) for j in range(n) if person[i] != person[j]],
    }
    found: dict[str, float] = {}
    same = [(i, j) for i in range(n) for j in range(n) if i != j and person[i] == person[j]]
    for null in NULLS:
        allowed = fmr * len(score[null]) * (1 + 1e-12)
        # The threshold lies just above the highest score that too many strangers reach.
        below = max((v for v in set(score[null]) if sum(s >= v for s in score[null]) > allowed), default=-2.0)
        found[f"type_1 {null}"] = sum(float(recreated[i] @ original[i]) > below for i in range(n)) / n
        found[f"type_2 {null}"] = sum(float(recreated[i] @ original[j]) > below for i, j in same) / max(1, len(same))
    return found


def _allowed(fmr: float, pairs: int) -> int:
    return math.floor(fmr * pairs * (1 + 1e-12))  # 3e-4 of 40 000 are 12, in floating point a little less


def _over_people(flags: NDArray[np.bool_], person: NDArray[np.int64], people: int) -> NDArray[np.float64]:
    """Return (people, people) how many flags each pair of people has."""
    rows, columns = np.nonzero(flags)
    code = person[rows] * people + person[columns]
    return np.bincount(code, minlength=people * people).reshape(people, people).astype(np.float64)
