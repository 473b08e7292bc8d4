"""Dose and response against scipy, and the p-value's level."""

import numpy as np
import pytest
from scipy import stats

from scanner.evidence.dose import dose_response


def test_the_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    share = rng.random(30).round(1)  # with ties
    response = share + rng.normal(size=30)

    found = dose_response(share, response, seed=0)

    exact = stats.spearmanr(share, response, alternative="greater")
    assert found.people == 30
    assert found.rho == pytest.approx(exact.statistic)
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.01)


def test_without_a_relation_p_values_are_uniform():
    rng = np.random.default_rng(1)
    p = [dose_response(rng.random(12), rng.random(12), seed=seed).p_value for seed in range(60)]

    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_nothing_is_said_of_two_people_or_of_equal_shares():
    assert dose_response(np.array([0.1, 0.9]), np.array([0.0, 1.0]), seed=0).p_value == 1.0
    equal = dose_response(np.full(9, 0.1), np.arange(9.0), seed=0)
    assert (equal.rho, equal.p_value) == (0.0, 1.0)
