"""The drawing surface: antialiased shapes on a picture twice the wanted size.

Shapes are drawn with OpenCV in sub-pixel coordinates at double size and averaged down
at the end, which looks smooth and costs some tens of microseconds a shape.
Points are in canvas pixels, as `Head.project` returns them.
"""

# ruff: noqa: PLR2004  (the proportions of a drawing are plain numbers)

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scanner.world.curves import Points
    from scanner.world.palette import Rgb

SUPERSAMPLE = 2
_SHIFT_BITS = 4  # cv2 takes fixed-point coordinates: 4 bits are 1/16 pixel

Mask = NDArray[np.uint8]
Region = tuple[slice, slice]


def _fixed(shape: Points) -> NDArray[np.int32]:
    return np.rint(shape * (1 << _SHIFT_BITS)).astype(np.int32)


class Canvas:
    """A square uint8 RGB picture that shapes are painted on, back to front."""

    def __init__(self, size_px: int, unit_px: float) -> None:
        """Start black.

        Args:
            size_px: side of the finished picture.
            unit_px: canvas pixels per face unit, for line widths and blurs.
        """
        side = size_px * SUPERSAMPLE
        self.side = side
        self.unit_px = unit_px
        self.rgb_u8: NDArray[np.uint8] = np.zeros((side, side, 3), dtype=np.uint8)

    def fill(self, shape: Points, rgb: Rgb) -> None:
        """Fill a closed shape with one opaque colour."""
        cv2.fillPoly(self.rgb_u8, [_fixed(shape)], rgb, cv2.LINE_AA, _SHIFT_BITS)

    def stroke(self, curve: Points, rgb: Rgb, width: float, *, closed: bool = False) -> None:
        """Draw an opaque line, `width` face units wide, at least one canvas pixel."""
        width_px = max(1, round(width * self.unit_px))
        cv2.polylines(self.rgb_u8, [_fixed(curve)], closed, rgb, width_px, cv2.LINE_AA, _SHIFT_BITS)

    def veil(self, shape: Points, rgb: Rgb, alpha: float, *, blur: float = 0.0) -> None:
        """Blend a translucent shape, its edge softened by `blur` face units."""
        self.paint_inside(shape, lambda layer, _: flood(layer, rgb), alpha=alpha, blur=blur)

    def veil_strokes(self, curves: Sequence[Points], rgb: Rgb, width: float, alpha: float) -> None:
        """Blend thin translucent lines, `width` face units wide."""
        region = self._region(np.concatenate(curves), width * self.unit_px + 2)
        if region is None:
            return
        rows, columns = region
        origin = np.array([columns.start, rows.start], dtype=np.float32)
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        width_px = max(1, round(width * self.unit_px))
        lines = [_fixed(curve - origin) for curve in curves]
        cv2.polylines(mask, lines, False, 255, width_px, cv2.LINE_AA, _SHIFT_BITS)
        layer = np.empty((*mask.shape, 3), np.uint8)
        flood(layer, rgb)
        self._blend(region, layer, mask, alpha)

    def paint_inside(
        self,
        shape: Points,
        paint: Callable[[NDArray[np.uint8], Points], None],
        *,
        alpha: float = 1.0,
        blur: float = 0.0,
    ) -> None:
        """Let `paint` draw freely on a copy, then keep only what lies inside `shape`.

        `paint(layer, origin)` gets the copied region, uint8 (h, w, 3), and the canvas
        position of its upper left pixel, to be subtracted from points.
        """
        blur_px = blur * self.unit_px
        region = self._region(shape, 2.5 * blur_px + 2)
        if region is None:
            return
        rows, columns = region
        origin = np.array([columns.start, rows.start], dtype=np.float32)
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        cv2.fillPoly(mask, [_fixed(shape - origin)], 255, cv2.LINE_AA, _SHIFT_BITS)
        if blur_px > 0.4:
            mask = soften(mask, blur_px)
        layer = self.rgb_u8[region].copy()
        paint(layer, origin)
        self._blend(region, layer, mask, alpha)

    def mask(self, shape: Points) -> Mask:
        """Make the coverage of a shape over the whole canvas, uint8 (side, side)."""
        mask = np.zeros((self.side, self.side), np.uint8)
        cv2.fillPoly(mask, [_fixed(shape)], 255, cv2.LINE_AA, _SHIFT_BITS)
        return mask

    def finish(self) -> NDArray[np.uint8]:
        """Average the canvas down to the finished size: uint8 RGB (size, size, 3)."""
        size = (self.side // SUPERSAMPLE, self.side // SUPERSAMPLE)
        return np.asarray(cv2.resize(self.rgb_u8, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _region(self, shape: Points, margin: float) -> Region | None:
        low, high = shape.min(axis=0), shape.max(axis=0)
        left, top = max(int(low[0] - margin), 0), max(int(low[1] - margin), 0)
        right = min(int(high[0] + margin) + 2, self.side)
        bottom = min(int(high[1] + margin) + 2, self.side)
        if right <= left or bottom <= top:
            return None
        return slice(top, bottom), slice(left, right)

    def _blend(self, region: Region, layer: NDArray[np.uint8], mask: Mask, alpha: float) -> None:
        weight = mask.astype(np.float32) * np.float32(alpha / 255.0)
        below = self.rgb_u8[region]
        self.rgb_u8[region] = cv2.blendLinear(layer, below, weight, 1 - weight)


def soften(mask: Mask, sigma_px: float) -> Mask:
    """Blur a mask; two box passes stand in for a Gaussian, at a fraction of its time."""
    side = max(3, int(sigma_px * 2.45) | 1)
    return np.asarray(cv2.blur(cv2.blur(mask, (side, side)), (side, side)), np.uint8)


def draw_lines(layer: NDArray[np.uint8], curves: Sequence[Points], rgb: Rgb, width_px: int) -> None:
    """Draw opaque lines on a layer of `Canvas.paint_inside`, in the layer's own pixels."""
    cv2.polylines(layer, [_fixed(c) for c in curves], False, rgb, width_px, cv2.LINE_AA, _SHIFT_BITS)


def flood(layer: NDArray[np.uint8], rgb: Rgb) -> None:
    """Set every pixel of a layer; several times faster than numpy's broadcast."""
    cv2.rectangle(layer, (0, 0), (layer.shape[1], layer.shape[0]), rgb, cv2.FILLED)


def fill_shape(layer: NDArray[np.uint8], shape: Points, rgb: Rgb) -> None:
    """Fill a shape on a layer of `Canvas.paint_inside`, in the layer's own pixels."""
    cv2.fillPoly(layer, [_fixed(shape)], rgb, cv2.LINE_AA, _SHIFT_BITS)
