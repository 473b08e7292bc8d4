"""How unusual a score is among people known not to be in training.

The statistic of an identity is its best score over all queries and all of its photos.  If an identity was not in
training, its statistic and those of the null identities (with as many photos) are exchangeable, whatever the queries
are: so dependence between queries, their number, their quality and their domain cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

TAIL_SHARES = (0.1, 0.05, 0.025)
"""Upper shares of the null that a tail is tried on, the largest first."""
TAIL_MIN = 100
"""Fewest exceedances that a tail is fitted to."""
FIT_LEVEL = 0.01
"""A tail whose goodness-of-fit p-value lies below is not used."""


def conformal_p(statistic: NDArray[np.floating], null: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return p-values that need nothing but exchangeability (Vovk et al. 2005).

    Args:
        statistic: (m,) higher is more unusual.
        null: (n,) the same statistic of null identities.

    Returns:
        (m,) float64: (1 + number of null values at or above) / (n + 1); never below the floor 1 / (n + 1).
    """
    ordered = np.sort(np.asarray(null, np.float64))
    at_or_above = len(ordered) - np.searchsorted(ordered, np.asarray(statistic, np.float64), side="left")
    return np.asarray((1.0 + at_or_above) / (len(ordered) + 1.0), np.float64)


@dataclass(frozen=True, slots=True)
class Tail:
    """A generalised Pareto tail of the null (Pickands 1975), or the reason why there is none.

    Attributes:
        start: scores above it follow the tail.
        share: share of null identities above `start`.
        shape: of the generalised Pareto distribution, at least 0.
        scale: of the distribution.
        fit_p: one-sided Kolmogorov-Smirnov p-value of the fit; optimistic, since the fit saw the same data.
        refused: why the tail is not used; "" when it is.
    """

    start: float
    share: float
    shape: float
    scale: float
    fit_p: float
    refused: str = ""

    def p(self, statistic: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return tail p-values of scores above `start`; 1 for all others."""
        over = np.asarray(statistic, np.float64) - self.start
        tail = self.share * scipy.stats.genpareto.sf(np.maximum(over, 0.0), self.shape, scale=self.scale)
        return np.where(over > 0.0, tail, 1.0)


def fit_tail(null: NDArray[np.floating]) -> Tail:
    """Fit the upper tenth of the null by maximum likelihood and check the fit; where it fails, look further out.

    The tail is never taken to be lighter than an exponential one: a fitted negative shape puts an end to the null, and
    beyond it every score would be certain.  Measured on faces, that named strangers (benchmarks/LOG.md).  Far enough out
    every tail is a generalised Pareto one, so the largest of `TAIL_SHARES` that fits is taken (thresholds by ordered
    goodness-of-fit tests, Bader, Yan & Zhang 2018), as long as `TAIL_MIN` values lie in it.

    Args:
        null: (n,) statistics of null identities.
    """
    ordered = np.sort(np.asarray(null, np.float64))
    first: Tail | None = None
    for share in TAIL_SHARES:
        tail = _fit_share(ordered, share)
        if not tail.refused:
            return tail
        first = first or tail
    assert first is not None
    return first


def _fit_share(ordered: NDArray[np.float64], share: float) -> Tail:
    """Fit the upper `share` of ordered values."""
    count = int(len(ordered) * share)
    if count < TAIL_MIN:
        why = f"{count} null values lie in the upper {100 * share:g} %, {TAIL_MIN} are needed to fit a tail"
        return Tail(np.inf, 0.0, 0.0, 1.0, 0.0, why)
    start = float(ordered[-count - 1])
    over = ordered[-count:] - start
    if len(np.unique(over)) * 2 < count:
        return Tail(np.inf, 0.0, 0.0, 1.0, 0.0, f"most of the upper {100 * share:g} % are ties")
    shape, _, scale = scipy.stats.genpareto.fit(over, floc=0.0)
    if shape < 0.0:
        shape, scale = 0.0, float(over.mean())
    # Only a tail heavier than the model makes p-values too small, so only that side is tested.
    fit = scipy.stats.kstest(over, "genpareto", args=(shape, 0.0, scale), alternative="less")
    fit_p = float(fit.pvalue)
    refused = f"the tail does not fit (p = {fit_p:.2g})" if fit_p < FIT_LEVEL else ""
    return Tail(start, count / len(ordered), float(shape), float(scale), fit_p, refused)
