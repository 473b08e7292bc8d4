"""Figures of the pages as plain values for `figure.svg.j2`: the null with one score marked, and runs over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scanner.report.curves import Line, Plot, plot
from scanner.serve.keyset import Rows
from scanner.serve.tables import RunTables

BINS = 48
THIS = "this match"
"""How the mark of the match begins; the template draws it stronger."""


def null_figure(tables: RunTables, score: float, threshold: float) -> tuple[Plot, dict[str, int]] | None:
    """Draw how close photos of the null come, with one match's score marked; None where the run has no null.

    Args:
        tables: of the run.
        score: cosine of the match.
        threshold: the run's.

    Returns:
        The figure, and {photos, reached}: photos of the null, and how many of them come as close as the match.
    """
    if "photos" not in tables.has:
        return None
    (span,) = tables.ask(
        "SELECT count(*) AS photos, min(best_score) AS low, max(best_score) AS high, "
        "count(*) FILTER (WHERE best_score >= ?::FLOAT) AS reached FROM photos WHERE side = 'null'",
        [score],
    )
    if not span["photos"]:
        return None
    low, high = min(span["low"], threshold) - 0.01, max(span["high"], score, threshold) + 0.01
    width = (high - low) / BINS
    counted = tables.ask(
        "SELECT CAST(floor((best_score - ?) / ?) AS INTEGER) AS bin, count(*) AS n FROM photos WHERE side = 'null' "
        "GROUP BY bin ORDER BY bin",
        [low, width],
    )
    line = _steps(counted, low, width, span["photos"])
    figure = plot(
        [line], y_range=(0.0, 1.25 * max(y for _, y in line.points)), x_label="best score over all scanned faces (cosine)",
        y_label="share of the null's photos", marks=[(threshold, f"threshold {threshold:.3f}"), (score, f"{THIS} {score:.3f}")],
        title=f"Histogram of the null's best scores; this match has {score:.3f}", width=560, height=250, x_range=(low, high),
    )  # fmt: skip
    return _apart(figure), {"photos": int(span["photos"]), "reached": int(span["reached"])}


def trend_figure(labels: Sequence[str], series: Sequence[tuple[str, Sequence[int | None]]]) -> Plot | None:
    """Draw counts of a row of runs, oldest first; None where there are not two to draw.

    Args:
        labels: of the runs.
        series: (name, one count a run, None where the run does not say); the first one is drawn in the strong colour.
    """
    lines = [
        Line(
            name,
            tuple((float(place), math.nan if n is None else float(n)) for place, n in enumerate(counts, 1)),
            ink=ink,
        )
        for ink, (name, counts) in enumerate(series)
        if sum(n is not None for n in counts) > 1
    ]
    if not lines:
        return None
    top = max(y for line in lines for _, y in line.points if y == y)  # noqa: PLR0124 - a gap is NaN
    drawn = plot(
        lines, x_label=f"runs, {labels[0]} to {labels[-1]}", y_label="identities", width=760, height=170,
        y_range=(0.0, max(1.0, top)), title=f"{', '.join(line.name for line in lines)} over {len(labels)} runs",
    )  # fmt: skip
    whole = [tick for tick in drawn.x_ticks if "." not in tick.text.removesuffix(".0")]
    return replace(drawn, x_ticks=tuple(replace(tick, text=tick.text.removesuffix(".0")) for tick in whole))


def _steps(counted: Rows, low: float, width: float, photos: int) -> Line:
    share = dict.fromkeys(range(BINS), 0.0)
    for row in counted:
        share[min(BINS - 1, max(0, row["bin"]))] += row["n"] / photos
    points = [(low + width * bin_, value) for bin_, value in share.items()]
    return Line("null", (*points, (low + width * BINS, 0.0)), steps=True, filled=True, ink=1)


def _apart(figure: Plot) -> Plot:
    """Write the texts of two marks on their outer sides, one below the other, so that they never lie over each other."""
    ordered = sorted(figure.marks, key=lambda mark: mark.x)
    moved = []
    for number, mark in enumerate(ordered):
        outward = number > 0 or len(ordered) == 1
        wide = 6.3 * len(mark.text) + 10
        right = mark.x + wide < figure.right if outward else mark.x - wide < figure.left
        text_x, anchor = (mark.x + 6, "start") if right else (mark.x - 6, "end")
        moved.append(replace(mark, text_x=text_x, anchor=anchor, text_y=figure.top + 12 + 16 * number))
    return replace(figure, marks=tuple(moved))
