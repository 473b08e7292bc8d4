"""Thresholds from counted scores, against sorted scores; intervals, against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.calibration import BINS, ScoreCounts, operating_point, point_at, proportion_interval

BIN = 2.0 / BINS


def counted(*scores: NDArray[np.floating] | list[float]) -> ScoreCounts:
    counts = ScoreCounts()
    for part in scores:
        counts.add(np.asarray(part, np.float32))
    return counts


def lowest_edge(scores: NDArray[np.float32], fmr: float) -> tuple[float, int]:
    """The slow twin: sort all scores and step down until one edge more would let too many through."""
    allowed = math.floor(round(fmr * len(scores), 6))
    edges = -1.0 + BIN * np.floor((np.sort(scores.astype(np.float64))[::-1] + 1.0) / BIN)
    first_too_many = edges[allowed]
    threshold = first_too_many + BIN
    return threshold, int((scores.astype(np.float64) >= threshold).sum())


scores_like_faces = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1000, 4000), st.sampled_from([0.03, 0.1, 0.3]), st.booleans()
)


def drawn(seed: int, pairs: int, spread: float, *, tied: bool) -> NDArray[np.float32]:
    scores = np.random.default_rng(seed).normal(0.05, spread, pairs).clip(-1, 0.999).astype(np.float32)
    return scores.round(2) if tied else scores


@settings(max_examples=40, deadline=None)
@given(scores_like_faces, st.sampled_from([0.01, 0.02, 0.1, 0.5]))
def test_the_threshold_is_that_of_sorted_scores(what, fmr):
    seed, pairs, spread, tied = what
    scores = drawn(seed, pairs, spread, tied=tied)

    point = operating_point(counted(scores), ScoreCounts(), fmr=fmr)

    assert (point.threshold, point.false_matches) == lowest_edge(scores, fmr)


@settings(max_examples=40, deadline=None)
@given(scores_like_faces, st.sampled_from([0.01, 0.05, 0.3]))
def test_the_measured_rate_keeps_the_promise_and_one_bin_lower_would_break_it(what, fmr):
    seed, pairs, spread, tied = what
    scores = drawn(seed, pairs, spread, tied=tied)

    point = operating_point(counted(scores), ScoreCounts(), fmr=fmr)

    decided = scores >= np.float32(point.threshold)  # as the run will decide, in float32
    assert point.false_matches == decided.sum()
    assert point.fmr == point.false_matches / pairs <= fmr
    assert (scores >= np.float32(point.threshold - BIN)).mean() > fmr
    assert float(np.float32(point.threshold)) == point.threshold


def test_a_rate_that_is_a_whole_number_of_pairs_uses_all_of_them():
    scores = np.linspace(-0.5, 0.5, 40_000, dtype=np.float32)

    point = operating_point(counted(scores), ScoreCounts(), fmr=3e-4)  # 3e-4 * 40000 is 11.999999999999998

    assert point.false_matches == 12
    assert point.fmr == 3e-4


def test_scores_are_counted_in_the_bin_that_holds_them():
    edge = np.float32(-1.0 + BIN * 700_000)
    counts = counted([-1.0, edge, np.nextafter(edge, np.float32(-1)), 1.0])

    rows = np.flatnonzero(counts.counts).tolist()

    assert rows == [0, 699_999, 700_000, BINS - 1]
    assert counts.pairs == 4


def test_scores_just_outside_from_rounding_are_counted_at_the_ends():
    counts = counted([np.float32(1.0000002), np.float32(-1.0000002)])

    assert (counts.counts[0], counts.counts[-1]) == (1, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5))
def test_counts_do_not_depend_on_how_scores_are_cut(seed, parts):
    scores = np.random.default_rng(seed).uniform(-1, 1, 500).astype(np.float32)

    assert np.array_equal(counted(scores).counts, counted(*np.array_split(scores, parts)).counts)


def test_reaching_counts_at_and_above():
    counts = counted([0.0, 0.25, 0.25, 0.5, 1.0])

    assert [counts.reaching(t) for t in (-1.0, 0.0, 0.25, 0.25 + BIN, 0.5, 0.75, 1.0)] == [5, 5, 4, 2, 2, 1, 1]


def test_a_point_says_what_both_kinds_of_pairs_do():
    non_mated, mated = counted(np.linspace(-0.5, 0.499, 1000)), counted([0.2, 0.46, 0.8, 0.9])

    point = point_at(non_mated, mated, threshold=0.45)

    assert (point.threshold, point.false_matches, point.non_mated_pairs, point.mated_pairs) == (0.45, 50, 1000, 4)
    assert point.fmr == 0.05
    assert point.fmr_interval == proportion_interval(50, 1000)
    assert (point.tar, point.tar_interval) == (0.75, proportion_interval(3, 4))
    assert not point.is_thin


def test_without_mated_pairs_no_rate_of_true_matches_is_claimed():
    point = point_at(counted([0.1] * 100), ScoreCounts(), threshold=0.45)

    assert (point.tar, point.tar_interval, point.mated_pairs) == (None, None, 0)
    assert (point.fmr, point.false_matches) == (0.0, 0)
    assert point.is_thin


def test_fewer_than_thirty_false_matches_are_thin():
    counts = counted(np.linspace(-0.5, 0.499, 3000))

    assert operating_point(counts, ScoreCounts(), fmr=29.5 / 3000).is_thin
    assert not operating_point(counts, ScoreCounts(), fmr=30.5 / 3000).is_thin


def refused(counts: ScoreCounts, fmr: float) -> str:
    with pytest.raises(CalibrationError) as caught:
        operating_point(counts, ScoreCounts(), fmr=fmr)
    return str(caught.value)


@pytest.mark.parametrize("fmr", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(fmr):
    assert refused(counted([0.1]), fmr) == f"A false match rate lies between 0 and 1, for instance 1e-4; got {fmr}."


@pytest.mark.parametrize(
    ("pairs", "fmr", "needs", "or_else"),
    [
        (74_000, 1e-4, 100_000, ", or ask for an FMR of 0.0002 or more"),
        (1000, 3e-4, 33_334, ", or ask for an FMR of 0.01 or more"),
        (101, 1e-5, 1_000_000, ", or ask for an FMR of 0.1 or more"),
        (12, 0.5, 20, ", or ask for an FMR of 0.9 or more"),
        (11, 0.5, 20, ""),
        (3, 0.5, 20, ""),
        (0, 1e-3, 10_000, ""),
    ],
)
def test_too_few_pairs_say_how_many_are_needed_and_which_rate_they_support(pairs, fmr, needs, or_else):
    assert refused(counted(np.zeros(pairs)), fmr) == (
        f"A threshold at FMR {fmr:g} needs at least {needs} pairs of different people, the calibration set has {pairs}. "
        f"Name a larger one{or_else}."
    )


@pytest.mark.parametrize("pairs", [12, 99, 100, 101, 999, 1000, 33_333, 74_000, 999_999, 1_000_000])
def test_the_rate_that_the_message_offers_is_accepted(pairs):
    counts = counted(np.linspace(-0.9, 0.9, pairs))
    offered = float(refused(counts, 1e-9).split("FMR of ")[1].split()[0])

    assert operating_point(counts, ScoreCounts(), fmr=offered).false_matches >= 10


def test_pairs_that_are_needed_suffice():
    fmr = 3e-4

    assert refused(counted(np.linspace(-0.9, 0.9, 33_333)), fmr)
    assert operating_point(counted(np.linspace(-0.9, 0.9, 33_334)), ScoreCounts(), fmr=fmr).false_matches == 10


def test_an_embedder_that_gives_everybody_the_same_vector_has_no_threshold():
    """A threshold of 1 would let all of these pairs through while claiming a rate of 0."""
    assert refused(counted(np.ones(5000), np.zeros(5000)), 0.01) == (
        "No threshold has FMR 0.01: 5000 of 10000 pairs of different people score 1. Either people stand in the "
        "calibration set under several identities, or the embedder gives everybody the same vector."
    )


def test_a_few_pairs_with_score_one_are_counted_as_false_matches():
    point = operating_point(counted(np.ones(20), np.linspace(-0.5, 0.5, 9980)), ScoreCounts(), fmr=0.002)

    assert point.false_matches == 20
    assert 0.5 < point.threshold < 1.0


@pytest.mark.parametrize("trials", [5, 40, 1000])
@pytest.mark.parametrize("chance", [0.001, 0.03, 0.5, 0.97])
def test_the_interval_covers_the_truth_at_least_as_often_as_it_says(trials, chance):
    hits = np.random.default_rng(trials).binomial(trials, chance, 4000)

    intervals = {h: proportion_interval(h, trials) for h in set(hits.tolist())}

    covered = np.mean([intervals[h][0] <= chance <= intervals[h][1] for h in hits.tolist()])
    assert covered >= 0.95 - 2.5 * math.sqrt(0.05 * 0.95 / 4000)
    exact = sum(
        stats.binom.pmf(h, trials, chance)
        for h in range(trials + 1)
        if proportion_interval(h, trials)[0] <= chance <= proportion_interval(h, trials)[1]
    )
    assert exact >= 0.95


def test_intervals_of_nothing_and_of_everything():
    assert proportion_interval(0, 0) == (0.0, 1.0)
    assert proportion_interval(0, 100) == (0.0, pytest.approx(1 - 0.025 ** (1 / 100)))
    assert proportion_interval(100, 100) == (pytest.approx(0.025 ** (1 / 100)), 1.0)


def test_the_interval_is_scipys_exact_one():
    twin = stats.binomtest(17, 4000).proportion_ci(0.9, "exact")

    assert proportion_interval(17, 4000, level=0.9) == pytest.approx((twin.low, twin.high))
