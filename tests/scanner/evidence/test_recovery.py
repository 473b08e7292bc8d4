"""Recovery errors: formulas against plain ones, and rates of error by simulation with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.recovery import ks_by_people, mre_gap, weigh_recovery


def draw(rng: np.random.Generator, people: int, photos: int, *, alike: float, shift: float = 0.0):
    """Errors whose logarithm has a person's part of variance `alike` and a photo's part of the rest."""
    codes = np.repeat(np.arange(2 * people), photos)
    member = np.arange(2 * people) < people
    own = np.sqrt(alike) * rng.normal(size=2 * people)[codes]
    noise = np.sqrt(1 - alike) * rng.normal(size=len(codes))
    return np.exp(own + noise - shift * member[codes]), codes, member


def test_the_statistic_is_scipys_also_with_ties():
    rng = np.random.default_rng(0)
    for photos in (1, 3):
        errors, codes, member = draw(rng, 20, photos, alike=0.5)
        for values in (errors, np.round(errors, 1)):
            statistic, _ = ks_by_people(values, codes, member, seed=0, draws=10)
            inside = member[codes]
            assert statistic == pytest.approx(stats.ks_2samp(values[inside], values[~inside]).statistic)


def test_the_p_value_is_that_of_a_plain_loop():
    rng = np.random.default_rng(1)
    errors, codes, member = draw(rng, 8, 2, alike=0.5, shift=0.4)
    statistic, p_value = ks_by_people(errors, codes, member, seed=0, draws=4000)

    reached = 0
    for _ in range(2000):
        inside = rng.permutation(member)[codes]
        reached += stats.ks_2samp(errors[inside], errors[~inside]).statistic >= statistic - 1e-12

    assert p_value == pytest.approx(reached / 2000, abs=0.035)


@pytest.mark.parametrize("photos", [1, 4])
def test_without_a_difference_p_is_uniform_also_with_several_photos_a_person(photos: int):
    rng = np.random.default_rng(2)
    found, plain = [], []
    for _ in range(400):
        errors, codes, member = draw(rng, 20, photos, alike=0.8)
        found.append(ks_by_people(errors, codes, member, seed=0, draws=199)[1])
        inside = member[codes]
        plain.append(stats.ks_2samp(errors[inside], errors[~inside]).pvalue)

    below = (np.array(found) <= 0.05).mean()
    assert 0.02 <= below <= 0.08  # 0.05 with a standard error of 0.011
    for level in (0.1, 0.25, 0.5):
        assert (np.array(found) <= level).mean() <= level + 0.07
    if photos == 1:
        assert np.mean(np.array(plain) <= 0.05) < 0.08
    else:
        assert np.mean(np.array(plain) <= 0.05) > 0.2  # why people are shuffled and not photos


def test_a_difference_is_seen_with_the_power_of_the_test_on_independent_photos():
    rng = np.random.default_rng(3)
    ours, plain = [], []
    for _ in range(60):
        errors, codes, member = draw(rng, 30, 1, alike=0.5, shift=0.8)
        ours.append(ks_by_people(errors, codes, member, seed=0, draws=199)[1] <= 0.05)
        plain.append(stats.ks_2samp(errors[member[codes]], errors[~member[codes]]).pvalue <= 0.05)

    assert np.mean(ours) >= np.mean(plain) - 0.07 > 0.5


def test_the_gap_is_its_formula_and_its_interval_holds_the_truth():
    rng = np.random.default_rng(4)
    truth, held = 1 - np.exp(-0.5), 0
    for _ in range(200):
        errors, codes, member = draw(rng, 40, 3, alike=0.7, shift=0.5)
        found = mre_gap(errors, codes, member, seed=0, draws=300)
        inside = member[codes]
        middle = np.median(errors[inside]), np.median(errors[~inside])
        assert found.value == pytest.approx((middle[1] - middle[0]) / middle[1])
        held += found.low <= truth <= found.high

    assert 0.9 <= held / 200 <= 0.99


def test_rates_of_photos_have_intervals_that_hold_the_truth():
    rng = np.random.default_rng(5)
    truth, held, short = stats.norm.cdf(0.8 / np.sqrt(2)), 0, 0
    for _ in range(120):
        errors, codes, member = draw(rng, 30, 4, alike=0.8, shift=0.8)
        found = weigh_recovery(errors, codes, member, seed=0).by_photo["auc"]
        inside = member[codes]
        assert found.value == pytest.approx(np.mean(errors[inside][:, None] < errors[~inside][None]))
        held += found.low <= truth <= found.high
        short += found.high - found.low < 0.1

    assert 0.88 <= held / 120 <= 1.0
    assert short == 0


def test_memorised_photos_are_told_from_others_and_nothing_from_nothing():
    rng = np.random.default_rng(6)
    leaking = weigh_recovery(*draw(rng, 40, 2, alike=0.5, shift=4.0), seed=0)
    innocent = weigh_recovery(*draw(rng, 40, 2, alike=0.5), seed=0)

    assert leaking.by_identity["auc"].low > 0.95
    assert leaking.by_photo["tpr_1"].value > 0.8
    assert leaking.by_photo["auc"].low < leaking.by_photo["auc"].high
    assert leaking.ks_p == pytest.approx(1 / 4001)
    assert leaking.mre_gap.low > 0.9
    assert innocent.by_identity["auc"].low < 0.5 < innocent.by_identity["auc"].high
    assert innocent.mre_gap.low < 0 < innocent.mre_gap.high
    assert innocent.ks_p > 0.05
    assert (innocent.photos, innocent.people) == ((80, 80), (40, 40))


def test_too_few_people_or_an_error_that_is_no_number_are_refused():
    rng = np.random.default_rng(7)
    errors, codes, member = draw(rng, 6, 2, alike=0.5)

    with pytest.raises(CalibrationError, match="Recovery errors of 4 members and 8 non-members"):
        weigh_recovery(errors, codes, np.arange(12) < 4, seed=0)
    errors[3] = np.nan
    with pytest.raises(CalibrationError, match="finite errors are needed"):
        weigh_recovery(errors, codes, member, seed=0)
