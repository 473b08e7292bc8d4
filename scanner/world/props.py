"""Everything in the picture that is not the person: backdrop, clothes, glasses, covers."""

# ruff: noqa: PLR2004  (the proportions of a drawing are plain numbers)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from scanner.world.curves import ellipse, points, smooth
from scanner.world.nuisance import Cover
from scanner.world.palette import mix, shadow_of, tint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanner.world.canvas import Canvas
    from scanner.world.head import Head

_SUNGLASSES = 3


def paint_backdrop(canvas: Canvas, head: Head) -> None:
    """Paint a wall, a slope of light, blurred lamps or blurred shelves."""
    photo = head.photo
    rng = np.random.default_rng(photo.noise_seed)
    first, second = (np.array(rgb, np.float32) for rgb in photo.backdrop)
    cells = 24
    ramp = np.linspace(0.0, 1.0, cells, dtype=np.float32)
    down, across = ramp[:, None, None], ramp[None, :, None]
    share = 0.5 * (down + across) if photo.backdrop_kind == 1 else np.repeat(down, cells, axis=1)
    small: NDArray[Any] = first + (second - first) * share
    if photo.backdrop_kind == 2:
        for x, y, radius in rng.uniform((0, 0, 2), (cells, cells, 5), size=(7, 3)):
            cv2.circle(small, (int(x), int(y)), int(radius), tuple(float(v) for v in second * 1.1), -1)
        small = cv2.blur(small, (3, 3))
    if photo.backdrop_kind == 3:
        bars = rng.random((1, cells // 3, 1), dtype=np.float32).repeat(3, axis=1)
        small = cv2.blur(first + (second - first) * np.repeat(bars, cells, axis=0), (2, 2))
    size = (canvas.side, canvas.side)
    wall = np.clip(small, 0, 255).astype(np.uint8)
    canvas.rgb_u8 = np.asarray(cv2.resize(wall, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def paint_clothes(canvas: Canvas, head: Head) -> None:
    """Paint shoulders and a collar."""
    person, rgb = head.person, head.photo.cloth_rgb
    low = person.chin_y
    right = [(0, low + 20), (17, low + 13), (24, low + 11), (50, low + 19), (72, low + 32), (84, low + 120)]
    left = [(-x, y) for x, y in reversed(right[1:])]
    canvas.fill(head.project(smooth(right + left, closed=True), turn=0.0), rgb)
    collar = smooth([(-24, low + 11), (-15, low + 16), (0, low + 21), (15, low + 16), (24, low + 11)], closed=False)
    canvas.stroke(head.project(collar, turn=0.0), tint(rgb, 0.72), 1.8)


def paint_glasses(canvas: Canvas, head: Head) -> None:
    """Paint round or square frames, or sunglasses."""
    person, photo = head.person, head.photo
    if photo.glasses == 0:
        return
    rgb = photo.glasses_rgb
    lenses = []
    for side in (-1.0, 1.0):
        x = side * (person.eye_x + 0.6)
        if photo.glasses == 1:
            lens = ellipse(x, 1.6, 11.2, 10.2)
        else:
            lens = smooth(
                [(x - 11, -5.5), (x, -6.6), (x + 11, -5.5), (x + 10, 7.5), (x, 9.2), (x - 10, 7.5)], closed=True
            )
        lenses.append(head.project(lens, lift=3.0))
    for lens in lenses:
        if photo.glasses == _SUNGLASSES:
            canvas.veil(lens, tint(rgb, 0.45), 0.9)
        else:
            canvas.veil(lens, (235.0, 240.0, 246.0), 0.1)
        canvas.stroke(lens, rgb, 1.1 if photo.glasses == 1 else 1.7, closed=True)
    gap = person.eye_x - 10.4
    bridge = smooth([(-gap, 0.5), (0, -1.8), (gap, 0.5)], closed=False)
    canvas.stroke(head.project(bridge, lift=5.0), rgb, 1.3)
    for side in (-1.0, 1.0):
        hinge = head.project([(side * (person.eye_x + 11.5), -2.0)], lift=2.0)
        ear = head.project_rim([(side * person.half_width, -1.0)])
        canvas.stroke(np.concatenate([hinge, ear]), rgb, 1.3)


def paint_cover(canvas: Canvas, head: Head) -> None:
    """Paint whatever hides a part of the face today."""
    painters = {
        Cover.HAT: _paint_hat,
        Cover.SCARF: _paint_scarf,
        Cover.BAR: _paint_bar,
        Cover.HAND: _paint_hand,
        Cover.MASK: _paint_mask,
    }
    painter = painters.get(head.photo.cover)
    if painter is not None:
        painter(canvas, head)


def _paint_hat(canvas: Canvas, head: Head) -> None:
    person, rgb = head.person, head.photo.cover_rgb
    w, top = person.half_width + 4.5, person.skull + 10.0
    brim = -21.0 - 6.0 * head.photo.cover_place[0]
    dome = smooth(
        [
            (-w, brim),
            (-0.95 * w, 0.72 * -top),
            (-0.55 * w, -top),
            (0.0, -1.12 * top),
            (0.55 * w, -top),
            (0.95 * w, 0.72 * -top),
            (w, brim),
        ],
        closed=False,
    )
    canvas.fill(head.project(dome, turn=0.4), rgb)
    ribs = [head.project(points([(x, brim), (0.72 * x, -top)]), turn=0.4) for x in np.linspace(-0.85 * w, 0.85 * w, 9)]
    canvas.veil_strokes(ribs, tint(rgb, 0.6), 0.9, 0.35)
    fold = smooth(
        [
            (-w - 1, brim - 8),
            (0, brim - 12),
            (w + 1, brim - 8),
            (w + 1.5, brim + 1),
            (0, brim - 2),
            (-w - 1.5, brim + 1),
        ],
        closed=True,
    )
    canvas.fill(head.project(fold, turn=0.4, lift=2.0), tint(rgb, 0.84))


def _paint_scarf(canvas: Canvas, head: Head) -> None:
    person, rgb = head.person, head.photo.cover_rgb
    w, top = person.half_width * 1.1, person.chin_y - 4.0 - 9.0 * head.photo.cover_place[0]
    wrap = smooth(
        [
            (-w, top + 4),
            (-0.5 * w, top + 2),
            (0, top + 5),
            (0.5 * w, top + 1),
            (w, top + 4),
            (1.2 * w, top + 34),
            (0, top + 44),
            (-1.2 * w, top + 34),
        ],
        closed=True,
    )
    canvas.fill(head.project(wrap, turn=0.3), rgb)
    folds = [smooth([(-w, top + d), (0, top + d + 5), (w, top + d - 1)], closed=False) for d in (9.0, 16.0, 24.0)]
    canvas.veil_strokes([head.project(f, turn=0.3) for f in folds], tint(rgb, 0.6), 1.4, 0.5)


def _paint_bar(canvas: Canvas, head: Head) -> None:
    """A plain object in front of the face: a book, a phone, a door frame."""
    across, down, turn = head.photo.cover_place
    x, y = -44 + 88 * across, -34 + 88 * down
    wide, high = (9.0, 22.0) if turn < 0.5 else (21.0, 9.0)
    corner = points([(x - wide, y - high), (x + wide, y - high), (x + wide, y + high), (x - wide, y + high)])
    canvas.fill(head.project(corner, turn=0.0), head.photo.cover_rgb)


def _paint_hand(canvas: Canvas, head: Head) -> None:
    person = head.person
    across, down, _ = head.photo.cover_place
    side = 1.0 if across > 0.5 else -1.0
    skin = tint(person.skin, 0.97)
    edge = mix(shadow_of(person.skin), person.skin, 0.2)
    for finger in range(4):
        x = side * (person.half_width * 0.86 - 1.5 * finger)
        shape = ellipse(x, 26 + 10 * down + 7.0 * finger, 13.0 - abs(finger - 1.3) * 1.3, 3.7, tilt=side * 0.3)
        placed = head.project(shape, turn=0.5)
        canvas.fill(placed, skin)
        canvas.stroke(placed, edge, 0.6, closed=True)


def _paint_mask(canvas: Canvas, head: Head) -> None:
    person = head.person
    rgb = mix(head.photo.cover_rgb, (214.0, 228.0, 236.0), 0.6)
    w, low = person.half_width * 0.86, person.chin_y + 2.0
    cloth = smooth(
        [
            (-w, 16),
            (-0.45 * w, 11),
            (0, 9),
            (0.45 * w, 11),
            (w, 16),
            (0.84 * w, 38),
            (0.3 * w, low),
            (-0.3 * w, low),
            (-0.84 * w, 38),
        ],
        closed=True,
    )
    canvas.fill(head.project(cloth, turn=0.8), rgb)
    folds = [smooth([(-0.8 * w, y), (0, y + 3), (0.8 * w, y)], closed=False) for y in (22.0, 31.0, 40.0)]
    canvas.veil_strokes([head.project(f, lift=2.0) for f in folds], tint(rgb, 0.7), 0.9, 0.5)
