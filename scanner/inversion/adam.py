"""Adam for many small problems at once: every slot has its own moments, its own step count and its own rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
RAMP_UP, RAMP_DOWN = 0.05, 0.25


def adam_step(
    x: Tensor, gradient: Tensor, first: Tensor, second: Tensor, *, step: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the points and moments after one step of Adam (Kingma & Ba 2015, algorithm 1) in every slot.

    Args:
        x: (n, d) points.
        gradient: (n, d) of the loss at `x`.
        first: (n, d) running mean of gradients; zeros before the first step.
        second: (n, d) running mean of their squares; likewise.
        step: (n,) int64, the number of this step in its slot, from 1.
        rate: (n,) step size of each slot.
    """
    first = torch.lerp(first, gradient, 1 - BETA1)
    second = BETA2 * second + (1 - BETA2) * gradient * gradient
    # float64, as torch.optim.Adam computes its bias corrections on the host.
    count = step.to(torch.float64)
    size = (rate / (1 - BETA1**count)).to(x.dtype)[:, None]
    root = (1 - BETA2**count).sqrt().to(x.dtype)[:, None]
    return x - size * first / (second.sqrt() / root + EPSILON), first, second


def ramp(step: Tensor, steps: int) -> Tensor:
    """Return the factor of the rate at each slot's step (from 1) of `steps`: (n,) float64 in 0..1.

    The schedule of the StyleGAN2 projector: linear over the first 5 %, half a cosine over the last 25 %.
    """
    done = (step - 1).to(torch.float64) / max(1, steps)
    down = ((1 - done) / RAMP_DOWN).clamp(0, 1)
    # The projector's first step has rate 0; ours has that of one step later, so that no evaluation is lost.
    up = (step.to(torch.float64) / max(1, steps) / RAMP_UP).clamp(max=1)
    return (0.5 - 0.5 * torch.cos(math.pi * down)) * up
