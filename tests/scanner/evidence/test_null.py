"""p-values: their floor, their ties, and that they are uniform when nothing is there."""

import numpy as np
import pytest

from scanner.evidence.null import TAIL_MIN, conformal_p, fit_tail


def test_conformal_p_counts_null_values_at_or_above():
    null = np.array([0.1, 0.2, 0.3, 0.3])

    assert conformal_p(np.array([0.05, 0.3, 0.31]), null) == pytest.approx([5 / 5, 3 / 5, 1 / 5])


def test_conformal_p_is_valid_at_every_level():
    rng = np.random.default_rng(0)
    p = np.concatenate([conformal_p(rng.normal(size=200), rng.normal(size=199)) for _ in range(300)])

    shares = [np.mean(p <= level) / level for level in (0.005, 0.05, 0.2, 0.5)]

    assert shares == pytest.approx([1.0] * 4, abs=0.12)


def test_a_tail_gives_smaller_p_values_than_the_floor_and_errs_on_the_safe_side():
    rng = np.random.default_rng(1)
    quantile = 3.719  # the normal's at 1e-4

    found = [fit_tail(rng.normal(size=4000)).p(np.array([quantile]))[0] for _ in range(100)]

    assert min(found) > 1e-4
    assert np.median(found) < 1e-3


def test_a_tail_needs_enough_values_and_a_fit():
    few = fit_tail(np.random.default_rng(2).normal(size=TAIL_MIN * 10 - 1))
    lumps = fit_tail(np.repeat(np.arange(20.0), 200))

    assert few.refused == f"{TAIL_MIN - 1} null identities lie in the upper tenth, {TAIL_MIN} are needed to fit a tail"
    assert lumps.refused.startswith("the tail does not fit")


def test_below_the_tail_its_p_value_is_one():
    tail = fit_tail(np.random.default_rng(3).normal(size=4000))

    assert tail.p(np.array([tail.start, tail.start - 1.0])).tolist() == [1.0, 1.0]


def test_a_tail_is_never_lighter_than_an_exponential_one():
    ordered = np.sort(np.random.default_rng(4).normal(size=4000))

    tail = fit_tail(ordered)

    assert (tail.refused, tail.shape) == ("", 0.0)
    assert tail.p(ordered[-1:] + 1.0)[0] == pytest.approx(0.1 * np.exp(-(ordered[-1] + 1.0 - tail.start) / tail.scale))
