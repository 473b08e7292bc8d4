"""Light over the finished drawing, then the camera: exposure, colour, blur and grain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from scanner.world.canvas import SUPERSAMPLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanner.world.head import Head
    from scanner.world.nuisance import Nuisance

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def expose(picture_rgb_u8: NDArray[np.uint8], head: Head) -> NDArray[np.uint8]:
    """Light and photograph a drawing.

    Args:
        picture_rgb_u8: uint8 RGB (size, size, 3).
        head: where the head stands; the lamp models it as a smooth bump.

    Returns:
        uint8 RGB of the same shape.
    """
    photo = head.photo
    size = picture_rgb_u8.shape[0]
    lamp = cv2.resize(_lamp(head, size), (size, size), interpolation=cv2.INTER_LINEAR)
    image: NDArray[Any] = picture_rgb_u8 * lamp[:, :, None]
    image = cv2.transform(image, _development(head.photo))

    if photo.coarse < 1.0:
        side = max(8, round(size * photo.coarse))
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    if photo.blur_px > 0.0:
        image = cv2.GaussianBlur(image, (0, 0), photo.blur_px * size / 112.0)
    if photo.grain > 0.0:
        rng = np.random.default_rng(photo.noise_seed)
        image = image + np.float32(photo.grain) * rng.standard_normal(image.shape, dtype=np.float32)
    exposed: NDArray[np.uint8] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return exposed


def _development(photo: Nuisance) -> NDArray[np.float32]:
    """White balance, exposure, saturation and contrast as one (3, 4) colour transform."""
    gain = np.diag(photo.lamp_gain) * photo.exposure
    greyed = photo.saturation * np.eye(3) + (1 - photo.saturation) * _GREY[None, :]
    pivot = np.full((3, 1), 128.0 * (1 - photo.contrast))
    return np.hstack([photo.contrast * greyed @ gain, pivot]).astype(np.float32)


def _lamp(head: Head, size: int) -> NDArray[np.float32]:
    """Brightness of a matt bump under the lamp, on a coarse grid: float32 (size/4, size/4)."""
    photo = head.photo
    cells = max(8, size // 4)
    middle = head.project([(0.0, 6.0)], turn=0.5)[0] / SUPERSAMPLE
    radius = 52.0 * head.unit_px / SUPERSAMPLE
    places = (np.arange(cells, dtype=np.float32) + 0.5) * np.float32(size / cells)
    x = np.clip((places - middle[0]) / radius, -2.0, 2.0)[None, :]
    y = np.clip((places - middle[1]) / (1.25 * radius), -2.0, 2.0)[:, None]
    # A smooth bump instead of a hard-edged ball: the light fades into the backdrop
    # without a bright ring around the head.
    bump = 1.9 * np.exp(-1.1 * (x**2 + y**2))
    lamp = np.array([photo.lamp_x, photo.lamp_y, 1.0], dtype=np.float32)
    lamp /= np.linalg.norm(lamp)
    facing = (bump * (x * lamp[0] + y * lamp[1]) + lamp[2]) / np.sqrt(1 + bump**2 * (x**2 + y**2))
    lit: NDArray[np.float32] = 1.0 + photo.lamp_strength * (np.maximum(facing, 0.0) - 0.9)
    return lit.astype(np.float32)
