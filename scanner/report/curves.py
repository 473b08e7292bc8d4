"""Line figures as plain values for the template `curve.svg.j2`: no plotting library, no script, no fonts.

`plot` lays lines on linear or logarithmic axes, with bands (intervals), dashed lines, steps, filled outlines, upright
marks and a legend.  `shares` and `exceedance` make lines of a sample, to lay one distribution over another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scanner.report.axes import Axis, Tick

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 42
_LEGEND_ROW, _LETTER = 18, 6.1
_DOTS_MAX = 48
"""A line with more points gets no dot (and no text) at each of them."""
_INKS = ("var(--accent)", "var(--calm)", "var(--ink)")
_DASHED = "5 4"
_PATTERNS = ("", "1.5 3", "9 3 2 3")
"""Told apart without colour, once the inks are used up."""

Point = tuple[float, float]
Band = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line in the units of its axes.

    Attributes:
        name: what the legend calls it; "" for no entry.
        points: (x, y) in order of x; one that is not finite, or not above 0 on a log axis, leaves a gap.
        band: (x, low, high) in order of x, a shaded interval; None for none.
        dashed: drawn with dashes: expected, not measured.
        steps: y holds from its x to the next one (histograms, cumulative shares).
        filled: the area down to the axis is shaded.
        ink: number of its colour, so that lines that belong together share one; None: by its place.
    """

    name: str
    points: tuple[Point, ...]
    band: tuple[Band, ...] | None = None
    dashed: bool = False
    steps: bool = False
    filled: bool = False
    ink: int | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a line with the text that a pointer over it shows."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line in figure units: SVG path data ("" where there is nothing), its ink and its dash pattern."""

    name: str
    path: str
    band: str
    area: str
    dots: tuple[Dot, ...]
    ink: str
    dash: str
    legend_x: float
    legend_y: float


@dataclass(frozen=True, slots=True)
class Mark:
    """An upright line with a text beside its upper end."""

    x: float
    text_x: float
    text_y: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What `curve.svg.j2` draws; places are in figure units, `title` is the figure in words."""

    title: str
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Drawn, ...]
    marks: tuple[Mark, ...]
    legend: bool


def plot(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_log: bool = False,
    y_log: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    width: int = 760,
    height: int = 260,
    title: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> Plot:
    """Lay out a figure.

    Args:
        lines: what to draw, in order; may be empty or have empty lines.
        x_label: under the axis.
        y_label: above the axis.
        x_log: logarithmic x.
        y_log: logarithmic y.
        marks: (x, text) of upright dashed lines; those outside the axis are left out.
        width: of the figure, legend and labels included, in its own units.
        height: of the figure.
        title: the figure in words, for those who do not see it; made of the labels and names when "".
        x_range: ends of the axis instead of what the data span; points beyond are left out.
        y_range: likewise; points beyond are drawn at the edge.
    """
    places, rows = _legend(lines, width) if len(lines) > 1 else ([(0.0, 0.0)] * len(lines), 0)
    top = _TOP + 16 + rows * _LEGEND_ROW
    bands = [band for line in lines for band in line.band or ()]
    xs = [x for line in lines for x, _ in line.points] + [band[0] for band in bands] + [place for place, _ in marks]
    ys = [y for line in lines for _, y in line.points] + [y for band in bands for y in band[1:]]
    if any(line.filled for line in lines) and not y_log:
        ys.append(0.0)
    x = Axis.over(xs, log=x_log, start=_LEFT, end=width - _RIGHT, given=x_range)
    y = Axis.over(ys, log=y_log, start=height - _BOTTOM, end=top, given=y_range, air=0.04)
    drawn = tuple(_draw(line, i, x, y, place) for i, (line, place) in enumerate(zip(lines, places, strict=True)))
    taken = 4 + _LETTER * len(y_label) + 12
    upright = tuple(_mark(x, place, text, top, taken) for place, text in marks if x.holds(place))
    names = ", ".join(line.name for line in lines if line.name)
    return Plot(
        title or f"{y_label} against {x_label}" + (f": {names}" if names else ""),
        width, height, _LEFT, width - _RIGHT, top, height - _BOTTOM, x_label, y_label, x.ticks(8), y.ticks(5), drawn,
        upright, rows > 0,
    )  # fmt: skip


def shares(name: str, values: NDArray[np.floating], edges: Sequence[float], *, filled: bool = False) -> Line:
    """Return the histogram of a sample as a line of steps: the share of its values in each bin.

    Args:
        name: for the legend.
        values: (n,) any number of values; those outside the edges are in no bin but count as values.
        edges: of the bins, rising; the same for all lines that are laid over each other.
        filled: shade the area below.
    """
    counts = np.histogram(np.asarray(values, np.float64), np.asarray(edges, np.float64))[0] / max(1, len(values))
    heights = [*counts.tolist(), 0.0]
    return Line(name, tuple(zip(map(float, edges), heights, strict=True)), steps=True, filled=filled)


def exceedance(name: str, values: NDArray[np.floating], *, points: int = 400, dashed: bool = False) -> Line:
    """Return the share of a sample at or above each value, for a logarithmic y axis that shows the tail.

    Args:
        name: for the legend.
        values: (n,) any number of values.
        points: at most about so many are drawn: all of the tail, fewer of the bulk.
        dashed: drawn with dashes.
    """
    ordered = np.sort(np.asarray(values, np.float64))[::-1]
    count = len(ordered)
    kept = np.unique(np.geomspace(1, max(1, count), points).round().astype(np.int64))[:count] - 1
    at = [(float(ordered[row]), (int(row) + 1) / count) for row in kept[::-1] if count]
    return Line(name, tuple(at), dashed=dashed)


def _legend(lines: Sequence[Line], width: int) -> tuple[list[tuple[float, float]], int]:
    """Return the place of each line's entry, and how many rows they take."""
    places: list[tuple[float, float]] = []
    x, row = float(_LEFT), 0
    for line in lines:
        if not line.name:
            places.append((x, 0.0))
            continue
        wide = 32 + _LETTER * len(line.name) + 14
        if x > _LEFT and x + wide > width - _RIGHT:
            x, row = float(_LEFT), row + 1
        places.append((round(x, 1), float(_TOP + 4 + row * _LEGEND_ROW)))
        x += wide
    return places, row + 1


