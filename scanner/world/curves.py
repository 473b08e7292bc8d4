"""Plane geometry of the drawn faces: smooth curves, ellipses, similarity transforms.

Pure numpy, no pixels. Points are float32 (n, 2) arrays of (x, y), y down.

    outline = smooth(control_points, closed=True)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float32]

# The five points every ArcFace-style embedder is trained on (insightface, arcface_dst):
# left eye, right eye, nose tip, left and right mouth corner, as seen in a 112 x 112 crop.
TEMPLATE_112_PX: Points = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)
TEMPLATE_112_PX.setflags(write=False)


def points(values: ArrayLike) -> Points:
    """Make a float32 (n, 2) array of points."""
    return np.asarray(values, dtype=np.float32).reshape(-1, 2)


def vector(*values: float) -> NDArray[np.float32]:
    """Make a float32 vector: a point, an offset or a pair of factors."""
    return np.array(values, dtype=np.float32)


@lru_cache(maxsize=64)
def _catmull_rom(count: int, steps: int, *, closed: bool) -> NDArray[np.float32]:
    """Weights (samples, count) that take control points to the points of their curve."""
    t = np.linspace(0.0, 1.0, steps, endpoint=False)
    span = np.stack(
        [
            0.5 * (-t + 2 * t**2 - t**3),
            0.5 * (2 - 5 * t**2 + 3 * t**3),
            0.5 * (t + 4 * t**2 - 3 * t**3),
            0.5 * (-(t**2) + t**3),
        ],
        axis=1,
    )
    spans = count if closed else count - 1
    weights = np.zeros((spans * steps + (not closed), count))
    for first in range(spans):
        for place in range(4):
            knot = first - 1 + place
            knot = knot % count if closed else min(max(knot, 0), count - 1)
            weights[first * steps : (first + 1) * steps, knot] += span[:, place]
    if not closed:
        weights[-1, -1] = 1.0
    return weights.astype(np.float32)


def smooth(control: ArrayLike, *, closed: bool, steps: int = 6) -> Points:
    """Run a Catmull-Rom curve through control points.

    Args:
        control: (m, 2) points, m >= 2; the curve passes through each of them.
        closed: whether the curve returns from the last point to the first.
        steps: samples per span.

    Returns:
        Points of the curve: (m * steps, 2) if closed, else ((m - 1) * steps + 1, 2).
    """
    knots = points(control)
    curve: Points = _catmull_rom(len(knots), steps, closed=closed) @ knots
    return curve


@lru_cache(maxsize=16)
def _unit_circle(count: int) -> Points:
    angle = np.linspace(0.0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, *, tilt: float = 0.0, count: int = 28) -> Points:
    """Sample an ellipse: (count, 2) points, turned by `tilt` radians about its centre."""
    round_ = _unit_circle(count) * np.array([radius_x, radius_y], dtype=np.float32)
    if tilt:
        round_ = round_ @ rotation(tilt).T
    return round_ + np.array([x, y], dtype=np.float32)


def rotation(angle: float) -> NDArray[np.float32]:
    """Make the (2, 2) matrix that turns a column point by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]], dtype=np.float32)


def similarity(scale: float, angle: float, shift: tuple[float, float]) -> NDArray[np.float32]:
    """Make the (2, 3) transform `scale * rotation(angle) @ p + shift`."""
    matrix = np.empty((2, 3), dtype=np.float32)
    matrix[:, :2] = scale * rotation(angle)
    matrix[:, 2] = shift
    return matrix


def compose(outer: NDArray[np.float32], inner: NDArray[np.float32]) -> NDArray[np.float32]:
    """Chain two (2, 3) transforms: the result applies `inner` first."""
    chained: NDArray[np.float32] = outer[:, :2] @ inner
    chained[:, 2] += outer[:, 2]
    return chained


def transform(matrix: NDArray[np.float32], plane: Points) -> Points:
    """Apply a (2, 3) transform to (n, 2) points."""
    moved: Points = plane @ matrix[:, :2].T + matrix[:, 2]
    return moved


def fit_similarity(source: Points, target: Points) -> NDArray[np.float32]:
    """Fit the least-squares similarity that carries `source` (n, 2) onto `target` (n, 2).

    A plane similarity is one complex factor and one complex shift, so the fit is a
    one-line complex regression; it never mirrors.
    """
    a = source[:, 0] + 1j * source[:, 1].astype(np.complex128)
    b = target[:, 0] + 1j * target[:, 1].astype(np.complex128)
    a_mean, b_mean = a.mean(), b.mean()
    factor = np.vdot(a - a_mean, b - b_mean) / np.vdot(a - a_mean, a - a_mean)
    shift = b_mean - factor * a_mean
    return similarity(float(abs(factor)), float(np.angle(factor)), (float(shift.real), float(shift.imag)))
