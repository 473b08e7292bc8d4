"""Checks on what a p-value rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

FOLDS = 5
RIDGE = 0.1
AUC_MAX = 0.6
LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class TwoSample:
    """Whether a classifier tells two sets apart (Lopez-Paz & Oquab 2017).

    Attributes:
        auc: of a linear classifier on held-out vectors; 0.5 = cannot tell them apart.
        p_value: of an AUC as high by chance (stratified rank-sum test, one-sided).
        left: vectors of the first set.
        right: vectors of the second set.
    """

    auc: float
    p_value: float
    left: int
    right: int

    @property
    def differ(self) -> bool:
        """True when the sets are told apart beyond chance, and by so much that it matters."""
        return self.auc > AUC_MAX and self.p_value < LEVEL


def two_sample(left: NDArray[np.float32], right: NDArray[np.float32], *, seed: int) -> TwoSample:
    """Train a linear classifier to tell `left` from `right`, and test it on vectors that it has not seen.

    Queries play no part, so a leak cannot make the sets look different.

    Args:
        left: (n, d) float32, one vector an identity: vectors of one person are not independent.
        right: (m, d) float32, likewise; n, m >= 2 x `FOLDS`.
        seed: draws the folds.
    """
    rng = np.random.default_rng(seed)
    fold_left = rng.permutation(np.arange(len(left)) % FOLDS)
    fold_right = rng.permutation(np.arange(len(right)) % FOLDS)
    above = variance = mean = pairs = 0.0
    for fold in range(FOLDS):
        weights = _discriminant(left[fold_left != fold], right[fold_right != fold])
        a, b = left[fold_left == fold] @ weights, right[fold_right == fold] @ weights
        n, m = len(a), len(b)
        # Mann and Whitney's U.  `mannwhitneyu` counts out its exact p-value as well, which takes far longer.
        above += float(scipy.stats.rankdata(np.concatenate([a, b]))[:n].sum() - n * (n + 1) / 2)
        mean += n * m / 2
        variance += n * m * (n + m + 1) / 12
        pairs += n * m
    return TwoSample(
        above / pairs, float(scipy.stats.norm.sf((above - mean) / np.sqrt(variance))), len(left), len(right)
    )


def _discriminant(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Fisher's linear discriminant with a ridge of a tenth of the mean variance."""
    middle_left, middle_right = left.mean(0, dtype=np.float64), right.mean(0, dtype=np.float64)
    centred = np.concatenate([left - middle_left, right - middle_right])
    spread = centred.T @ centred / len(centred)
    # Without any spread every direction weighs the same.
    spread[np.diag_indices_from(spread)] += RIDGE * np.trace(spread) / len(spread) or 1.0
    return np.asarray(np.linalg.solve(spread, middle_left - middle_right), np.float64)
