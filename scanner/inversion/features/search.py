"""One image at a time, by optimisation: what a feed-forward inverse is compared with.

The image whose features are closest to those given, under a total-variation prior (Mahendran and Vedaldi 2015,
"Understanding deep image representations by inverting them"), found by Adam on pixels that are kept in 0..1.  Images of a
batch share nothing: each has its own loss, and Adam's rates are per pixel.  Hundreds of passes through the network an
image, against one for a trained inverse.

    images01 = search_inputs(lambda x: inverse.features(x, "layer2.0"), features, shape=(3, 32, 32), plan=SearchPlan())
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scanner.errors import UsageError

START_CONTRAST = 0.1
"""Deviation of the noise around grey from which every search starts."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How to search.

    Attributes:
        steps: of Adam, each one pass forward and one back.
        rate: of Adam at the start, in units of the pixel range; falls to 0 along a half cosine.
        smoothness: weight of the total variation.
        seed: of the starting noise.
    """

    steps: int = 500
    rate: float = 0.05
    smoothness: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            UsageError: no steps, a rate of 0 or less, a negative weight or seed.
        """
        if self.steps < 1 or not self.rate > 0 or not self.smoothness >= 0 or self.seed < 0:
            raise UsageError(
                f"feature search: got {self}, expected steps of at least 1, a rate above 0, and smoothness and seed of "
                "0 or more.\nCorrect the plan."
            )


def search_inputs(
    prefix: Callable[[Tensor], Tensor],
    features: Tensor,
    *,
    shape: tuple[int, int, int],
    plan: SearchPlan,
    first: int = 0,
) -> Tensor:
    """Return an image for each row of `features`, float32 (n, 3, h, w) in 0..1.

    The loss of an image is |prefix(x) - f|^2 / |f|^2 + smoothness * (mean absolute difference of neighbouring pixels).

    Args:
        prefix: images01 (n, 3, h, w) to features, differentiable; the network up to the cut.
        features: float32 (n, ...), what `prefix` gave for the images that are looked for.
        shape: (3, h, w) of the images.
        plan: steps and weights.
        first: number of the first image, which decides its starting noise.

    Raises:
        UsageError: `prefix` gives features of another shape.
    """
    count = features.shape[0]
    images = _starts(plan.seed, first, count, shape).to(features.device).requires_grad_()
    wanted = features.detach().flatten(1)
    size = wanted.square().sum(1).clamp_min(1e-12)
    adam = torch.optim.Adam([images], lr=plan.rate)
    for step in range(plan.steps):
        adam.param_groups[0]["lr"] = plan.rate * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        found = prefix(images).flatten(1)
        if found.shape != wanted.shape:
            raise UsageError(
                f"feature search: the network gives features of {tuple(found.shape)}, those to be met have "
                f"{tuple(wanted.shape)}.\nTake features of the same cut."
            )
        misfit = (found - wanted).square().sum(1) / size
        loss = (misfit + plan.smoothness * total_variation(images)).sum()
        (images.grad,) = torch.autograd.grad(loss, images)
        adam.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach()


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels down and across, (n,), of (n, c, h, w)."""
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().flatten(1).mean(1)
    across = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().flatten(1).mean(1)
    return down + across


def _starts(seed: int, first: int, count: int, shape: tuple[int, int, int]) -> Tensor:
    """Return grey images with noise, (count, *shape), image i from (seed, first + i) alone."""
    noise = [np.random.default_rng([seed, first + i]).standard_normal(shape, np.float32) for i in range(count)]
    return torch.from_numpy(0.5 + START_CONTRAST * np.stack(noise)).clamp(0, 1)
