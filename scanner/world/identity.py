"""Who a drawn person is: the traits that stay the same in every picture.

Lengths are in face units: one unit is one pixel of the 112 x 112 aligned crop of an
average face. The eye line is y = 0, the midline x = 0, y grows downwards.

    draw_identity(world_seed=1, number=42)
"""

# ruff: noqa: PLR2004  (the proportions of a drawing are plain numbers)

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from scanner.world.palette import HAIR, IRIS, SKIN, Rgb, along, mix, pick, tint

_STREAM = 0x1D  # keeps identity draws apart from the photo draws of the same numbers


class Beard(IntEnum):
    """What grows on a drawn face."""

    NONE = 0
    STUBBLE = 1
    FULL = 2
    MOUSTACHE = 3
    GOATEE = 4
    CHIN_STRAP = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """A drawn person. Lengths in face units, angles in radians, colours RGB 0..255."""

    # head
    half_width: float
    skull: float  # height of the crown above the eye line
    cheek: float  # the next three are parts of half_width
    jaw: float
    chin: float
    jaw_y: float
    chin_y: float
    ear_size: float
    ear_y: float
    ear_out: float
    # skin
    skin: Rgb
    blush: float
    hollow: float
    age: float  # 0 young, 1 lined
    freckles: float
    moles: tuple[tuple[float, float, float], ...]  # (x, y, radius)
    mark_seed: int
    # eyes
    eye_x: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    eye_peak: float
    hood: float
    socket: float
    iris: Rgb
    iris_radius: float
    lashes: float
    # brows
    brow_y: float
    brow_gap: float
    brow_length: float
    brow_weight: float
    brow_arch: float
    brow_tilt: float
    brow: Rgb
    brow_uneven: float
    # nose
    nose_y: float
    nose_wing: float
    nose_bridge: float
    nose_tip: float
    nose_relief: float
    nose_skew: float
    nostril: float
    # mouth
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    cupid_bow: float
    mouth_curve: float
    mouth_skew: float
    lips: Rgb
    # hair
    hair_style: int
    hair: Rgb
    hair_seed: int
    hairline: float
    hair_volume: float
    hair_length: float
    parting: float
    fringe: float
    curl: float
    beard: Beard
    beard_weight: float


def draw_identity(world_seed: int, number: int) -> Identity:
    """Draw person `number` of a world. Same numbers, same person; worlds share nobody."""
    rng = np.random.default_rng([world_seed, number, _STREAM])
    womanly = float(rng.random())
    tone = float(rng.beta(1.2, 1.3))
    age = float(rng.beta(1.3, 2.2))
    traits = _bones(rng, womanly) | _eyes(rng, womanly) | _nose_and_mouth(rng, womanly)
    skin = _skin(rng, tone)
    traits |= _hair(rng, womanly, tone, age)
    traits |= {
        "skin": skin,
        "lips": _lips(rng, skin, womanly),
        "age": age,
        "blush": float(rng.uniform(0.0, 1.0)),
        "hollow": float(rng.uniform(0.0, 1.0)),
        "freckles": float(rng.uniform(0.4, 1.0)) if rng.random() < 0.28 * (1 - tone) + 0.02 else 0.0,
        "moles": _moles(rng),
        "mark_seed": int(rng.integers(2**31)),
    }
    return Identity(**traits)  # type: ignore[arg-type]


def _around(rng: np.random.Generator, centre: float, spread: float) -> float:
    """Draw near `centre`, never further than 2.3 spreads: nobody is a monster."""
    return centre + spread * min(max(float(rng.standard_normal()), -2.3), 2.3)


def _bones(rng: np.random.Generator, womanly: float) -> dict[str, object]:
    width = _around(rng, 39.0, 1.9)
    return {
        "half_width": width,
        "skull": _around(rng, 49.0, 2.2),
        "cheek": _around(rng, 0.955, 0.025),
        "jaw": _around(rng, 0.79 - 0.05 * womanly, 0.05),
        "chin": _around(rng, 0.27 - 0.04 * womanly, 0.05),
        "jaw_y": _around(rng, 37.0, 2.4),
        "chin_y": _around(rng, 57.0 - 1.5 * womanly, 2.2),
        "ear_size": _around(rng, 9.0, 1.2),
        "ear_y": _around(rng, 6.0, 1.8),
        "ear_out": _around(rng, 3.6, 1.1),
    }