def _draw(line: Line, number: int, x: Axis, y: Axis, place: tuple[float, float]) -> Drawn:
    runs = list(_runs(line.points, x, y))
    stepped = [_steps(run) for run in runs] if line.steps else runs
    few = len(line.points) <= _DOTS_MAX and not line.steps
    named = [(at, value) for at, value in line.points if x.holds(at) and y.can(value)] if few else []
    dots = tuple(
        Dot(x(at), y(value), f"{line.name}: {_number(value)} at {_number(at)}".removeprefix(": "))
        for at, value in named
    )
    number = number if line.ink is None else line.ink
    pattern = _PATTERNS[number // len(_INKS) % len(_PATTERNS)]
    return Drawn(
        line.name,
        " ".join(_path(run) for run in stepped if len(run) > 1),
        _band(line.band or (), x, y),
        " ".join(_area(run, y.start) for run in stepped if len(run) > 1) if line.filled else "",
        dots, _INKS[number % len(_INKS)], _DASHED if line.dashed else pattern, *place,
    )  # fmt: skip


def _runs(points: Iterable[Point], x: Axis, y: Axis) -> Iterable[list[Point]]:
    """Yield stretches without a gap, in figure units."""
    run: list[Point] = []
    for at, value in points:
        if x.holds(at) and y.can(value):
            run.append((x(at), y(value)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _steps(run: list[Point]) -> list[Point]:
    corners = [corner for (x0, y0), (x1, _) in pairwise(run) for corner in ((x0, y0), (x1, y0))]
    return [*corners, run[-1]]


def _path(run: Sequence[Point]) -> str:
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in run)


def _area(run: Sequence[Point], floor: float) -> str:
    return f"{_path([(run[0][0], floor), *run, (run[-1][0], floor)])}Z"


def _band(band: Sequence[Band], x: Axis, y: Axis) -> str:
    """A bound that a log axis cannot show lies at the axis' lower end: the interval goes on below."""
    inside = [(x(at), low, high) for at, low, high in band if x.holds(at) and y.can(high)]
    if len(inside) < 2:  # noqa: PLR2004 - an area has two ends
        return ""
    upper = [(at, y(high)) for at, _, high in inside]
    lower = [(at, y(low) if y.can(low) else y.start) for at, low, _ in reversed(inside)]
    return _path([*upper, *lower]) + "Z"


def _mark(x: Axis, place: float, text: str, top: float, taken: float) -> Mark:
    """Write above the lines, right of what the y label has taken; among the lines where that would be far from the mark."""
    at, wide = x(place), _LETTER * len(text) + 8
    anchor, text_x = ("start", at + 5) if x.end - at > wide else ("end", at - 5)
    if anchor == "start" and text_x < taken < min(at + 40, x.end - wide):
        text_x = taken
    above = (text_x if anchor == "start" else at - wide) >= taken
    return Mark(at, round(text_x, 2), round(top - 9 if above else top + 10, 2), text, anchor)


def _number(value: float) -> str:
    """Three digits, without a power of ten where few zeros say it."""
    return f"{value:,.0f}".replace(",", "\N{THIN SPACE}") if math.fabs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004
