"""Simple changes of images that keep them images: flip, crop and scale, colour, cut-mix.

Each takes and returns float32 (n, 3, h, w) in 0..1 and draws from a numpy generator on the CPU, so that a batch depends
on that generator alone and not on the device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def augment(rng: np.random.Generator, images: Tensor, *, crop: float = 0.5, mix: float = 0.15) -> Tensor:
    """Return every change at once: flipped, cropped, coloured, some with a piece of another one.

    Args:
        rng: decides everything.
        images: float32 (n, 3, h, w) in 0..1.
        crop: the smallest share of the sides that a crop may keep, in (0, 1].
        mix: share of images that get a piece of another one.

    Returns:
        Same shape, on the same device, in 0..1.
    """
    return cut_mix(rng, colour(rng, crop_and_flip(rng, images, smallest=crop)), share=mix)


def crop_and_flip(rng: np.random.Generator, images: Tensor, *, smallest: float) -> Tensor:
    """Return crops scaled to the old size, half of them mirrored; a crop keeps `smallest` to 1 of both sides."""
    count = images.shape[0]
    scale = rng.uniform(smallest, 1.0, count)
    mirror = 2.0 * rng.integers(0, 2, count) - 1
    places = np.zeros((count, 2, 3), np.float32)
    places[:, 0, 0], places[:, 1, 1] = scale * mirror, scale
    places[:, :, 2] = rng.uniform(-1, 1, (count, 2)) * (1 - scale)[:, None]
    grid = functional.affine_grid(torch.from_numpy(places).to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def colour(rng: np.random.Generator, images: Tensor, *, strength: float = 0.3) -> Tensor:
    """Return images with other contrast, brightness and saturation, and half of them unchanged in colour balance."""
    count = images.shape[0]
    contrast, saturation = (_each(rng.uniform(1 - strength, 1 + strength, count), images) for _ in range(2))
    shift = _each(rng.uniform(-0.4, 0.4, count) * strength, images)
    tint = rng.uniform(-0.3, 0.3, (count, 3)) * strength * rng.integers(0, 2, (count, 1))
    grey = images.mean(1, keepdim=True)
    vivid = grey + (images - grey) * saturation
    middle = vivid.mean((1, 2, 3), keepdim=True)
    balance = torch.from_numpy(tint.astype(np.float32)).to(images.device)[:, :, None, None]
    return ((vivid - middle) * contrast + middle + shift + balance).clamp(0, 1)


def cut_mix(rng: np.random.Generator, images: Tensor, *, share: float) -> Tensor:
    """Return images of which about `share` have a rectangle of the next image of the batch in its own place."""
    count, _, height, width = images.shape
    side = np.sqrt(rng.uniform(0.1, 0.6, count)) * (rng.random(count) < share)
    top, left = rng.random(count) * (1 - side), rng.random(count) * (1 - side)
    rows = (np.arange(height) + 0.5)[None, :] / height
    columns = (np.arange(width) + 0.5)[None, :] / width
    inside_rows = (rows >= top[:, None]) & (rows < (top + side)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + side)[:, None])
    piece = torch.from_numpy(inside_rows[:, None, :, None] & inside_columns[:, None, None, :]).to(images.device)
    return torch.where(piece, images.roll(1, 0), images)


def _each(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], like: Tensor) -> Tensor:
    """Return one value an image as float32 (n, 1, 1, 1) on the device of `like`."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device)[:, None, None, None]
