"""Hair and beards. A style is a handful of lengths; the person's own traits vary them.

Hair has two parts: the back, painted before neck and face, and the cap, painted after.
"""

# ruff: noqa: PLR2004  (the proportions of a drawing are plain numbers)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scanner.world.canvas import Canvas, draw_lines, flood
from scanner.world.curves import Points, ellipse, smooth, vector
from scanner.world.head import Head, jaw_drop, outline
from scanner.world.identity import Beard
from scanner.world.palette import Rgb, mix, tint

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Style:
    """A haircut. Lengths in face units; heights are y, so larger is lower."""

    top: float  # thickness above the skull
    side: float  # thickness beside the head
    side_y: float  # how far down the cap reaches beside the face
    fall: float  # how far hair falls over the forehead away from the parting
    bangs: float  # straight fringe below the hairline
    back_y: float  # how far down the back hair reaches; 0 is none
    curl: float  # size of the bumps of the outer edge
    part: float  # share of the person's parting that shows
    cap: bool = True
    bun: bool = False


STYLES: tuple[Style, ...] = (
    Style(2.0, 0.6, 2, 0, 0, 0, 0.0, 0.0),  # 0 cropped
    Style(0.0, 1.6, 8, 0, 0, 0, 0.3, 0.0, cap=False),  # 1 bald on top
    Style(4.5, 1.6, 6, 9, 0, 0, 0.3, 1.0),  # 2 side parting
    Style(8.5, 1.0, 3, -2, 0, 0, 0.5, 0.4),  # 3 swept up
    Style(7.5, 5.0, 6, 1, 2, 0, 1.6, 0.0),  # 4 short curls
    Style(4.0, 2.5, 10, 2, 11, 0, 0.6, 0.3),  # 5 short fringe
    Style(4.0, 3.0, 40, 20, 0, 66, 0.2, 0.15),  # 6 long, centre parting
    Style(5.0, 3.5, 34, 15, 0, 60, 0.4, 1.0),  # 7 long, side parting
    Style(4.0, 4.0, 32, 2, 15, 38, 0.3, 0.2),  # 8 bob with fringe
    Style(5.5, 4.5, 46, 17, 0, 70, 1.3, 0.6),  # 9 long waves
    Style(2.5, 0.8, 0, 5, 0, 0, 0.2, 0.5, bun=True),  # 10 tied up
    Style(10.0, 9.0, 36, 6, 2, 46, 2.2, 0.3),  # 11 big curls
)


def _bumpy(edge: Points, head: Head, size: float, count: float) -> Points:
    """Push an outer edge in and out along the rays from the middle of the head."""
    if size <= 0:
        return edge
    rng = np.random.default_rng(head.person.hair_seed)
    ray = edge - vector(0.0, -6.0)
    angle = np.arctan2(ray[:, 0], -ray[:, 1])
    waves = np.sin(count * angle + rng.uniform(0, 6.28)) + 0.6 * np.sin(1.7 * count * angle + rng.uniform(0, 6.28))
    outward = ray / np.linalg.norm(ray, axis=1, keepdims=True)
    pushed: Points = edge + outward * (size * waves)[:, None].astype(np.float32)
    return pushed


def _style(head: Head) -> Style:
    return STYLES[head.person.hair_style]


def paint_back_hair(canvas: Canvas, head: Head) -> None:
    """Paint what hangs behind the neck, and a bun."""
    person, style = head.person, _style(head)
    dark = tint(person.hair, 0.74)
    if style.bun:
        bun = ellipse(8 * person.parting, -person.skull - 5, 12 + 3 * person.hair_volume, 10 + 2 * person.hair_volume)
        _paint_strands(canvas, head, head.project_rim(bun), dark, _swirl(head, bun))
    if style.back_y == 0:
        return
    volume = style.side * person.hair_volume
    w, low = person.half_width + volume, style.back_y * (0.75 + 0.5 * person.hair_length)
    flare = 3 + 6 * person.curl
    right = [
        (0.6 * w, -person.skull),
        (w + 1, -8),
        (w + flare * 0.6, 0.5 * low),
        (w + flare, 0.9 * low),
        (0.7 * w, low + 3),
    ]
    left = [(-x, y) for x, y in reversed(right)]
    edge = _bumpy(
        smooth(right + left, closed=True, steps=12), head, style.curl * (0.5 + person.curl), 9 + 6 * person.curl
    )
    roots = np.linspace(-w, w, 14)[:, None]
    falls = np.stack([roots * (1.0, 1.15, 1.2), np.full((14, 3), (-10.0, 0.6 * low, low))], axis=2)
    placed = head.project(falls.reshape(-1, 2), turn=0.1).reshape(14, 3, 2)
    _paint_strands(canvas, head, head.project(edge, turn=0.1), dark, list(placed))