def _eyes(rng: np.random.Generator, womanly: float) -> dict[str, object]:
    return {
        "eye_x": _around(rng, 17.6, 1.2),
        "eye_width": _around(rng, 8.5, 0.75),
        "eye_height": _around(rng, 4.1 + 0.6 * womanly, 0.6),
        "eye_tilt": _around(rng, 0.05, 0.075),
        "eye_peak": _around(rng, 0.0, 0.16),
        "hood": float(rng.uniform(0.0, 1.0)),
        "socket": float(rng.uniform(0.15, 1.0)),
        "iris": pick(rng, IRIS, spread=14.0),
        "iris_radius": _around(rng, 4.1, 0.25),
        "lashes": float(rng.uniform(0.1, 0.6)) + 0.4 * womanly,
        "brow_y": _around(rng, -10.8, 1.2),
        "brow_gap": _around(rng, 7.2, 1.5),
        "brow_length": _around(rng, 17.0, 1.6),
        "brow_weight": max(0.8, _around(rng, 2.5 - 0.8 * womanly, 0.6)),
        "brow_arch": _around(rng, 2.0 + 0.6 * womanly, 1.0),
        "brow_tilt": _around(rng, -0.03, 0.08),
        "brow_uneven": _around(rng, 0.0, 0.6),
    }


def _nose_and_mouth(rng: np.random.Generator, womanly: float) -> dict[str, object]:
    nose_y = _around(rng, 20.5, 1.7)
    return {
        "nose_y": nose_y,
        "nose_wing": _around(rng, 7.6 - 0.8 * womanly, 1.1),
        "nose_bridge": _around(rng, 3.0, 0.55),
        "nose_tip": _around(rng, 4.0, 0.6),
        "nose_relief": float(rng.uniform(0.35, 1.0)),
        "nose_skew": _around(rng, 0.0, 0.55),
        "nostril": _around(rng, 1.5, 0.28),
        "mouth_y": max(_around(rng, 39.6, 1.5), nose_y + 13.5),
        "mouth_width": _around(rng, 13.8, 1.5),
        "lip_upper": _around(rng, 2.5 + 0.4 * womanly, 0.6),
        "lip_lower": _around(rng, 3.6 + 0.5 * womanly, 0.75),
        "cupid_bow": float(rng.uniform(0.1, 1.5)),
        "mouth_curve": _around(rng, 1.15, 0.65),
        "mouth_skew": _around(rng, 0.0, 0.45),
    }


def _skin(rng: np.random.Generator, tone: float) -> Rgb:
    warmth = rng.standard_normal() * np.array([1.5, 3.0, 6.0])
    red, green, blue = np.clip(np.asarray(along(SKIN, tone)) + warmth, 20, 250)
    return float(red), float(green), float(blue)


def _lips(rng: np.random.Generator, skin: Rgb, womanly: float) -> Rgb:
    painted = womanly > 0.55 and rng.random() < 0.35
    rouge: Rgb = (188.0, 52.0, 70.0) if rng.random() < 0.6 else (150.0, 60.0, 96.0)
    natural = mix(tint(skin, 0.82), (186.0, 84.0, 88.0), float(rng.uniform(0.2, 0.55)))
    return mix(natural, rouge, float(rng.uniform(0.35, 0.8)) if painted else 0.0)


def _moles(rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    count = int(np.searchsorted((0.5, 0.78, 0.93), rng.random()))
    spots = rng.uniform([-1.0, 8.0, 0.6], [1.0, 46.0, 1.25], size=(count, 3))
    # The face narrows downwards, and moles stay on it.
    return tuple((float(x * (31.0 - 0.42 * y)), float(y), float(radius)) for x, y, radius in spots)


def _hair(rng: np.random.Generator, womanly: float, tone: float, age: float) -> dict[str, object]:
    # Styles 0-5 are short, 6-11 long; see hair.py for what each looks like.
    style = int(rng.integers(6, 12)) if rng.random() < womanly * 0.9 + 0.05 else int(rng.integers(6))
    hair = pick(rng, HAIR[:3] if tone > 0.62 and rng.random() < 0.9 else HAIR, spread=9.0)
    grey = age > 0.5 and rng.random() < 0.6
    hair = mix(hair, (186.0, 184.0, 182.0), float(rng.uniform(0.35, 0.95)) if grey else 0.0)
    beard = Beard(int(rng.integers(1, len(Beard)))) if womanly < 0.5 and rng.random() < 0.5 else Beard.NONE
    return {
        "hair_style": style,
        "hair": hair,
        "hair_seed": int(rng.integers(2**31)),
        "hairline": _around(rng, 31.5, 1.9),
        "hair_volume": float(rng.uniform(0.6, 1.4)),
        "hair_length": float(rng.uniform(0.0, 1.0)),
        "parting": float(rng.uniform(-0.75, 0.75)),
        "fringe": float(rng.uniform(0.0, 1.0)),
        "curl": float(rng.uniform(0.0, 1.0)),
        "brow": mix(tint(hair, 0.72), (58.0, 42.0, 34.0), float(rng.uniform(0.15, 0.7))),
        "beard": beard,
        "beard_weight": float(rng.uniform(0.35, 1.0)),
    }
