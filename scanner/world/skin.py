"""Neck, ears, face and the soft light and shade that give it form."""

# ruff: noqa: PLR2004  (the proportions of a drawing are plain numbers)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from scanner.world.curves import compose, ellipse, points, similarity, smooth, vector
from scanner.world.head import Head, jaw_drop, nose_lift, outline, turned
from scanner.world.palette import Rgb, mix, shadow_of, tint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanner.world.canvas import Canvas

# One row per soft spot: x, y, radius across, radius down, strength, colour row.
Spot = tuple[float, float, float, float, float, int]
_SHADE, _LIGHT, _BLUSH = 0, 1, 2
_CELL = 2.0  # grid of the soft spots, face units
_COLUMNS = np.arange(-56.0, 58.0, _CELL, dtype=np.float32)
_ROWS = np.arange(-64.0, 78.0, _CELL, dtype=np.float32)


def paint_neck(canvas: Canvas, head: Head) -> None:
    """Paint the neck, and on it the shadow of the chin."""
    person = head.person
    w, chin = 0.62 * person.half_width * (0.8 + 0.25 * person.jaw), person.chin_y
    sides = smooth([(w, 14), (w * 0.97, chin + 6), (w * 1.2, chin + 24), (w * 2.2, chin + 44)], closed=False)
    neck = np.concatenate([sides, sides[::-1] * vector(-1, 1)])
    canvas.fill(head.project(neck, turn=0.0), tint(person.skin, 0.9))
    under = outline(person) * vector(0.92, 1.0) + vector(0, 7)
    canvas.veil(head.project(under, turn=0.5), shadow_of(person.skin), 0.6, blur=3.0)


def paint_ears(canvas: Canvas, head: Head) -> None:
    """Paint both ears behind the face."""
    person = head.person
    for side in (-1.0, 1.0):
        x = side * (person.half_width * 0.985 + 0.35 * person.ear_out)
        tilt = side * (0.1 + 0.04 * person.ear_out)
        wide = 2.6 + person.ear_out * 0.75
        ear = ellipse(x, person.ear_y, wide, person.ear_size, tilt=tilt)
        canvas.fill(head.project_rim(ear), tint(person.skin, 0.93))
        hollow = ellipse(x, person.ear_y - 0.5, wide * 0.5, person.ear_size * 0.6, tilt=tilt)
        canvas.veil(head.project_rim(hollow), shadow_of(person.skin), 0.5, blur=1.0)


def paint_face(canvas: Canvas, head: Head) -> None:
    """Paint the face: its flat colour, its modelling, then marks and lines."""
    person = head.person
    edge = head.project_rim(jaw_drop(person, head.photo, outline(person)))
    canvas.fill(edge, person.skin)
    _model(canvas, head, canvas.mask(edge))
    _paint_marks(canvas, head)
    _paint_lines(canvas, head)


def _model(canvas: Canvas, head: Head, inside: NDArray[np.uint8]) -> None:
    """Add all soft spots in one pass: a sum of Gaussians on a coarse grid."""
    skin = np.asarray(head.person.skin, dtype=np.float32)
    shade = np.asarray(shadow_of(head.person.skin), dtype=np.float32) - skin
    glow = (255.0 - skin) * vector(0.62, 0.58, 0.52)
    blush = np.asarray(mix(head.person.skin, (206.0, 74.0, 70.0), 0.42), dtype=np.float32) - skin
    spots = np.asarray([*_relief(head), *_flesh(head)], dtype=np.float32)
    tints = np.stack([shade, glow, blush])[spots[:, 5].astype(int)] * spots[:, 4:5]

    # In the frame of the face every spot is a product of a row and a column profile, so
    # the sum is one small matrix product; a warp then carries it to the canvas.
    centre = turned(spots[:, :2], head.person, head.photo)
    across = np.exp(-0.5 * ((_COLUMNS - centre[:, 0:1]) / spots[:, 2:3]) ** 2)
    down = np.exp(-0.5 * ((_ROWS - centre[:, 1:2]) / spots[:, 3:4]) ** 2)
    change = np.stack([(down * tints[:, c : c + 1]).T @ across for c in range(3)], axis=2)
    grid_to_face = similarity(_CELL, 0.0, (float(_COLUMNS[0]), float(_ROWS[0])))
    grid_to_canvas = compose(head.to_canvas, grid_to_face)
    size = (canvas.side, canvas.side)
    lit: NDArray[Any] = cv2.warpAffine(change, grid_to_canvas, size, flags=cv2.INTER_LINEAR)
    lit *= cv2.cvtColor(inside, cv2.COLOR_GRAY2RGB) * np.float32(1 / 255)
    canvas.rgb_u8 = np.asarray(cv2.add(canvas.rgb_u8, lit, dtype=cv2.CV_8U), np.uint8)