def paint_cap(canvas: Canvas, head: Head) -> None:
    """Paint the hair of crown, forehead and temples over the face."""
    person, style = head.person, _style(head)
    if not style.cap:
        for side in (-1.0, 1.0):
            patch = _bald_side(head, side)
            _paint_strands(canvas, head, head.project_rim(patch), person.hair, [])
        return
    outer, inner = _cap_edges(head)
    whole = np.concatenate([outer, inner])
    # A soft shadow under the fringe sets the hair on the head instead of beside it.
    below = whole + vector(0.0, 2.2)
    canvas.veil(head.project_rim(below), tint(person.skin, 0.5), 0.3, blur=1.6)
    crown = vector(person.parting * style.part * 0.7 * person.half_width, -person.skull + 4)
    strands = _comb(crown, whole[np.linspace(0, len(whole) - 1, 46).astype(int)])
    placed = head.project_rim(strands.reshape(-1, 2)).reshape(strands.shape)
    _paint_strands(canvas, head, head.project_rim(whole), person.hair, list(placed))
    sheen = ellipse(crown[0] - 6.0, -0.82 * person.skull, 0.42 * person.half_width, 4.0, tilt=-0.12)
    canvas.veil(head.project_rim(sheen), mix(person.hair, (255.0, 240.0, 222.0), 0.5), 0.28, blur=3.0)


def _comb(crown: Points, ends: Points) -> NDArray[np.float32]:
    """Comb strands from the crown to the edge: (n, 7, 2) for n ends, each a parabola."""
    reach = ends - crown
    root = crown + vector(0.16, 0.05) * reach
    bend = 0.5 * (root + ends) + vector(0.12, 0.0) * reach - vector(0.0, 5.0)
    t = np.linspace(0.0, 1.0, 7, dtype=np.float32)[:, None]
    parabola: NDArray[np.float32] = (
        (1 - t) ** 2 * root[:, None] + 2 * t * (1 - t) * bend[:, None] + t**2 * ends[:, None]
    )
    return parabola


def _cap_edges(head: Head) -> tuple[Points, Points]:
    """Trace outer edge (left to right) and hairline (right to left) of the cap."""
    person, style = head.person, _style(head)
    tousle = np.random.default_rng(head.photo.tousle_seed).normal(0.0, 0.45, 9)
    volume = person.hair_volume
    w, side = person.half_width, style.side * volume
    reach = style.side_y * (0.8 + 0.4 * person.hair_length)
    peak = person.skull + style.top * volume
    lean = 5.0 * person.parting * style.part
    wide = w + side
    outer = smooth(
        [
            (-wide, reach),
            (-wide - 0.4, -6 + tousle[0]),
            (-0.92 * wide, -0.52 * peak),
            (-0.56 * wide - lean, -0.88 * peak + tousle[1]),
            (-lean, -peak + tousle[2]),
            (0.56 * wide - lean, -0.88 * peak + tousle[3]),
            (0.92 * wide, -0.52 * peak),
            (wide + 0.4, -6 + tousle[4]),
            (wide, reach),
        ],
        closed=False,
        steps=10,
    )
    outer = _bumpy(outer, head, style.curl * (0.5 + person.curl) * volume, 8 + 7 * person.curl)
    part = person.parting * style.part
    t = np.array([0.84, 0.5, 0.17, -0.17, -0.5, -0.84])
    drop = style.fall * (0.6 + 0.7 * person.fringe) * np.abs(t - part) ** 1.2 / (1 + abs(part))
    level = -person.hairline + drop + style.bangs * (0.55 + 0.6 * person.fringe)
    level += 7.0 * t**6 - 3.5 * person.age * t**2 * (style.bangs == 0) + tousle[5:8].repeat(2) * 0.8
    face = 0.93 if style.side_y < 20 else 0.86 - 0.05 * person.curl
    hairline = [(x, y) for x, y in zip(t * 0.93 * w, level, strict=True)]
    right = [(w * (face + 0.04), reach), (w * face, min(reach - 3, 4.0)), (w * face, -11.0)]
    left = [(-x, y) for x, y in reversed(right)]
    return outer, smooth(right + hairline + left, closed=False, steps=4)


