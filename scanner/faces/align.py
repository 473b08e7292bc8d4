"""Five landmarks → an aligned crop.

The template is ArcFace's (Deng et al. 2019, 112×112); every ArcFace-style network expects it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ARCFACE_SIDE_PX = 112
ARCFACE_LANDMARKS_PX: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
)
"""Left eye, right eye, nose tip, left and right corner of the mouth, as the viewer sees them."""

_AS_COMPLEX: NDArray[np.complex128] = np.array([1.0, 1.0j])
_SHRINK_FIRST_BELOW = 0.5


def similarity(source_px: NDArray[np.floating], target_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the least-squares similarity that takes `source_px` to `target_px`.

    In the plane, Umeyama's (1991) closed form without reflection is a regression of complex numbers: a point is x + iy,
    and a similarity multiplies it by one number and adds another.

    Args:
        source_px: (n, 2) points, n >= 2, not all equal.
        target_px: (n, 2) points.

    Returns:
        (2, 3) float64 matrix `M` with `target ≈ M[:, :2] @ source + M[:, 2]`.
    """
    source, target = (np.asarray(points, np.float64) @ _AS_COMPLEX for points in (source_px, target_px))
    centred = source - source.mean()
    factor = np.vdot(centred, target) / np.vdot(centred, centred).real
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def align(pixels_rgb_u8: NDArray[np.uint8], landmarks_px: NDArray[np.floating], *, side_px: int) -> NDArray[np.uint8]:
    """Warp a picture so that its landmarks lie on ArcFace's template.

    Args:
        pixels_rgb_u8: (h, w, 3) uint8.
        landmarks_px: (5, 2) in the picture, in the template's order.
        side_px: side of the crop; the template is scaled to it.

    Returns:
        (side_px, side_px, 3) uint8; black where the picture ends.
    """
    matrix = similarity(landmarks_px, ARCFACE_LANDMARKS_PX * (side_px / ARCFACE_SIDE_PX))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < _SHRINK_FIRST_BELOW:
        # A bilinear warp reads four pixels, so a face much larger than the crop would alias.
        height, width = pixels_rgb_u8.shape[:2]
        new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
        pixels_rgb_u8 = cv2.resize(pixels_rgb_u8, (new_width, new_height), interpolation=cv2.INTER_AREA).astype(
            np.uint8
        )
        stretch = np.array([width / new_width, height / new_height])
        # Pixel centres are whole numbers, so pixel x of the small picture lies at (x + 0.5) * stretch - 0.5.
        matrix[:, 2] += matrix[:, :2] @ (0.5 * stretch - 0.5)
        matrix[:, :2] *= stretch
    crop = cv2.warpAffine(pixels_rgb_u8, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR, borderValue=0)
    return np.asarray(crop, np.uint8)