def _relief(head: Head) -> list[Spot]:
    """List the spots that come from bones and nose, on the side away from the lamp."""
    person, photo = head.person, head.photo
    deep, relief = person.socket, person.nose_relief
    away = -1.0 if photo.lamp_x > 0 else 1.0
    cast = min(1.0, abs(photo.lamp_x)) * photo.lamp_strength * 1.5
    w, x, tip = person.half_width, person.eye_x, person.nose_y
    skew, bridge = person.nose_skew, person.nose_bridge
    return [
        (-x + 2, -1, 8.5, 5.0, 0.5 * deep, _SHADE),
        (x - 2, -1, 8.5, 5.0, 0.5 * deep, _SHADE),
        (-bridge - 2.2, 0.2 * tip, 2.6, 7.0, 0.35 * relief, _SHADE),
        (bridge + 2.2, 0.2 * tip, 2.6, 7.0, 0.35 * relief, _SHADE),
        (away * (bridge + 1.6) + 0.6 * skew, 0.55 * tip, 2.4, 8.0, 0.9 * cast * relief, _SHADE),
        (0.4 * skew - 0.5 * away, 0.42 * tip, 0.55 * bridge, 7.0, 0.42 * relief, _LIGHT),
        (skew - 0.8 * away, tip - 2.6, 0.55 * person.nose_tip, 2.0, 0.5 * relief, _LIGHT),
        (skew, tip + 3.4, 0.8 * person.nose_wing, 1.7, 0.75, _SHADE),
        (0, -24, 17, 8, 0.16, _LIGHT),
        (0, person.chin_y - 7, 6, 4, 0.16, _LIGHT),
        (-0.62 * w, 13, 7, 5, 0.17, _LIGHT),
        (0.62 * w, 13, 7, 5, 0.17, _LIGHT),
        (away * w, 12, 12, 44, 0.6 * cast + 0.1, _SHADE),
        (-away * w, 12, 6, 40, 0.22, _SHADE),
        (0, person.chin_y + 2, 22, 4, 0.3, _SHADE),
    ]


def _flesh(head: Head) -> list[Spot]:
    """List the spots of cheeks, folds and lips, which move with age and smile."""
    person, mouth = head.person, head.mouth
    smile = max(0.0, head.photo.smile)
    w, x, wing = person.half_width, person.eye_x, person.nose_wing
    fold = 0.05 + 0.36 * person.age + 0.25 * smile
    middle_y = 0.5 * (person.nose_y + mouth.centre_y) + 1
    fold_x = 0.5 * (wing + mouth.half_width) + 3.4
    rosy = 0.15 + 0.55 * person.blush + 0.3 * head.photo.makeup
    sunken = 0.42 * person.hollow
    under = 0.15 + 0.45 * person.age
    below = mouth.centre_y + person.lip_lower + mouth.gap
    # A slanted fold is a chain of three round spots: tilted spots would not be separable.
    slanted = [
        (side * (x + step * lean), y + step * gap, across, down, strength, _SHADE)
        for x, y, lean, gap, across, down, strength in (
            (fold_x, middle_y, 1.9, 4.0, 1.2, 2.4, fold),
            (0.68 * w, 30.0, -2.2, 6.0, 4.5, 5.0, 0.6 * sunken),
        )
        for side in (-1.0, 1.0)
        for step in (-1.0, 0.0, 1.0)
    ]
    return [
        *slanted,
        (-0.6 * w, 21 - 2 * smile, 7.5, 6.5, rosy, _BLUSH),
        (0.6 * w, 21 - 2 * smile, 7.5, 6.5, rosy, _BLUSH),
        (person.nose_skew, person.nose_y - 1, 4.5, 4, 0.5 * rosy, _BLUSH),
        (-x + 0.5, 6.6, 6.5, 1.5, under, _SHADE),
        (x - 0.5, 6.6, 6.5, 1.5, under, _SHADE),
        (0, person.nose_y + 8, 1.5, 2.6, 0.28, _SHADE),
        (mouth.centre_x, below + 2.6, 6.5, 1.6, 0.42, _SHADE),
        (-mouth.half_width - 1.6, mouth.centre_y - mouth.corner_lift, 1.5, 2.0, 0.24, _SHADE),
        (mouth.half_width + 1.6, mouth.centre_y - mouth.corner_lift, 1.5, 2.0, 0.24, _SHADE),
    ]


