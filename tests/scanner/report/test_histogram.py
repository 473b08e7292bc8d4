"""The figure of best scores: every face is in one bar, and the threshold is an edge."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scanner.report.histogram import BIN, Figure, best_score_figure

scores_of = st.lists(st.floats(-1, 1, width=32), max_size=60).map(lambda s: np.array(s, np.float32))
thresholds = st.floats(-0.999, 1.0)
FACES = re.compile(r"(\d+) faces? with best score (-?\d\.\d\d) to (-?\d\.\d\d)")


def faces(figure: Figure, *, above: bool) -> int:
    return sum(int(FACES.fullmatch(bar.title)[1]) for bar in figure.bars if bar.above is above)  # type: ignore[index]


def place(figure: Figure, score: float, threshold: float) -> float:
    """Return where `score` lies on the axis, from two known places: the threshold and a tick."""
    tick = max(figure.x_ticks, key=lambda t: abs(float(t.text) - threshold))
    unit = (tick.place - figure.threshold_x) / (float(tick.text) - threshold)
    return figure.threshold_x + (score - threshold) * unit


@settings(deadline=None)
@given(scores_of, thresholds)
@example(np.array([], np.float32), 0.5)
@example(np.array([1, 1, -1], np.float32), 1.0)
def test_every_face_is_counted_once_on_its_side_of_the_threshold(scores, threshold):
    figure = best_score_figure(scores, threshold)

    reaching = int((scores >= np.float32(threshold)).sum())
    assert faces(figure, above=True) == reaching
    assert faces(figure, above=False) == len(scores) - reaching


@settings(deadline=None)
@given(scores_of, thresholds)
def test_the_threshold_falls_on_an_edge_and_bars_stay_in_the_frame(scores, threshold):
    figure = best_score_figure(scores, threshold)

    assert figure.left < figure.threshold_x < figure.right
    for bar in figure.bars:
        assert figure.left <= bar.x < bar.x + bar.width <= figure.right
        assert figure.top - 0.01 <= bar.y <= bar.y + bar.height <= figure.bottom + 0.01
        assert (bar.x >= figure.threshold_x) if bar.above else (bar.x + bar.width <= figure.threshold_x)
    for ticks, low, high in ((figure.x_ticks, figure.left, figure.right), (figure.y_ticks, figure.top, figure.bottom)):
        assert all(low - 0.01 <= tick.place <= high + 0.01 for tick in ticks)


@given(thresholds)
def test_a_score_exactly_at_the_threshold_is_drawn_above(threshold):
    at = np.float32(threshold)

    figure = best_score_figure(np.array([at, np.nextafter(at, np.float32(-2))]), threshold)

    assert (faces(figure, above=True), faces(figure, above=False)) == (1, 1)


def test_heights_are_on_a_root_scale_and_titles_say_the_numbers():
    scores: NDArray[np.float32] = np.array([0.405] * 100 + [0.415] * 25 + [0.515], np.float32)

    figure = best_score_figure(scores, 0.5)

    assert [bar.title for bar in figure.bars] == [
        "100 faces with best score 0.40 to 0.41",
        "25 faces with best score 0.41 to 0.42",
        "1 face with best score 0.51 to 0.52",
    ]
    tallest = figure.bottom - figure.top
    assert [bar.height for bar in figure.bars] == pytest.approx([tallest, tallest / 2, tallest / 10], abs=0.01)
    assert [bar.above for bar in figure.bars] == [False, False, True]
    assert [tick.text for tick in figure.y_ticks] == ["1", "5", "20", "60", "100"]
    assert [tick.text for tick in figure.x_ticks] == ["0.4", "0.5"]


def test_bars_lie_where_their_scores_are():
    scores = np.array([0.123, 0.456, 0.789], np.float32)

    figure = best_score_figure(scores, 0.4321)

    for bar, score in zip(figure.bars, scores.tolist(), strict=True):
        assert bar.x - 1 <= place(figure, score, 0.4321) <= bar.x + bar.width + 1
        assert place(figure, score + BIN, 0.4321) - place(figure, score, 0.4321) == pytest.approx(
            bar.width + 1, abs=0.1
        )


def test_equal_scores_give_equal_figures():
    scores = np.random.default_rng(0).uniform(-0.2, 0.9, 500).astype(np.float32)

    assert best_score_figure(scores, 0.43) == best_score_figure(scores[::-1].copy(), 0.43)


@pytest.mark.parametrize(("score", "threshold"), [(2**31, 0.5), (-3.0, 0.5), (np.nan, 0.5), (0.3, 1e9), (0.3, np.nan)])
def test_what_is_no_cosine_is_refused_before_bins_are_made(score, threshold):
    with pytest.raises(ValueError, match=r"not in \[-1, 1\]"):
        best_score_figure(np.array([0.2, score], np.float32), threshold)
