"""The page of a trend: a figure for each series of runs and a table; one self-contained HTML file, without script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scanner.report.axes import Axis, Tick
from scanner.report.diff_page import write_private
from scanner.report.template import read_template
from scanner.report.trend import Trend, TrendRow

WIDTH = 860
_LEFT, _RIGHT, _FIRST, _GAP, _FOOT = 58, 8, 26, 38, 34
_LETTER = 6.2
_HEIGHTS = {"findings": 110, "change": 96, "score": 84}


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle in figure units; `ink` is a colour of the page."""

    x: float
    y: float
    width: float
    height: float
    ink: str
    title: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point in figure units with its text."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the figure's parts, above each other: bars, or a line with dots and a dashed line."""

    title: str
    title_y: float
    base_y: float
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...] = ()
    dots: tuple[Dot, ...] = ()
    path: str = ""
    dashed: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """What the template draws of one series."""

    series: str
    width: int
    height: int
    left: float
    right: float
    panels: tuple[Panel, ...]
    labels: tuple[Tick, ...]


def write_trend_page(path: Path, trend: Trend) -> Path:
    """Write the page of a trend; return its path."""
    series = list(dict.fromkeys(row.series for row in trend.rows))
    figures = [figure([row for row in trend.rows if row.series == name]) for name in series]
    template = read_template("trend.html.j2", count=_count)
    page = template.render(trend=trend, figures=figures, headline=headline(trend))
    write_private(path, page)
    return path


def headline(trend: Trend) -> str:
    """Return where the last run of each series stands, in a sentence."""
    last = {row.series: row for row in trend.rows}
    return " ".join(_standing(row) for row in last.values())


def _standing(row: TrendRow) -> str:
    named = "" if row.named is None else f", {_count(row.named)} named"
    since = "" if row.new is None else f"; {_count(row.new)} new and {_count(row.gone or 0)} gone since the run before"
    return f"{row.run}: {_count(row.findings)} finding{'' if row.findings == 1 else 's'}{named}{since}."


def figure(rows: Sequence[TrendRow]) -> Figure:
    """Lay out the figure of one series.

    Args:
        rows: its runs, oldest first, at least one.
    """
    slot = (WIDTH - _LEFT - _RIGHT) / len(rows)
    centre = [_LEFT + slot * (place + 0.5) for place in range(len(rows))]
    wide = min(34.0, 0.7 * slot)
    top = float(_FIRST)
    panels = []
    for name, make in _PANELS.items():
        panels.append(make(rows, centre, wide, top))
        top += _HEIGHTS[name] + _GAP
    names = [row.run.removesuffix(f"/{row.series}") for row in rows]
    every = math.ceil((_LETTER * max(map(len, names)) + 10) / slot)
    labels = tuple(Tick(round(x, 1), name) for x, name in list(zip(centre, names, strict=True))[::every])
    return Figure(rows[0].series, WIDTH, int(top - _GAP + _FOOT), _LEFT, WIDTH - _RIGHT, tuple(panels), labels)


def _findings(rows: Sequence[TrendRow], centre: Sequence[float], wide: float, top: float) -> Panel:
    """All findings, the named ones among them below."""
    axis = Axis.over(
        [0.0, *(float(row.findings) for row in rows)], log=False, start=top + _HEIGHTS["findings"], end=top
    )
    bars = []
    for row, x in zip(rows, centre, strict=True):
        told = "" if row.named is None else f", {row.named} of them named"
        title = f"{row.run}: {row.findings} findings{told}"
        bars.append(_bar(axis, x, wide, (0, row.findings), "var(--calm)", title))
        if row.named:
            bars.append(_bar(axis, x, wide, (0, row.named), "var(--accent)", title))
    return Panel("findings (red: named)", top - 10, axis(0.0), _whole(axis), bars=tuple(bars))


def _change(rows: Sequence[TrendRow], centre: Sequence[float], wide: float, top: float) -> Panel:
    """New ones upwards, gone ones downwards."""
    ends = [0.0, *(float(row.new or 0) for row in rows), *(-float(row.gone or 0) for row in rows)]
    axis = Axis.over(ends, log=False, start=top + _HEIGHTS["change"], end=top)
    bars = []
    for row, x in zip(rows, centre, strict=True):
        title = f"{row.run}: {row.new} new, {row.gone} gone"
        if row.new:
            bars.append(_bar(axis, x, wide, (0, row.new), "var(--accent)", title))
        if row.gone:
            bars.append(_bar(axis, x, wide, (-row.gone, 0), "var(--soft)", title))
    ticks = tuple(Tick(tick.place, tick.text.lstrip("-")) for tick in _whole(axis))
    return Panel("new (up) and gone (down) since the run before", top - 10, axis(0.0), ticks, bars=tuple(bars))


def _score(rows: Sequence[TrendRow], centre: Sequence[float], wide: float, top: float) -> Panel:
    """The best score, and the threshold that it stands against."""
    known = [(x, row, row.best_score) for x, row in zip(centre, rows, strict=True) if row.best_score is not None]
    values = [*(score for _, _, score in known), *(row.threshold for row in rows)]
    axis = Axis.over(values, log=False, start=top + _HEIGHTS["score"], end=top, air=0.1)
    dots = tuple(Dot(round(x, 1), axis(score), f"{row.run}: best score {score:.3f}") for x, row, score in known)
    path = "M" + " L".join(f"{dot.x:g} {dot.y:g}" for dot in dots) if dots else ""
    steps = [f"M{x - wide / 2:g} {axis(row.threshold):g} h{wide:g}" for x, row in zip(centre, rows, strict=True)]
    return Panel(
        "best score (dashes: threshold)",
        top - 10,
        axis.start,
        axis.ticks(3),
        dots=dots,
        path=path,
        dashed=" ".join(steps),
    )


_PANELS: dict[str, Callable[[Sequence[TrendRow], Sequence[float], float, float], Panel]] = {
    "findings": _findings, "change": _change, "score": _score,
}  # fmt: skip


def _bar(axis: Axis, x: float, wide: float, ends: tuple[int, int], ink: str, title: str) -> Bar:
    low, high = (axis(float(end)) for end in ends)
    return Bar(round(x - wide / 2, 1), high, round(wide, 1), round(max(low - high, 1.0), 2), ink, title)


def _whole(axis: Axis) -> tuple[Tick, ...]:
    """Return ticks at whole numbers."""
    return tuple(tick for tick in axis.ticks(4) if "." not in tick.text)


def _count(value: int) -> str:
    """Thousands set apart by thin spaces."""
    return f"{value:,}".replace(",", "\N{THIN SPACE}")
