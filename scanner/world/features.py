"""Eyes, brows and mouth: the features that carry most of a drawn likeness."""

# ruff: noqa: PLR2004  (the proportions of a drawing are plain numbers)

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scanner.world.canvas import Canvas, draw_lines, fill_shape, flood
from scanner.world.curves import Points, ellipse, points, rotation, smooth, vector
from scanner.world.palette import Rgb, mix, shadow_of, tint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanner.world.head import Head

_DARK: Rgb = (24.0, 16.0, 16.0)
_TEETH: Rgb = (240.0, 234.0, 224.0)


def _eyelids(head: Head, side: float) -> tuple[Points, Points]:
    """Trace upper and lower lid from inner to outer corner: two (n, 2) face-unit curves."""
    person, photo = head.person, head.photo
    w = person.eye_width
    up = person.eye_height * photo.eye_open
    low = person.eye_height * (0.62 - 0.18 * max(0.0, photo.smile)) * min(1.0, 0.35 + 0.65 * photo.eye_open)
    peak = person.eye_peak * w
    upper = smooth(
        [(-w, 1.0), (-0.55 * w + 0.5 * peak, -0.72 * up), (peak, -up), (0.6 * w + 0.4 * peak, -0.66 * up), (w, 0.0)],
        closed=False,
    )
    lower = smooth([(-w, 1.0), (-0.4 * w, low), (0.25 * w, low * 1.05), (w, 0.0)], closed=False)
    turn = rotation(-person.eye_tilt)
    flip = vector(side, 1.0)
    centre = vector(side * person.eye_x, 0.0)
    return (upper @ turn.T) * flip + centre, (lower @ turn.T) * flip + centre


def paint_eyes(canvas: Canvas, head: Head) -> None:
    """Paint both eyes under the current lids and gaze."""
    for side in (-1.0, 1.0):
        _paint_eye(canvas, head, side)


def _paint_eye(canvas: Canvas, head: Head, side: float) -> None:
    person, photo = head.person, head.photo
    upper, lower = _eyelids(head, side)
    opening = np.concatenate([upper, lower[::-1]])
    unit = head.unit_px
    gaze = vector(2.6 * photo.gaze_x, 1.6 * photo.gaze_y)
    middle = head.project(points([(side * person.eye_x, 0.0)]) + gaze, lift=0.5)[0]
    radius = person.iris_radius * unit
    skin_shadow = shadow_of(person.skin)
    upper_px, lower_px = head.project(upper), head.project(lower)

    def paint(layer: NDArray[np.uint8], origin: Points) -> None:
        x, y = middle - origin
        flood(layer, mix((244.0, 240.0, 236.0), person.skin, 0.1))
        fill_shape(layer, ellipse(x, y, radius, radius), tint(person.iris, 0.55))
        fill_shape(layer, ellipse(x, y, 0.84 * radius, 0.84 * radius), person.iris)
        fill_shape(layer, ellipse(x, y + 0.3 * radius, 0.6 * radius, 0.45 * radius), tint(person.iris, 1.35))
        fill_shape(layer, ellipse(x, y, 0.45 * radius, 0.45 * radius), _DARK)
        # The lid throws a shadow on the eyeball; without it the stare looks glassy.
        draw_lines(layer, [upper_px - origin], mix((190.0, 178.0, 174.0), person.iris, 0.35), max(1, round(0.9 * unit)))
        shine = ellipse(x - 0.36 * radius, y - 0.42 * radius, 0.24 * radius, 0.24 * radius, count=12)
        fill_shape(layer, shine, (255.0, 255.0, 255.0))

    canvas.paint_inside(head.project(opening), paint)
    # Crease above the lid; a hooded eye has it close to the lashes.
    crease = upper + vector(0.0, -2.6 + 1.6 * person.hood)
    canvas.veil_strokes([head.project(crease[2:-1])], skin_shadow, 0.8, 0.35 + 0.4 * person.hood)
    canvas.veil_strokes([lower_px], tint(skin_shadow, 0.8), 0.6, 0.5)
    lash_width = 0.75 + 0.75 * person.lashes + 0.5 * photo.makeup
    lash = mix(tint(skin_shadow, 0.6), _DARK, 0.5 + 0.5 * person.lashes)
    canvas.stroke(upper_px, lash, lash_width)
    if person.lashes + photo.makeup > 0.6:
        corner = upper[-1]
        wing = points([corner, corner + vector(side * 2.0, -1.7)])
        canvas.stroke(head.project(wing), lash, 0.6)


