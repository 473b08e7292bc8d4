"""Many tests at once: q-values that hold the false discovery rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bh_q_values(p_values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Benjamini-Hochberg q-values (1995): the lowest false discovery rate at which each test is rejected.

    Holds for independent tests and for conformal p-values that share one null sample (they are positively
    dependent: Bates et al. 2023, Theorem 2).

    Args:
        p_values: (n,) in [0, 1].

    Returns:
        (n,) float64 in [0, 1], monotone in the p-values.
    """
    p = np.asarray(p_values, np.float64)
    n = len(p)
    order = np.argsort(p, kind="stable")
    raised = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return q


def by_q_values(p_values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Benjamini-Yekutieli q-values (2001): as `bh_q_values`, but for any dependence, at a cost of about ln n."""
    n = len(p_values)
    return np.minimum(bh_q_values(p_values) * float((1.0 / np.arange(1, n + 1)).sum()), 1.0)
