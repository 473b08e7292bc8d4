"""Which candidate identities are closer to the queries than people known not to be in training are.

A photo's statistic is its best score over all queries.  One random photo of each null identity gives the null: if a
candidate was not in training, its photo and these are exchangeable.  An identity with m photos has m chances, so its
p-value is m times that of its best photo (Bonferroni): valid whatever the dependence between the photos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.multiple import bh_q_values, by_q_values
from scanner.evidence.null import Tail, conformal_p, fit_tail

NULL_MIN = 100
"""Fewest null identities that a p-value is taken from."""


@dataclass(frozen=True, slots=True)
class IdentityEvidence:
    """What is said of each candidate identity; all arrays are (m,), one entry an identity.

    Attributes:
        statistic: best score over all queries and photos, float32.
        photos: number of its photos.
        p_conformal: needs exchangeability alone; never below photos / (null_identities + 1).
        p_value: from the fitted tail where the statistic lies in it, else `p_conformal`.
        q_bh: Benjamini-Hochberg q-value of `p_value`.
        q_by: Benjamini-Yekutieli q-value of `p_value`.
        q_conformal: Benjamini-Hochberg q-value of `p_conformal`.
        p_low: lower end of the 95 % Clopper-Pearson interval of `p_conformal`, for the null people that were not drawn.
        p_high: its upper end.
        null: (k,) float32 statistics of the null identities, one photo each.
        tail: the fitted tail of the null, or why there is none.
    """

    statistic: NDArray[np.float32]
    photos: NDArray[np.int64]
    p_conformal: NDArray[np.float64]
    p_value: NDArray[np.float64]
    q_bh: NDArray[np.float64]
    q_by: NDArray[np.float64]
    q_conformal: NDArray[np.float64]
    p_low: NDArray[np.float64]
    p_high: NDArray[np.float64]
    null: NDArray[np.float32]
    tail: Tail

    @property
    def null_identities(self) -> int:
        """Number of null identities."""
        return len(self.null)

    def fewest_nameable(self, level: float) -> int:
        """Return how many identities must be extreme together before one can be named at this false discovery rate.

        Without a tail no p-value is below its identity's photos / (null_identities + 1), and Benjamini-Hochberg asks
        level x k / m of the k smallest.  m + 1 where even all together could not be named.
        """
        if not self.tail.refused:
            return 1
        people = len(self.photos)
        lowest = np.sort(self.photos) * (1.0 / (self.null_identities + 1))
        enough = lowest * people / np.arange(1, people + 1) <= level  # as `bh_q_values` works it out
        return int(np.append(enough, True).argmax()) + 1


def weigh_identities(
    scores: NDArray[np.float32],
    identities: NDArray[np.int64],
    null_scores: NDArray[np.float32],
    null_identities: NDArray[np.int64],
    *,
    seed: int,
) -> IdentityEvidence:
    """Return a p-value and q-values for each candidate identity.

    Args:
        scores: (n,) for every candidate photo its best score over all queries.
        identities: (n,) codes 0..m-1 of whose photo it is; every code occurs.
        null_scores: (k,) the same of null photos, over the same queries.
        null_identities: (k,) codes of the null identities; every code occurs.
        seed: draws the photo that stands for each null identity.

    Raises:
        CalibrationError: fewer than `NULL_MIN` null identities.
    """
    photos = np.bincount(identities)
    people = int(null_identities.max(initial=-1)) + 1
    check_null_size(people)
    null = _one_each(null_scores, null_identities, np.random.default_rng(seed))
    statistic = np.full(len(photos), -1.0, np.float32)
    np.maximum.at(statistic, identities, scores)
    tail = fit_tail(null)
    one = conformal_p(statistic, null)
    in_tail = (statistic > tail.start) & (tail.refused == "")
    conformal = np.minimum(photos * one, 1.0)
    p_value = np.minimum(photos * np.where(in_tail, tail.p(statistic), one), 1.0)
    low, high = _exceedance_interval(statistic, null)
    return IdentityEvidence(
        statistic, photos, conformal, p_value, bh_q_values(p_value), by_q_values(p_value), bh_q_values(conformal),
        np.minimum(photos * low, 1.0), np.minimum(photos * high, 1.0), null, tail,
    )  # fmt: skip


def _exceedance_interval(
    statistic: NDArray[np.float32], null: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of the share of null people (all that there could be) at or above each statistic."""
    n = len(null)
    above = n - np.searchsorted(np.sort(null), statistic, side="left")
    low = np.where(above > 0, scipy.stats.beta.ppf(0.025, np.maximum(above, 1), n - above + 1), 0.0)
    high = np.where(above < n, scipy.stats.beta.ppf(0.975, above + 1, np.maximum(n - above, 1)), 1.0)
    return low, high


def check_null_size(people: int) -> None:
    """Refuse a null of too few identities."""
    if people < NULL_MIN:
        raise CalibrationError(
            f"The null has {people} identities; at least {NULL_MIN} are needed, and the smallest p-value without a model is "
            "one over their number. Name a larger null index, or several."
        )


def _one_each(
    scores: NDArray[np.float32], identities: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the score of one random photo of each identity."""
    order = np.lexsort((rng.random(len(scores)), identities))
    _, first = np.unique(identities[order], return_index=True)
    return scores[order][first]