def _bald_side(head: Head, side: float) -> Points:
    person = head.person
    w, thick = person.half_width, 1.5 + 1.6 * person.hair_volume
    reach = 4 + 6 * person.hair_length
    edge = smooth(
        [
            (w * 0.93, reach),
            (w * 0.94, -8),
            (w * 0.86, -20 - 6 * person.fringe),
            (w + thick, -14),
            (w + thick, reach - 2),
        ],
        closed=True,
    )
    return edge * vector(side, 1.0)


def _swirl(head: Head, bun: Points) -> list[Points]:
    middle = bun.mean(axis=0)
    return [head.project_rim(middle + (bun[4:18] - middle) * np.float32(share)) for share in (0.35, 0.6, 0.82)]


def _paint_strands(canvas: Canvas, head: Head, shape: Points, rgb: Rgb, strands: list[Points]) -> None:
    """Fill a shape with hair: base colour, lit from the top, with lighter and darker strands."""
    unit = head.unit_px
    light, dark = mix(tint(rgb, 1.14), (255.0, 236.0, 214.0), 0.05), tint(rgb, 0.85)

    def paint(layer: NDArray[np.uint8], origin: Points) -> None:
        flood(layer, rgb)
        draw_lines(layer, [s - origin for s in strands[::2]], dark, max(1, round(1.0 * unit)))
        draw_lines(layer, [s - origin for s in strands[1::2]], light, max(1, round(0.7 * unit)))

    canvas.paint_inside(shape, paint, blur=0.3)


def paint_beard(canvas: Canvas, head: Head) -> None:
    """Paint stubble, beard or moustache; lips are painted over it later."""
    person, photo = head.person, head.photo
    shade = mix(tint(person.hair, 0.8), person.skin, 0.12)
    if person.beard is Beard.NONE:
        return
    strength = person.beard_weight
    depth = {Beard.STUBBLE: 0.25, Beard.FULL: 0.2, Beard.CHIN_STRAP: 0.62}.get(person.beard)
    stubbly = person.beard is Beard.STUBBLE
    if depth is not None:
        alpha = 0.18 + 0.3 * strength if stubbly else 0.72 + 0.25 * strength
        alpha = min(1.0, alpha + 0.12 * photo.stubble)
        canvas.veil(head.project_rim(_jaw_band(head, depth)), shade, alpha, blur=2.2 if stubbly else 1.0)
    if person.beard is Beard.GOATEE:
        low = person.chin_y + 1.5 * strength
        patch = ellipse(
            0.0, 0.5 * (low + head.mouth.centre_y) + 3.5, 7.5 + 4 * strength, 0.5 * (low - head.mouth.centre_y)
        )
        canvas.veil(head.project(patch, turn=0.7), shade, 0.9, blur=1.0)
    if not stubbly:
        _paint_moustache(canvas, head, shade)


def _jaw_band(head: Head, depth: float) -> Points:
    """Trace the beard: the jaw line below, the cheek line above."""
    person = head.person
    edge = jaw_drop(person, head.photo, outline(person))
    jaw = edge[edge[:, 1] > 6.0]
    jaw = jaw[np.argsort(np.arctan2(jaw[:, 0], jaw[:, 1] - 6.0))] * vector(1.0, 1.01)
    w, lip = person.half_width, head.mouth.centre_y - person.lip_upper - 4
    line = lip + depth * 22
    cheek = smooth(
        [
            (0.92 * w, 9),
            (0.78 * w, 16 + 12 * depth),
            (0.5 * w, line - 4),
            (0, line),
            (-0.5 * w, line - 4),
            (-0.78 * w, 16 + 12 * depth),
            (-0.92 * w, 9),
        ],
        closed=False,
    )
    return np.concatenate([jaw, cheek])


def _paint_moustache(canvas: Canvas, head: Head, shade: Rgb) -> None:
    person, mouth = head.person, head.mouth
    y = mouth.centre_y - person.lip_upper - 0.5 * mouth.gap
    thick, wide = 2.4 + 2.6 * person.beard_weight, mouth.half_width * (0.9 + 0.35 * person.fringe)
    right = [(0.0, y - thick), (0.5 * wide, y - thick * 0.9), (wide, y + 1.0), (0.5 * wide, y + 0.4), (0.0, y - 0.4)]
    left = [(-x, v) for x, v in reversed(right[1:-1])]
    canvas.veil(head.project(smooth(right + left, closed=True, steps=4), lift=1.5), shade, 0.92, blur=0.5)
