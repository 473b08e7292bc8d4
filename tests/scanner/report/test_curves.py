"""Figures of lines: points lie where their values are, nothing leaves the frame, and the picture is said in words."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, PackageLoader, StrictUndefined

from scanner.report.axes import Axis, power_text
from scanner.report.curves import Line, Mark, Plot, exceedance, plot, shares

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
finite = st.floats(-1e6, 1e6, allow_subnormal=False)
positive = st.floats(1e-9, 1e9)
SVG = "{http://www.w3.org/2000/svg}"


def corners(path: str) -> list[tuple[float, float]]:
    numbers = [float(text) for text in NUMBER.findall(path)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def drawn(figure: Plot) -> str:
    environment = Environment(
        loader=PackageLoader("scanner.report", "templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.from_string("{% from 'curve.svg.j2' import curve %}{{ curve(p) }}").render(p=figure)


def place_by_tick(figure: Plot, value: float) -> float:
    """Return where a value lies on a linear x axis, by the outermost ticks: the slow twin of the scale."""
    first, last = figure.x_ticks[0], figure.x_ticks[-1]
    low, high = float(first.text), float(last.text)
    return first.place + (value - low) / (high - low) * (last.place - first.place)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(finite, finite), max_size=12), st.booleans(), st.booleans())
@example([(2.3e-45, 0.0)], True, False)
def test_nothing_leaves_the_frame(points: list[tuple[float, float]], x_log: bool, y_log: bool) -> None:
    line = Line("a", tuple(sorted(points)), band=tuple((x, y - 1, y + 1) for x, y in sorted(points)), filled=True)

    figure = plot([line, line], x_label="x", y_label="y", x_log=x_log, y_log=y_log)

    for one in figure.lines:
        inside = corners(one.path) + corners(one.band) + corners(one.area) + [(dot.x, dot.y) for dot in one.dots]
        assert all(figure.left <= x <= figure.right and figure.top <= y <= figure.bottom for x, y in inside)
    for tick in figure.x_ticks:
        assert figure.left - 0.01 <= tick.place <= figure.right + 0.01
    for tick in figure.y_ticks:
        assert figure.top - 0.01 <= tick.place <= figure.bottom + 0.01
    ET.fromstring(drawn(figure))


def test_points_lie_where_the_ticks_say() -> None:
    figure = plot([Line("a", ((0.0, 1.0), (0.37, 2.0), (1.0, 3.0)))], x_label="x", y_label="y")

    places = corners(figure.lines[0].path)

    assert [x for x, _ in places] == pytest.approx([place_by_tick(figure, x) for x in (0.0, 0.37, 1.0)], abs=0.02)
    assert places[0][1] > places[1][1] > places[2][1]
    assert [dot.title for dot in figure.lines[0].dots] == ["a: 1 at 0", "a: 2 at 0.37", "a: 3 at 1"]


def test_a_log_axis_has_decades_at_equal_steps() -> None:
    figure = plot([Line("a", ((1e-6, 1), (1e-1, 2)))], x_label="x", y_label="y", x_log=True)

    assert [tick.text for tick in figure.x_ticks] == ["10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1"]
    steps = np.diff([tick.place for tick in figure.x_ticks])
    assert steps == pytest.approx(steps[0], abs=0.02)


def test_what_a_log_axis_cannot_show_is_a_gap_and_not_a_point() -> None:
    figure = plot([Line("a", ((1, 0.1), (2, 0.2), (3, 0.0), (4, 0.1), (5, 0.3)))], x_label="x", y_label="y", y_log=True)

    assert figure.lines[0].path.count("M") == 2
    assert len(figure.lines[0].dots) == 4


def test_a_band_that_reaches_zero_goes_to_the_bottom_of_a_log_axis() -> None:
    line = Line("a", ((1, 0.1), (2, 0.2)), band=((1, 0.0, 0.3), (2, 0.1, 0.4)))

    figure = plot([line], x_label="x", y_label="y", y_log=True)

    assert max(y for _, y in corners(figure.lines[0].band)) == figure.bottom


def test_steps_hold_their_height_to_the_next_edge() -> None:
    figure = plot([shares("a", np.array([0.1, 0.1, 0.6]), (0.0, 0.5, 1.0))], x_label="x", y_label="y")

    places = corners(figure.lines[0].path)

    assert len(places) == 5
    assert places[0][1] == places[1][1] < places[2][1] == places[3][1] < places[4][1] == figure.bottom
    assert places[1][0] == places[2][0] == pytest.approx(place_by_tick(figure, 0.5), abs=0.02)
    assert figure.lines[0].dots == ()


def test_shares_are_of_all_values_those_outside_too() -> None:
    line = shares("a", np.array([-5.0, 0.1, 0.6, 0.7]), (0.0, 0.5, 1.0))

    assert line.points == ((0.0, 0.25), (0.5, 0.5), (1.0, 0.0))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_exceedance_is_the_share_at_or_above(values: list[float]) -> None:
    line = exceedance("a", np.array(values))

    ordered = sorted(values)
    assert line.points[0] == (ordered[0], 1.0)
    assert line.points[-1] == (ordered[-1], pytest.approx(1 / len(values)))
    for at, share in line.points:
        above = sum(value > at for value in values)
        assert above < round(share * len(values)) <= sum(value >= at for value in values)


def test_a_long_sample_is_thinned_in_its_bulk_and_whole_in_its_tail() -> None:
    values = np.random.default_rng(0).normal(size=200_000)

    line = exceedance("a", values, points=300)

    assert len(line.points) <= 300
    assert [x for x, _ in line.points[-10:]] == np.sort(values)[-10:].tolist()


def test_many_lines_differ_in_ink_or_dashes_and_all_are_in_the_legend() -> None:
    lines = [Line(f"line {i} with a name that is long", ((0, i), (1, i + 1))) for i in range(7)]

    figure = plot(lines, x_label="x", y_label="y")

    assert len({(line.ink, line.dash) for line in figure.lines}) == 7
    assert len({(line.legend_x, line.legend_y) for line in figure.lines}) == 7
    assert max(line.legend_y for line in figure.lines) < figure.top
    assert all(line.legend_x + 30 < figure.width for line in figure.lines)
    assert all(f">{line.name}</text>" in drawn(figure) for line in figure.lines)


def test_lines_that_belong_together_share_an_ink_and_one_entry() -> None:
    lines = [Line("measured", ((0, 1), (1, 2)), ink=2), Line("", ((0, 2), (1, 2)), dashed=True, ink=2)]

    figure = plot(lines, x_label="x", y_label="y")

    assert figure.lines[0].ink == figure.lines[1].ink
    assert figure.lines[1].dash
    assert drawn(figure).count("h22") == 1


def test_marks_inside_are_drawn_and_turn_their_text_at_the_edge() -> None:
    line = Line("a", ((0.1, 0.0), (1.0, 1.0)))

    figure = plot([line], x_label="x", y_label="y", x_log=True, marks=[(0.2, "early"), (0.95, "late"), (0, "nowhere")])

    assert [(mark.text, mark.anchor) for mark in figure.marks] == [("early", "start"), ("late", "end")]


def test_the_text_of_a_mark_lies_above_the_lines_and_beside_the_axis_label_where_there_is_room() -> None:
    def mark(at: float, y_label: str) -> Mark:
        line = Line("a", ((0.0, 0.0), (1.0, 1.0)))
        return plot([line], x_label="x", y_label=y_label, marks=[(at, "cut")]).marks[0]

    free, beside, far = mark(0.5, "share"), mark(0.0, "probability"), mark(0.0, "share of identities at or above")

    assert free.text_x == free.x + 5
    assert beside.text_x > beside.x + 5
    assert free.text_y == beside.text_y < far.text_y


def test_the_picture_is_said_in_words_and_escaped() -> None:
    figure = plot([Line("<b>&", ((0, 1), (1, 2))), Line("b", ())], x_label="FPIR", y_label="FNIR")

    text = drawn(figure)
    root = ET.fromstring(text)

    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == "FNIR against FPIR: <b>&, b"
    assert root[0].tag.endswith("title")
    assert root[0].text == root.attrib["aria-label"]
    assert "<b>" not in text
    assert "script" not in text


@pytest.mark.parametrize("lines", [[], [Line("a", ())], [Line("a", ((math.nan, 1.0),))], [Line("a", ((1.0, 1.0),))]])
@pytest.mark.parametrize("log", [True, False])
def test_there_may_be_nothing_to_draw(lines: list[Line], log: bool) -> None:
    figure = plot(lines, x_label="x", y_label="y", x_log=log, y_log=log)

    assert figure.x_ticks
    assert figure.y_ticks
    ET.fromstring(drawn(figure))


@given(positive, positive, st.booleans())
def test_ticks_are_round_and_within(one: float, other: float, log: bool) -> None:
    low, high = sorted((one, other))
    axis = Axis.over([low, high], log=log, start=0.0, end=100.0)

    ticks = axis.ticks(6)

    assert len(ticks) <= 14
    assert all(-0.01 <= tick.place <= 100.01 for tick in ticks)
    if high > low * 1.2:
        assert len(ticks) >= 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (0.02, "0.02"), (1e-5, "10⁻⁵"), (5e-6, "5·10⁻⁶"), (5000.0, "5\N{THIN SPACE}000"), (2e6, "2·10⁶")],
)
def test_powers_are_written_as_people_write_them(value: float, text: str) -> None:
    assert power_text(value) == text
