"""p-values: their floor, their ties, and that they are uniform when nothing is there."""

import numpy as np
import pytest
from scipy import stats

from scanner.evidence.null import TAIL_MIN, _fit_share, conformal_p, fit_tail


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
    broken = np.concatenate([np.random.default_rng(2).normal(size=3960), 9 + 0.01 * np.arange(40)])

    assert few.refused == f"{TAIL_MIN - 1} null values lie in the upper 10 %, {TAIL_MIN} are needed to fit a tail"
    assert lumps.refused == "most of the upper 10 % are ties"
    assert _fit_share(np.sort(broken), 0.05).refused.startswith("the tail does not fit")


def test_below_the_tail_its_p_value_is_one():
    tail = fit_tail(np.random.default_rng(3).normal(size=4000))

    assert tail.p(np.array([tail.start, tail.start - 1.0])).tolist() == [1.0, 1.0]


def test_a_tail_is_never_lighter_than_an_exponential_one():
    ordered = np.sort(np.random.default_rng(4).normal(size=4000))

    tail = fit_tail(ordered)

    assert (tail.refused, tail.shape) == ("", 0.0)
    assert tail.p(ordered[-1:] + 1.0)[0] == pytest.approx(0.1 * np.exp(-(ordered[-1] + 1.0 - tail.start) / tail.scale))


def test_where_the_upper_tenth_does_not_fit_a_smaller_share_is_taken():
    rng = np.random.default_rng(5)
    null = np.concatenate([rng.random(3600), np.full(200, 1.1), 1.2 + 0.1 * rng.exponential(size=200)])

    tail = fit_tail(rng.permutation(null))

    assert (tail.refused, tail.share) == ("", 0.025)
    assert tail.p(np.array([1.7]))[0] == pytest.approx(0.05 * np.exp(-5.0), rel=0.6)


def test_looking_further_out_does_not_make_p_values_too_small():
    rng = np.random.default_rng(6)
    values = []
    for _ in range(400):
        null, own = rng.gumbel(size=2000), rng.gumbel(size=1)
        tail = fit_tail(null)
        values.append(tail.p(own)[0] if own[0] > tail.start and not tail.refused else conformal_p(own, null)[0])

    assert stats.kstest(values, "uniform", alternative="greater").pvalue > 0.01
