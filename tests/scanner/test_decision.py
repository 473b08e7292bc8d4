"""The one place where a score meets a threshold: inclusive, in float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.decision import Threshold, Verdict
from scanner.errors import UsageError
from scanner.evidence.calibration import OperatingPoint


@given(st.floats(-0.9990234375, 1.0, width=32))
def test_a_score_at_the_threshold_is_a_match_and_the_next_below_is_not(score):
    at = np.float32(score)
    below = np.nextafter(at, np.float32(-2))

    assert Threshold(score).decide(np.array([below, at], np.float32)).tolist() == [False, True]


@given(st.floats(-0.999, 1.0))
def test_a_threshold_between_two_float32_numbers_is_rounded_as_scores_are(value):
    """A score that was computed as `value` and stored as float32 is at the threshold."""
    assert Threshold(value).decide(np.array([np.float32(value)])).tolist() == [True]


@given(st.lists(st.floats(-1, 1, width=32)), st.floats(-0.9, 1), st.floats(0, 0.5))
def test_a_higher_threshold_never_adds_a_match(scores, value, step):
    column = np.array(scores, np.float32)
    low, high = Threshold(value).decide(column), Threshold(min(1.0, value + step)).decide(column)

    assert not (high & ~low).any()


def test_any_shape_is_decided():
    assert Threshold(0.5).decide(np.array([[0.4, 0.5], [0.6, np.nan]], np.float32)).tolist() == [
        [False, True],
        [True, False],
    ]


@pytest.mark.parametrize("value", [-1.0, 1.0000001, 43.0, float("nan"), float("inf"), -2])
def test_what_is_no_cosine_is_refused(value):
    with pytest.raises(UsageError) as caught:
        Threshold(value)
    assert str(caught.value) == f"A threshold is a cosine above -1 and at most 1, for instance 0.43; got {value}."


def test_expected_false_matches_are_the_rate_times_the_pairs():
    point = OperatingPoint(0.5, 2e-5, (1e-5, 3e-5), 20, 1_000_000, None, None, 0)

    assert Threshold(0.5, "calibrated", point, "lfw").false_matches_expected(3_000_000) == pytest.approx(60)
    assert Threshold(0.5).false_matches_expected(3_000_000) is None


def test_verdicts_are_the_words_in_the_tables():
    assert [v.value for v in Verdict] == ["match", "clear"]
