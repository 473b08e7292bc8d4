"""The distribution of best scores as an SVG figure, without a plotting library: one page, no script, no fonts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.report.axes import Tick

WIDTH, HEIGHT = 760, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 40
BIN = 0.01
_COSINE_MAX = 1.001  # thresholds are chosen between scores, and may lie a little above the largest


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: rectangle in figure units, whether it lies at or above the threshold, and its text."""

    x: float
    y: float
    width: float
    height: float
    above: bool
    title: str


@dataclass(frozen=True, slots=True)
class Figure:
    """What the template draws."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    threshold_x: float


def best_score_figure(scores: NDArray[np.float32], threshold: float) -> Figure:
    """Draw a histogram of each query's best score.

    Args:
        scores: (n,) float32, one best score a query.
        threshold: inclusive; the bins are laid so that it falls on an edge.

    Raises:
        ValueError: a score or the threshold is no cosine, so that there would be bins without number.
    """
    cosines = np.append(scores.astype(np.float64), threshold)
    if not (np.abs(cosines) <= _COSINE_MAX).all():
        raise ValueError("a best score or the threshold is not in [-1, 1]")
    low = min(float(scores.min(initial=1.0)), threshold) - 0.02
    high = min(1.0, max(float(scores.max(initial=-1.0)), threshold) + 0.02)
    below = math.ceil((threshold - low) / BIN)
    above = max(1, math.ceil((high - threshold) / BIN))
    edges = threshold + BIN * np.arange(-below, above + 1)
    rows = np.clip(np.searchsorted(edges, scores.astype(np.float64), side="right") - 1, 0, len(edges) - 2)
    # A float32 score equal to the threshold must not fall below its edge by rounding.
    rows = np.where(scores >= np.float32(threshold), np.maximum(rows, below), np.minimum(rows, below - 1))
    counts = np.bincount(rows, minlength=len(edges) - 1)
    top = max(1, int(counts.max(initial=1)))
    x = _Scale(float(edges[0]), float(edges[-1]), _LEFT, WIDTH - _RIGHT)
    # Matches are few and the rest many: a root scale shows a single one without hiding the shape.
    y = _Scale(0.0, math.sqrt(top), HEIGHT - _BOTTOM, _TOP)
    bars = tuple(
        Bar(
            round(x(edges[i]) + 0.5, 2), round(y(math.sqrt(n)), 2), round(x(edges[i + 1]) - x(edges[i]) - 1, 2),
            round(HEIGHT - _BOTTOM - y(math.sqrt(n)), 2), i >= below,
            f"{n} face{'s' if n != 1 else ''} with best score {edges[i]:.2f} to {edges[i + 1]:.2f}",
        )
        for i, n in enumerate(counts.tolist()) if n
    )  # fmt: skip
    first = math.ceil(edges[0] * 10)
    x_ticks = tuple(Tick(round(x(v / 10), 2), f"{v / 10:.1f}") for v in range(first, math.floor(edges[-1] * 10) + 1))
    y_ticks = tuple(Tick(round(y(math.sqrt(v)), 2), str(v)) for v in _round_counts(top))
    return Figure(
        WIDTH, HEIGHT, _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM, bars, x_ticks, y_ticks, round(x(threshold), 2)
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (float(value) - self.low) / (self.high - self.low) * (self.end - self.start)


def _round_counts(top: int) -> list[int]:
    """Return a few round counts up to `top`, spread on a root scale."""
    wanted = [top * share for share in (0.05, 0.25, 0.6, 1.0)]
    ticks = {1}
    for value in wanted:
        step = 10 ** max(0, math.floor(math.log10(max(value, 1))))
        ticks.add(max(1, int(value // step * step)))
    return sorted(ticks)
