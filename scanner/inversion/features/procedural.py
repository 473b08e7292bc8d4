"""Images that no camera took: dead leaves over coloured noise, drawn in batches on any device.

Dead leaves: opaque shapes of power-law sizes that hide each other, which gives the edges, the occlusions and about the
spectrum of photographs (Lee, Mumford and Huang 2001, "Occlusion models for natural images").  Coloured noise: a random
field whose amplitude falls as 1/f^a.  Colours walk from leaf to leaf, more in brightness than in hue.

All random numbers come from one numpy generator on the CPU, so an image differs between devices by rounding alone.

    images = draw_images(np.random.default_rng(7), 256, (32, 32), device=torch.device("cpu"))    # (256, 3, 32, 32)
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scanner.errors import UsageError

LEAVES = 40
"""Painted on one image at most.  With twice as many the images take twice as long, and small leaves are texture."""

RADIUS = (0.03, 0.55)
"""Smallest and largest half-width of a leaf, as a share of the shorter side."""

SIDE_MIN = 4

NOISE_SHARE = 0.2
"""Images without any leaf."""


def draw_images(
    rng: np.random.Generator, count: int, shape_px: tuple[int, int], *, device: torch.device, leaves: int = LEAVES
) -> Tensor:
    """Return `count` images, float32 (count, 3, height, width) in 0..1.

    Args:
        rng: decides everything; the images depend on it and on the other arguments alone.
        count: 1 or more.
        shape_px: height and width, each 4 or more.
        device: where they are painted.
        leaves: how many an image has at most.

    Raises:
        UsageError: a size or count that makes no image.
    """
    height, width = shape_px
    if count < 1 or min(height, width) < SIDE_MIN:
        raise UsageError(
            f"procedural images: {count} images of {height}x{width} pixels were asked, at least 1 of {SIDE_MIN}x{SIDE_MIN} can be drawn.\n"
            "Ask for more images, or for a network with a larger input."
        )
    texture = coloured_noise(rng, count, shape_px, device=device)
    painted = _paint(rng, texture, leaves) if leaves else texture
    return _develop(rng, painted)


def coloured_noise(
    rng: np.random.Generator,
    count: int,
    shape_px: tuple[int, int],
    *,
    device: torch.device,
    slopes: tuple[float, float] = (0.8, 2.2),
) -> Tensor:
    """Return random fields with mean 0 and deviation 1, float32 (count, 3, height, width).

    The amplitude falls as 1/f^a, with one `a` an image, uniform between `slopes` (photographs: about 1).  The three
    channels share most of their variation.
    """
    height, width = shape_px
    white = torch.from_numpy(rng.standard_normal((count, 4, height, width), dtype=np.float32)).to(device)
    slope = _to(rng.uniform(*slopes, (count, 1, 1, 1)), device)
    hue = _to(rng.uniform(0.02, 0.3, (count, 1, 1, 1)), device)
    rows = torch.fft.fftfreq(height, device=device)[:, None]
    columns = torch.fft.rfftfreq(width, device=device)[None, :]
    frequency = (rows.square() + columns.square()).sqrt().clamp_min(0.5 / max(height, width))
    fields = torch.fft.irfft2(torch.fft.rfft2(white) * frequency**-slope, s=(height, width))
    fields = fields / fields.flatten(2).std(2)[:, :, None, None].clamp_min(1e-6)
    fields = fields[:, :1] + hue * fields[:, 1:]
    centred: Tensor = fields - fields.mean((1, 2, 3), keepdim=True)
    return centred / centred.flatten(1).std(1)[:, None, None, None].clamp_min(1e-6)


def _paint(rng: np.random.Generator, texture: Tensor, leaves: int) -> Tensor:
    """Return leaves over `texture` (n, 3, h, w): each with its colour, a shade across it, and some of the texture."""
    count, _, height, width = texture.shape
    device = texture.device
    top = _topmost(rng, (count, height, width), leaves, device)
    # Table row 0 is the background: the bare texture; row k the k-th leaf: colour, shade along x and y, texture.
    table = np.zeros((count, leaves + 1, 6), np.float32)
    vivid = rng.exponential(0.3, (count, 1, 1))
    walk = np.cumsum(rng.standard_normal((count, leaves, 1)) + vivid * rng.standard_normal((count, leaves, 3)), axis=1)
    spread = np.sqrt(np.mean(np.square(walk), axis=(1, 2), keepdims=True)) + 1e-6
    table[:, 1:, :3] = walk / spread
    table[:, 1:, 3:5] = rng.standard_normal((count, leaves, 2)) * rng.uniform(0, 1.2, (count, 1, 1))
    table[:, 1:, 5] = rng.exponential(0.3, (count, leaves))
    table[:, 0, 5] = 1.0
    rows = top.long() + torch.arange(count, device=device)[:, None, None] * (leaves + 1)
    chosen = torch.from_numpy(table).to(device).reshape(-1, 6)[rows].permute(0, 3, 1, 2)
    down = torch.linspace(-0.5, 0.5, height, device=device)[:, None]
    across = torch.linspace(-0.5, 0.5, width, device=device)[None, :]
    shade = chosen[:, 3] * across + chosen[:, 4] * down
    return chosen[:, :3] + shade[:, None] + chosen[:, 5:] * texture


def _topmost(rng: np.random.Generator, shape: tuple[int, int, int], leaves: int, device: torch.device) -> Tensor:
    """Return for each pixel the number of the leaf that is seen there, uint8 (n, h, w): 0 where there is none."""
    count, height, width = shape
    side = min(height, width)
    numbers = np.arange(leaves)[None, :]
    painted = np.where(rng.random((count, 1)) < NOISE_SHARE, 0, rng.integers(3, leaves + 1, (count, 1)))
    radius = _power_law(rng, (count, leaves)) * side
    flat = np.exp(rng.uniform(np.log(0.25), 0.0, (count, leaves)))
    angle = rng.uniform(0, np.pi, (count, leaves))
    cosine, sine = np.cos(angle), np.sin(angle)
    long, short = 1 / (radius / np.sqrt(flat)), 1 / (radius * np.sqrt(flat))
    x0, y0 = rng.uniform(0, width, (count, leaves)), rng.uniform(0, height, (count, leaves))
    # A leaf that is not painted lies far outside.
    x0 = np.where(numbers < painted, x0, 1e6)
    ux, uy, vx, vy = (_to(a, device)[..., None] for a in (cosine * long, sine * long, -sine * short, cosine * short))
    x = torch.arange(width, device=device) + 0.5 - _to(x0, device)[..., None]
    y = torch.arange(height, device=device) + 0.5 - _to(y0, device)[..., None]
    along_x, along_y, over_x, over_y = ux * x, uy * y, vx * x, vy * y
    top = torch.zeros(shape, dtype=torch.uint8, device=device)
    for k in range(leaves):
        along = along_x[:, k, None, :] + along_y[:, k, :, None]
        over = over_x[:, k, None, :] + over_y[:, k, :, None]
        if k % 3 == 0:
            inside = torch.maximum(along.abs_(), over.abs_()) < 1
        else:
            inside = along.square_().add_(over.square_()) < 1
        top.masked_fill_(inside, k + 1)
    return top


def _power_law(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return radii between the two of `RADIUS`, density r^-b with one b an image, uniform in 1.2..3."""
    power = 1 - rng.uniform(1.2, 3.0, (shape[0], 1))
    low, high = RADIUS[0] ** power, RADIUS[1] ** power
    return np.asarray((low + rng.random(shape) * (high - low)) ** (1 / power))


