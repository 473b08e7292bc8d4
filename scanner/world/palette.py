"""Colours of the drawn people and how to mix them. RGB triples of floats, 0..255."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

Rgb = tuple[float, float, float]

WHITE: Rgb = (255.0, 255.0, 255.0)
SKIN: tuple[Rgb, ...] = (
    (240, 212, 194),
    (234, 196, 168),
    (226, 178, 142),
    (200, 146, 108),
    (160, 108, 76),
    (116, 76, 54),
    (82, 54, 42),
)
HAIR: tuple[Rgb, ...] = (
    (38, 32, 34),
    (58, 42, 36),
    (88, 60, 42),
    (126, 86, 52),
    (166, 122, 70),
    (216, 178, 112),
    (176, 88, 44),
    (142, 56, 40),
)
IRIS: tuple[Rgb, ...] = (
    (70, 44, 28),
    (96, 62, 36),
    (128, 92, 48),
    (98, 112, 62),
    (82, 118, 140),
    (98, 146, 186),
    (120, 130, 136),
)
CLOTH: tuple[Rgb, ...] = (
    (54, 74, 106),
    (142, 62, 58),
    (72, 104, 84),
    (212, 196, 164),
    (62, 58, 66),
    (204, 136, 70),
    (118, 92, 134),
    (230, 230, 226),
    (92, 138, 152),
)
BACKDROP: tuple[Rgb, ...] = (
    (214, 206, 190),
    (168, 190, 198),
    (192, 172, 150),
    (138, 158, 142),
    (106, 122, 146),
    (222, 190, 172),
    (84, 84, 92),
    (232, 226, 214),
    (178, 158, 184),
)


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Blend two colours: share 0 is `first`, 1 is `second`."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + (second[2] - first[2]) * share,
    )


def tint(rgb: Rgb, factor: float) -> Rgb:
    """Darken (factor < 1) or brighten a colour, staying within 0..255."""
    return (min(rgb[0] * factor, 255.0), min(rgb[1] * factor, 255.0), min(rgb[2] * factor, 255.0))


def shadow_of(skin: Rgb) -> Rgb:
    """Skin in shade: darker, and redder, because light that enters skin leaves it red."""
    return (skin[0] * 0.66, skin[1] * 0.53, skin[2] * 0.50)


def along(stops: Sequence[Rgb], place: float) -> Rgb:
    """Read a colour ramp at `place` in 0..1."""
    span = min(max(place, 0.0), 1.0) * (len(stops) - 1)
    left = min(int(span), len(stops) - 2)
    return mix(stops[left], stops[left + 1], span - left)


def pick(rng: np.random.Generator, stops: Sequence[Rgb], *, spread: float) -> Rgb:
    """Pick one colour of a list and vary it, the three channels mostly together."""
    red, green, blue = stops[int(rng.integers(len(stops)))]
    together = spread * rng.standard_normal()
    apart = 0.35 * spread * rng.standard_normal(3)
    varied = (red + together + apart[0], green + together + apart[1], blue + together + apart[2])
    return _bound(varied[0]), _bound(varied[1]), _bound(varied[2])


def _bound(channel: float) -> float:
    return min(max(float(channel), 8.0), 250.0)
