"""Scores → verdicts.  The one place where a score meets a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.errors import UsageError
from scanner.evidence.calibration import OperatingPoint


class Verdict(Enum):
    """What is said of a candidate."""

    MATCH = "match"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Threshold:
    """An inclusive bound on the score, and where it comes from.

    Attributes:
        value: cosine in (-1, 1].
        origin: "given" by hand or "calibrated" on pairs.
        point: what the calibration says; None when given by hand.
        calibrated_on: what the user named as calibration set.
        identification: FPIR and FNIR at this threshold for this run's gallery, where it was set by an FPIR.
    """

    value: float
    origin: str = "given"
    point: OperatingPoint | None = None
    calibrated_on: str | None = None
    identification: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not -1.0 < self.value <= 1.0:
            raise UsageError(f"A threshold is a cosine above -1 and at most 1, for instance 0.43; got {self.value}.")

    def decide(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which scores (any shape, float32) are matches: at the threshold or above it."""
        return scores >= np.float32(self.value)

    def false_matches_expected(self, pairs: int) -> float | None:
        """Return how many of `pairs` comparisons of unrelated people would match by chance; None if not known."""
        return None if self.point is None else self.point.fmr * pairs