def _develop(rng: np.random.Generator, light: Tensor) -> Tensor:
    """Return `light` (n, 3, h, w) of any range as images in 0..1: softened, with a contrast and a tone each."""
    count, device = light.shape[0], light.device
    soft = _to(rng.choice([0.0, 0.08, 0.16, 0.25], (count, 1, 1, 1), p=[0.4, 0.3, 0.2, 0.1]), device)
    light = torch.lerp(light, 0.5 * (light.roll(1, 3) + light.roll(-1, 3)), 2 * soft)
    light = torch.lerp(light, 0.5 * (light.roll(1, 2) + light.roll(-1, 2)), 2 * soft)
    light = light - light.mean((1, 2, 3), keepdim=True)
    # Contrast, tone and colour spread about as much as in small everyday photographs (10th to 90th percentiles).
    contrast = _to(rng.uniform(0.08, 0.36, (count, 1, 1, 1)), device)
    light = light * (contrast / light.flatten(1).std(1)[:, None, None, None].clamp_min(1e-6))
    tone = rng.normal(0.47, 0.13, (count, 1, 1, 1)) + rng.normal(0, 0.04, (count, 3, 1, 1))
    return (light + _to(tone, device)).clamp(0, 1)


def _to(values: NDArray[np.float64], device: torch.device) -> Tensor:
    """Return `values` as float32 on `device`."""
    return torch.from_numpy(values.astype(np.float32)).to(device)
