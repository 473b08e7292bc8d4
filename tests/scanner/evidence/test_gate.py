"""The gate's promises, by simulation with known leak rates, and its arithmetic, by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from scanner.errors import UsageError
from scanner.evidence.gate import (
    Decision,
    Policy,
    at_least,
    at_most,
    decide_gate,
    leak_rate,
    members_at_least,
    null_cut,
)

RUNS = 400


def simulate(
    rate: float, policy: Policy, *, members: int, null: int, planted: int, power: float, seed: int
) -> Decision:
    """One audit of a generator that gives away a share `rate` of people, each seen with chance `power`."""
    rng = np.random.default_rng([seed, members, null])
    lift = stats.norm.isf(policy.fpr) - stats.norm.isf(power)
    statistics = rng.normal(size=members) + lift * (rng.random(members) < rate)
    return decide_gate(statistics, rng.normal(size=null), rng.normal(size=planted) + lift, policy=policy)


def at_most_by_chance(share: float) -> int:
    """How many of RUNS an event of this probability reaches once in a thousand times."""
    return int(stats.binom.ppf(0.999, RUNS, share))


@pytest.mark.parametrize(("sizes", "fpr"), [((60, 120, 60), 0.05), ((400, 300, 150), 0.02), ((1500, 1500, 300), 0.01)])
@pytest.mark.parametrize(("rate", "power"), [(0.0, 0.9), (0.05, 0.999), (0.05, 0.85), (0.3, 0.6)])
def test_each_bound_of_the_leak_rate_holds_as_often_as_promised(
    sizes: tuple[int, int, int], fpr: float, rate: float, power: float
):
    policy = Policy(0.05, confidence=0.9, fpr=fpr, power_min=0.5)
    members, null, planted = sizes

    found = [
        simulate(rate, policy, members=members, null=null, planted=planted, power=power, seed=seed)
        for seed in range(RUNS)
    ]

    assert sum(decision.leak_low > rate for decision in found) <= at_most_by_chance(0.1)
    assert sum(decision.leak_high < rate for decision in found) <= at_most_by_chance(0.1)


@pytest.mark.parametrize("sizes", [(80, 120, 80), (500, 500, 200), (3000, 2000, 300)])
@pytest.mark.parametrize("power", [1 - 1e-9, 0.85])
def test_a_generator_at_the_tolerated_rate_seldom_fails_and_one_just_above_seldom_passes(
    sizes: tuple[int, int, int], power: float
):
    policy = Policy(0.03, confidence=0.9, fpr=0.01, power_min=0.5)
    members, null, planted = sizes

    states = {
        rate: Counter(
            simulate(rate, policy, members=members, null=null, planted=planted, power=power, seed=seed).state
            for seed in range(RUNS)
        )
        for rate in (0.03, 0.0301)
    }

    assert states[0.03]["fail"] <= at_most_by_chance(0.1)
    assert states[0.0301]["pass"] <= at_most_by_chance(0.1)


def test_with_enough_people_the_innocent_pass_and_the_leaking_fail():
    policy = Policy(0.05, fpr=0.005)
    sizes = {"members": 1000, "null": 1000, "planted": 400, "power": 0.97}

    assert Counter(simulate(0.0, policy, seed=seed, **sizes).state for seed in range(100))["pass"] >= 90
    assert Counter(simulate(0.15, policy, seed=seed, **sizes).state for seed in range(100))["fail"] >= 90


def test_the_arithmetic_is_that_of_the_docstring():
    null = np.arange(200, dtype=np.float32)  # the cut at 5 %: floor(0.05 x 201) = 10 reach 190
    members = np.r_[np.full(30, 195.0), np.zeros(70)]
    planted = np.r_[np.full(45, 191.0), np.zeros(5)]

    found = decide_gate(members, null, planted, policy=Policy(0.1, confidence=0.9, fpr=0.05, power_min=0.5))

    r = stats.binomtest(30, 100).proportion_ci(0.9)  # two-sided 90 %: each end at 5 % = half of the error
    f_low, f_high = stats.beta.ppf(0.025, 10, 191), stats.beta.ppf(0.95, 11, 190)
    d_low = stats.beta.ppf(0.025, 45, 6)
    assert (found.cut, found.member_hits, found.null_hits, found.planted_hits) == (190.0, 30, 10, 45)
    assert found.leak_rate == pytest.approx((0.3 - 0.05) / (0.9 - 0.05))
    assert found.leak_low == pytest.approx((r.low - f_high) / (1 - f_high))
    assert found.leak_high == pytest.approx((r.high - f_low) / (d_low - f_low))
    assert found.power_low == pytest.approx(d_low)
    assert found.state == "fail"
    assert found.sentence == (
        "Fail: more than 15.4 % of the member identities are given away, with 90 % confidence; 10 % are tolerated."
    )


def test_bounds_are_those_of_scipy():
    for hits, trials in ((0, 7), (3, 40), (40, 40)):
        exact = stats.binomtest(hits, trials).proportion_ci(0.9)
        assert at_least(hits, trials, 0.05) == pytest.approx(exact.low)
        assert at_most(hits, trials, 0.05) == pytest.approx(exact.high)


def test_the_cut_keeps_ties_together():
    null = np.array([1, 2, 3, 4, 5, 6, 7, 8, 8, 9], np.float32)

    assert null_cut(null, fpr=0.1) == 9.0
    assert null_cut(null, fpr=0.2) == 9.0  # two may reach it, but the second is tied with the third
    assert null_cut(null, fpr=0.3) == 8.0
    assert null_cut(null, fpr=0.09) == math.inf
    assert null_cut(np.ones(50), fpr=0.1) == math.inf


def test_a_leak_rate_is_what_mixes_the_two_chances():
    assert leak_rate(0.25 * 0.9 + 0.75 * 0.02, 0.02, 0.9) == pytest.approx(0.25)
    assert leak_rate(0.01, 0.02, 0.9) == 0.0
    assert leak_rate(0.5, 0.02, 0.3) == 1.0
    assert leak_rate(0.5, 0.4, 0.3) == 1.0


def test_the_smallest_number_of_members_is_exact():
    null, planted, policy = np.arange(1000.0), np.full(300, 2000.0), Policy(0.01)

    few = decide_gate(np.zeros(40), null, planted, policy=policy)
    possible = few.sizes.possible

    assert possible is not None
    assert few.state == "inconclusive"
    assert f"with 40 members no pass at 1 % is possible; at least {possible} are needed" in few.sentence
    assert decide_gate(np.zeros(possible), null, planted, policy=policy).state == "pass"
    assert decide_gate(np.zeros(possible - 1), null, planted, policy=policy).state == "inconclusive"
    assert decide_gate(np.zeros(possible - 1), null, planted, policy=policy).sizes.possible == possible


def test_with_an_endless_null_and_perfect_power_the_smallest_number_is_known_beforehand():
    # Innocent people reach the cut as well, so up to fpr + leak_rate_max x (1 - fpr) of the members may.
    assert members_at_least(Policy(0.01)) == 184  # ln(0.025) / ln(1 - 0.0199) = 183.5
    assert members_at_least(Policy(0.1, confidence=0.9)) == 26  # ln(0.05) / ln(1 - 0.109) = 25.96


def test_the_likely_size_is_likely():
    policy = Policy(0.05, fpr=0.005)
    sizes = decide_gate(np.zeros(10), np.arange(2000.0), np.full(2000, 9e9), policy=policy).sizes
    n = sizes.likely

    assert n is not None
    passed = sum(
        simulate(0.0, policy, members=n, null=n, planted=2000, power=1 - 1e-9, seed=seed).state == "pass"
        for seed in range(RUNS)
    )
    assert passed >= stats.binom.ppf(0.001, RUNS, 0.8)


@pytest.mark.parametrize(("fpr", "people"), [(0.01, 3600), (0.001, 1000)])
def test_the_sizes_that_the_guide_names(fpr: float, people: int):
    planted = np.r_[np.full(291, 9e9), np.zeros(9)]

    found = decide_gate(np.zeros(10), np.arange(5000.0), planted, policy=Policy(0.01, fpr=fpr))

    assert found.sizes.likely == pytest.approx(people, rel=0.02)
    assert f"With {found.sizes.likely} members and as many non-members" in found.sentence


@pytest.mark.parametrize(
    ("members", "null", "planted", "guards", "why"),
    [
        (np.zeros(900), np.arange(50.0), np.full(90, 99.0), [], "50 non-members say nothing about 1 innocent person in 100; at least 99 are needed"),
        (np.zeros(900), np.ones(500), np.full(90, 99.0), [], "too many of the 500 non-members come equally close"),
        (np.zeros(900), np.arange(500.0), np.empty(0), [], "no non-member has a second photo"),
        (np.zeros(900), np.arange(500.0), np.r_[np.full(50, 999.0), np.zeros(50)], [], "50 % of 100 planted copies were seen"),
        (np.zeros(900), np.arange(500.0), np.full(300, 999.0), ["the pictures differ"], "the pictures differ"),
        (np.full(900, 999.0), np.arange(500.0), np.full(300, 999.0), ["the pictures differ"], "the pictures differ"),
        (np.zeros(90_000), np.arange(9_999.0), np.full(300, 99_999.0), [], "members reach the cut less often (0 of 90000)"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_inconclusive_with_the_reason(
    members: np.ndarray, null: np.ndarray, planted: np.ndarray, guards: list[str], why: str
):
    found = decide_gate(members, null, planted, policy=Policy(0.01), guards=guards)

    assert found.state == "inconclusive"
    assert found.sentence.startswith("Inconclusive: ")
    assert why in found.sentence


def test_a_seen_leak_fails_even_where_the_power_is_too_small_for_a_pass():
    planted = np.r_[np.full(10, 999.0), np.zeros(90)]

    assert decide_gate(np.full(50, 999.0), np.arange(500.0), planted, policy=Policy(0.01)).state == "fail"


def test_a_policy_that_cannot_be_lists_every_problem():
    with pytest.raises(UsageError, match=r"leak_rate_max = 0.0, confidence = 1.0, fpr = 0.7, power_min = 2"):
        Policy(0.0, confidence=1.0, fpr=0.7, power_min=2)
