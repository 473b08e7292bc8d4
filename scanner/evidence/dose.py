"""Dose and response: do people with a larger share of the training set leave more traces?

Webster et al. 2021 (2107.06018, section 4.3): one over-represented identity leaks even from a diverse training set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

DRAWS = 9_999
_BLOCK = 1_000
FEWEST = 3
"""Fewest people that an order can be seen in."""


@dataclass(frozen=True, slots=True)
class Dose:
    """How a response rises with the share of the training set.

    Attributes:
        people: identities with a known share.
        rho: Spearman's rank correlation of share and response; 0 when either is the same for everybody.
        p_value: one-sided (rising), by permutation, never below 1 / (DRAWS + 1); 1 with fewer than `FEWEST` people.
    """

    people: int
    rho: float
    p_value: float


def dose_response(share: NDArray[np.floating], response: NDArray[np.floating], *, seed: int) -> Dose:
    """Return how surely the response rises with the share.

    Args:
        share: (n,) share of the training set that is of each person.
        response: (n,) any score of the person, higher is closer.
        seed: draws the permutations.
    """
    n = len(share)
    if n < FEWEST:
        return Dose(n, 0.0, 1.0)
    x, y = (_standard(stats.rankdata(np.asarray(values, np.float64))) for values in (share, response))
    rho = float(x @ y)
    rng = np.random.default_rng([seed, n])
    blocks = [rng.permuted(np.tile(y, (size, 1)), axis=1) @ x for size in _blocks(DRAWS)]
    drawn = np.concatenate(blocks)
    reached = int((drawn >= rho - 1e-12).sum())  # sums of the same numbers in another order
    return Dose(n, rho, (1 + reached) / (DRAWS + 1))


def _blocks(draws: int) -> list[int]:
    """Cut draws into blocks, so that thousands of people fit into memory."""
    return [min(_BLOCK, draws - start) for start in range(0, draws, _BLOCK)]


def _standard(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks with mean 0 and length 1; zeros when all are equal."""
    centred = ranks - ranks.mean()
    length = float(np.sqrt(centred @ centred))
    return np.asarray(centred / length if length else centred, np.float64)