def paint_brows(canvas: Canvas, head: Head) -> None:
    """Paint both brows as tapered arcs."""
    person, photo = head.person, head.photo
    for side in (-1.0, 1.0):
        level = person.brow_y - 2.0 * photo.brow_raise + side * person.brow_uneven
        inner, length, thick = person.brow_gap, person.brow_length, person.brow_weight
        slope = -np.sin(person.brow_tilt) * length
        along = vector(0.0, 0.3, 0.65, 1.0)
        x = inner + along * length
        y = level + along * slope - person.brow_arch * vector(0.0, 0.6, 1.0, -0.3)
        half = 0.5 * thick * vector(1.0, 1.15, 0.85, 0.15)
        edge = np.concatenate([np.stack([x, y - half], 1), np.stack([x, y + half], 1)[::-1]])
        brow = smooth(edge, closed=True, steps=4) * vector(side, 1.0)
        canvas.veil(head.project(brow, lift=1.5), person.brow, 0.92, blur=0.35)


def paint_mouth(canvas: Canvas, head: Head) -> None:
    """Paint the lips, and between open lips the teeth."""
    person, mouth = head.person, head.mouth
    x0, y0, w = mouth.centre_x, mouth.centre_y, mouth.half_width
    corner = y0 - mouth.corner_lift
    top, low, bow = person.lip_upper, person.lip_lower, person.cupid_bow
    gap = 0.5 * mouth.gap
    left, right = (x0 - w, corner), (x0 + w, corner)
    seam = 0.35 * mouth.corner_lift
    lips = mix(person.lips, (176.0, 40.0, 60.0), 0.55 * head.photo.makeup)

    upper_edge = smooth(
        [
            left,
            (x0 - 0.55 * w, y0 - gap - 0.7 * top - 0.25 * mouth.corner_lift),
            (x0 - 0.2 * w, y0 - gap - top - 0.4 * bow),
            (x0, y0 - gap - top + 0.6 * bow),
            (x0 + 0.2 * w, y0 - gap - top - 0.4 * bow),
            (x0 + 0.55 * w, y0 - gap - 0.7 * top - 0.25 * mouth.corner_lift),
            right,
        ],
        closed=False,
        steps=4,
    )
    upper_seam = smooth(
        [
            right,
            (x0 + 0.5 * w, y0 - gap + 0.1 * seam),
            (x0, y0 - gap + seam * 0.4 + 0.5),
            (x0 - 0.5 * w, y0 - gap + 0.1 * seam),
            left,
        ],
        closed=False,
        steps=4,
    )
    lower_seam = smooth(
        [
            left,
            (x0 - 0.5 * w, y0 + gap + 0.4 * seam),
            (x0, y0 + gap + seam * 0.5 + 0.5),
            (x0 + 0.5 * w, y0 + gap + 0.4 * seam),
            right,
        ],
        closed=False,
        steps=4,
    )
    lower_edge = smooth(
        [
            right,
            (x0 + 0.6 * w, y0 + gap + 0.72 * low + 0.2 * seam),
            (x0, y0 + gap + low + 0.5 * seam),
            (x0 - 0.6 * w, y0 + gap + 0.72 * low + 0.2 * seam),
            left,
        ],
        closed=False,
        steps=4,
    )

    if gap > 0.2:
        _paint_teeth(canvas, head, np.concatenate([upper_seam, lower_seam]))
    canvas.fill(head.project(np.concatenate([lower_seam, lower_edge]), lift=1.0), tint(lips, 1.08))
    canvas.fill(head.project(np.concatenate([upper_edge, upper_seam]), lift=1.0), tint(lips, 0.88))
    shine = ellipse(x0, y0 + gap + 0.55 * low + 0.5 * seam, 0.34 * w, 0.2 * low, count=16)
    canvas.veil(head.project(shine, lift=1.5), mix(lips, (255.0, 240.0, 236.0), 0.6), 0.5, blur=0.8)
    if gap <= 0.2:
        canvas.veil_strokes([head.project(lower_seam, lift=1.0)], tint(lips, 0.45), 0.75, 0.85)


def _paint_teeth(canvas: Canvas, head: Head, opening: Points) -> None:
    mouth = head.mouth
    top = mouth.centre_y - 0.5 * mouth.gap
    row = head.project(ellipse(mouth.centre_x, top + 0.5, 0.62 * mouth.half_width, 1.0 + 0.34 * mouth.gap, count=20))

    def paint(layer: NDArray[np.uint8], origin: Points) -> None:
        flood(layer, (84.0, 30.0, 34.0))
        fill_shape(layer, row - origin, _TEETH)

    canvas.paint_inside(head.project(opening), paint)
