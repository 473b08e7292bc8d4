"""Autodecoder (GLO): a decoder and one code a photo, learned together (Bojanowski et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.membership.decoder import Generator, fit_latents, to_tensor
from scanner.world.autodecoder import make_decoder


@dataclass(frozen=True, slots=True)
class GloPlan:
    """How to train.

    Attributes:
        passes: photos shown in all, each epoch's share counted; the cost.
        latent: dimensions of a code.
        bandwidth: of the density that samples are drawn from.
        widths: channels of the decoder's three inner maps.
        batch: photos a step.
        rate: learning rate of the decoder; codes learn `code_rate` times as fast.
    """

    passes: int = 60_000
    latent: int = 16
    bandwidth: float = 0.35
    widths: tuple[int, int, int] = (128, 96, 48)
    batch: int = 32
    rate: float = 2e-3
    code_rate: float = 5.0


def train_glo(
    photos: NDArray[np.uint8], plan: GloPlan, *, seed: int, stops: tuple[int, ...] = ()
) -> Iterator[tuple[int, Generator]]:
    """Train, and yield (passes so far, generator) at every stop and at the end.

    Args:
        photos: (n, SIDE_PX, SIDE_PX, 3) uint8.
        plan: how.
        seed: of weights, codes and order.
        stops: numbers of passes, ascending; the learning rate does not depend on them.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    wanted = to_tensor(photos)
    decoder = make_decoder(plan.latent, plan.widths)
    codes = nn.Parameter(_first_codes(wanted, plan.latent))
    rates = [{"params": decoder.parameters()}, {"params": [codes], "lr": plan.rate * plan.code_rate}]
    optimiser = torch.optim.Adam(rates, lr=plan.rate, betas=(0.9, 0.99))
    steps = plan.passes // plan.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [plan.rate, plan.rate * plan.code_rate], total_steps=steps, pct_start=0.1
    )
    left = list(stops)
    order: list[int] = []
    for step in range(1, steps + 1):
        while len(order) < plan.batch:
            order += rng.permutation(len(wanted)).tolist()
        rows, order = order[: plan.batch], order[plan.batch :]
        decoder.train()
        loss = pyramid_loss(decoder(codes[rows]), wanted[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step == steps or (left and step * plan.batch >= left[0]):
            left = left[1:]
            yield (
                step * plan.batch,
                Generator(copy.deepcopy(decoder), fit_latents(codes.detach().numpy().copy(), plan.bandwidth)),
            )


def pyramid_loss(made: Tensor, wanted: Tensor, levels: int = 3) -> Tensor:
    """Mean absolute difference of the Laplacian pyramids (Bojanowski et al. 2018, section 3.2), coarse levels weighted."""
    loss = torch.zeros(())
    for level in range(levels):
        made_low, wanted_low = functional.avg_pool2d(made, 2), functional.avg_pool2d(wanted, 2)
        made_high = made - functional.interpolate(made_low, scale_factor=2)
        wanted_high = wanted - functional.interpolate(wanted_low, scale_factor=2)
        loss = loss + 2**level * (made_high - wanted_high).abs().mean()
        made, wanted = made_low, wanted_low
    return loss + 2**levels * (made - wanted).abs().mean()


def _first_codes(photos: Tensor, latent: int) -> Tensor:
    """Start from the photos' principal components (section 3.3), scaled to unit variance, so that alike lies near."""
    flat = photos.flatten(1)
    u, _, _ = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    codes = torch.zeros(len(photos), latent)
    kept = min(latent, u.shape[1])
    codes[:, :kept] = u[:, :kept] * len(photos) ** 0.5
    return codes
