"""What differs between two pictures of one person: pose, light, expression, camera.

Nothing here depends on who is drawn, so a picture is one `Identity` and one `Nuisance`.

    draw_nuisance(np.random.default_rng(7), hard=1.0)
"""

# ruff: noqa: PLR2004  (the proportions of a drawing are plain numbers)

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from scanner.world.palette import BACKDROP, CLOTH, Rgb, pick


class Cover(IntEnum):
    """What hides a part of the face, beside glasses."""

    NONE = 0
    HAT = 1
    SCARF = 2
    BAR = 3
    HAND = 4
    MASK = 5


@dataclass(frozen=True, slots=True)
class Nuisance:
    """Everything about a picture that is not the person. Angles in radians."""

    # pose of the head; `roll` turns the photo and is undone by alignment
    yaw: float
    pitch: float
    roll: float
    # expression
    smile: float  # -0.4 sulky .. 1 broad
    mouth_open: float  # 0 .. 1
    brow_raise: float  # -1 .. 1
    eye_open: float  # 0 shut .. 1.2 wide
    gaze_x: float
    gaze_y: float
    # what people change from day to day
    makeup: float
    stubble: float
    tousle_seed: int
    glasses: int  # 0 none, 1 round, 2 square, 3 sunglasses
    glasses_rgb: Rgb
    cover: Cover
    cover_rgb: Rgb
    cover_place: tuple[float, float, float]  # three draws in 0..1
    cloth_rgb: Rgb
    # light: direction towards the lamp, strength 0 (flat) .. 1, colour gain
    lamp_x: float
    lamp_y: float
    lamp_strength: float
    lamp_gain: Rgb
    backdrop: tuple[Rgb, Rgb]
    backdrop_kind: int
    # camera
    exposure: float
    contrast: float
    saturation: float
    blur_px: float  # sigma at 112 px
    grain: float  # sigma in grey levels
    coarse: float  # 1 full resolution, 0.5 half
    noise_seed: int
    # error of the five landmarks in an aligned crop: template pixels, log scale, radians
    slip_x_px: float
    slip_y_px: float
    slip_scale: float
    slip_roll: float
    # where the head stands in a wider photo
    place_x: float
    place_y: float
    zoom: float


def draw_nuisance(rng: np.random.Generator, *, hard: float = 1.0) -> Nuisance:
    """Draw the circumstances of one photo.

    Args:
        rng: consumed; a fresh generator per photo makes the photo independent of others.
        hard: 0 is a passport photo in a studio, 1 the everyday mix, above 1 harder still.
    """
    circumstances: dict[str, object] = {}
    for part in (_pose, _expression, _dress, _light, _camera, _framing):
        circumstances |= part(rng, hard)
    return Nuisance(**circumstances)  # type: ignore[arg-type]


def _spread(rng: np.random.Generator, sigma: float, limit: float) -> float:
    return min(max(sigma * float(rng.standard_normal()), -limit), limit)


def _pose(rng: np.random.Generator, hard: float) -> dict[str, object]:
    return {
        "yaw": _spread(rng, 0.19 * hard, 0.42),
        "pitch": _spread(rng, 0.11 * hard, 0.26),
        "roll": _spread(rng, 0.14 * hard, 0.5),
    }


def _expression(rng: np.random.Generator, hard: float) -> dict[str, object]:
    open_wide = rng.random() < 0.25 * hard
    blink = rng.random() < 0.06 * hard
    return {
        "smile": 0.3 + hard * float(rng.uniform(-0.45, 0.7)),
        "mouth_open": float(rng.uniform(0.15, 0.9)) if open_wide else 0.0,
        "brow_raise": _spread(rng, 0.4 * hard, 1.0),
        "eye_open": 0.08 if blink else 1.0 + _spread(rng, 0.11 * hard, 0.25),
        "gaze_x": _spread(rng, 0.35 * hard, 0.8),
        "gaze_y": _spread(rng, 0.18 * hard, 0.4),
    }


def _dress(rng: np.random.Generator, hard: float) -> dict[str, object]:
    odds = hard * np.array([0.06, 0.04, 0.03, 0.025, 0.015])
    cover = int(np.searchsorted(np.cumsum(odds), rng.random(), side="right"))
    glasses_odds = hard * np.array([0.075, 0.075, 0.015])
    glasses = int(np.searchsorted(np.cumsum(glasses_odds), rng.random(), side="right"))
    return {
        "makeup": max(0.0, _spread(rng, 0.35 * hard, 0.8)),
        "stubble": max(0.0, _spread(rng, 0.3 * hard, 0.6)),
        "tousle_seed": int(rng.integers(2**31)),
        "glasses": 0 if glasses == 3 else glasses + 1,
        "glasses_rgb": pick(rng, ((30, 28, 30), (92, 58, 36), (150, 40, 46), (60, 76, 110)), spread=8.0),
        "cover": Cover.NONE if cover == 5 else Cover(cover + 1),
        "cover_rgb": pick(rng, CLOTH, spread=14.0),
        "cover_place": tuple(float(v) for v in rng.random(3)),
        "cloth_rgb": pick(rng, CLOTH, spread=14.0),
    }


def _light(rng: np.random.Generator, hard: float) -> dict[str, object]:
    warm = _spread(rng, 0.075 * hard, 0.17)
    green = _spread(rng, 0.025 * hard, 0.06)
    kind = int(rng.integers(4))
    return {
        "lamp_x": -0.35 + _spread(rng, 0.55 * hard, 1.1),
        "lamp_y": -0.45 + _spread(rng, 0.3 * hard, 0.7),
        "lamp_strength": 0.44 + _spread(rng, 0.2 * hard, 0.4),
        "lamp_gain": (1.0 + warm, 1.0 + green, 1.0 - warm),
        "backdrop": (pick(rng, BACKDROP, spread=16.0), pick(rng, BACKDROP, spread=16.0)),
        "backdrop_kind": kind,
    }


def _camera(rng: np.random.Generator, hard: float) -> dict[str, object]:
    return {
        "exposure": float(np.exp(_spread(rng, 0.13 * hard, 0.3))),
        "contrast": float(np.exp(_spread(rng, 0.11 * hard, 0.25))),
        "saturation": float(np.exp(_spread(rng, 0.14 * hard, 0.4))),
        "blur_px": float(rng.uniform(0.5, 1.5)) * hard if rng.random() < 0.25 else 0.0,
        "grain": float(rng.gamma(1.4, 2.2)) * hard,
        "coarse": float(rng.uniform(0.42, 0.8)) if rng.random() < 0.15 * hard else 1.0,
        "noise_seed": int(rng.integers(2**31)),
    }


def _framing(rng: np.random.Generator, hard: float) -> dict[str, object]:
    return {
        "slip_x_px": _spread(rng, 1.0 * hard, 2.5),
        "slip_y_px": _spread(rng, 1.0 * hard, 2.5),
        "slip_scale": _spread(rng, 0.02 * hard, 0.05),
        "slip_roll": _spread(rng, 0.02 * hard, 0.05),
        "place_x": _spread(rng, 0.05, 0.1),
        "place_y": _spread(rng, 0.03, 0.06),
        "zoom": float(rng.uniform(0.85, 1.15)),
    }
