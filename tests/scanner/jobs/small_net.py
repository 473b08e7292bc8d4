"""A residual network of 8x8 pixels as a .safetensors file with its description, for the tests of inverse networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanner.images import encode_png
from scanner.networks.tensors import write_tensors
from scanner.networks.tiny import tiny_resnet

SIDE = 8


def write_network(folder: Path, *, seed: int = 0) -> Path:
    """Write net.safetensors and net.toml; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "net.safetensors", tiny_resnet(seed).state_dict())
    path = folder / "net.toml"
    path.write_text(
        '[network]\nweights = "net.safetensors"\nfactory = "scanner.networks.tiny:tiny_resnet"\nname = "small"\n'
        f"[input]\nsize = [{SIDE}, {SIDE}]\nscale = [0.00392156862745098, 0.00392156862745098, 0.00392156862745098]\n"
    )
    return path


def write_photos(folder: Path, count: int) -> Path:
    """Write soft pictures as PERSON_NUMBER.png, two a person."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = soft_picture(number)
        (folder / f"p{number // 2}_{number:02d}.png").write_bytes(encode_png(picture))
    return folder


def soft_picture(number: int) -> NDArray[np.uint8]:
    """Return 8x8 pixels that change slowly: a plane of colour with a slope."""
    rng = np.random.default_rng([7, number])
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    slopes = rng.uniform(-0.4, 0.4, (2, 3))
    light = rng.uniform(0.3, 0.7, 3) + (y - 0.5)[..., None] * slopes[0] + (x - 0.5)[..., None] * slopes[1]
    return np.asarray(np.clip(255 * light, 0, 255), np.uint8)