def _paint_marks(canvas: Canvas, head: Head) -> None:
    """Paint freckles and moles: small, but always in the same places."""
    person = head.person
    if person.freckles > 0.0:
        rng = np.random.default_rng(person.mark_seed)
        count = int(46 * person.freckles)
        places = rng.normal([0.0, 15.0], [14.0, 5.0], size=(count, 2))
        tone = mix(person.skin, (140.0, 78.0, 46.0), 0.5)
        for x, y in head.project(places, lift=1.0):
            canvas.fill(ellipse(x, y, 0.5 * head.unit_px, 0.45 * head.unit_px, count=6), tone)
    for x, y, radius in person.moles:
        canvas.fill(head.project(ellipse(x, y, radius, radius, count=10)), mix(person.skin, (46.0, 26.0, 20.0), 0.75))


def _paint_lines(canvas: Canvas, head: Head) -> None:
    """Paint the wrinkles of forehead and eye corners once age shows."""
    person = head.person
    if person.age < 0.45:
        return
    lines = [
        smooth([(-15 + 2 * n, -20.5 - 4 * n), (0, -21.5 - 4 * n), (15 - 2 * n, -20.5 - 4 * n)], closed=False)
        for n in range(2 + (person.age > 0.6))
    ]
    corner = person.eye_x + person.eye_width + 1.5
    lines += [
        points([(side * corner, 0.35 * slope), (side * (corner + 3.6), slope)])
        for side in (-1.0, 1.0)
        for slope in (-2.2, 0.4, 2.6)
    ]
    placed = [head.project(line) for line in lines]
    canvas.veil_strokes(placed, shadow_of(person.skin), 0.55, 0.75 * person.age)


def nose_shadow(person_skin: Rgb) -> Rgb:
    """Colour of nostrils: the deepest skin shadow."""
    return tint(shadow_of(person_skin), 0.5)


def paint_nose(canvas: Canvas, head: Head) -> None:
    """Paint wings and nostrils; bridge and tip are modelled with the face."""
    person = head.person
    lift = nose_lift(person)
    tip_y, wing, skew = person.nose_y, person.nose_wing, person.nose_skew
    dark = shadow_of(person.skin)
    for side in (-1.0, 1.0):
        edge = smooth(
            [
                (skew + side * (wing - 1.2), tip_y - 4.0),
                (skew + side * wing, tip_y - 0.4),
                (skew + side * (wing - 0.9), tip_y + 2.2),
                (skew + side * (wing - 3.0), tip_y + 2.4),
            ],
            closed=False,
        )
        canvas.veil_strokes([head.project(edge, lift=0.55 * lift)], tint(dark, 0.8), 0.9, 0.62)
        hole = ellipse(
            skew + side * wing * 0.48,
            tip_y + 2.2,
            person.nostril * 1.25,
            0.62 * person.nostril,
            tilt=-0.25 * side,
            count=14,
        )
        canvas.veil(head.project(hole, lift=0.8 * lift), nose_shadow(person.skin), 0.8)
    base = smooth(
        [(skew - wing * 0.3, tip_y + 2.6), (skew, tip_y + 3.5), (skew + wing * 0.3, tip_y + 2.6)], closed=False
    )
    canvas.veil_strokes([head.project(base, lift=0.85 * lift)], tint(dark, 0.8), 0.7, 0.5)
