"""DCGAN (Radford et al. 2016) with the hinge loss, spectral norm and a running average of the generator's weights.

Spectral norm: Miyato et al. 2018.  Without it the discriminator of so few photos wins within a minute and the
generator learns nothing more.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.membership.decoder import Generator, prior_latents, to_tensor
from benchmarks.membership.vae import make_encoder
from scanner.world.autodecoder import make_decoder


@dataclass(frozen=True, slots=True)
class DcganPlan:
    """How to train.

    Attributes:
        passes: photos shown to the discriminator in all.
        latent: dimensions.
        widths: channels of the generator's three inner maps; the discriminator mirrors them.
        batch: photos a step.
        rate: learning rate of the discriminator; the generator's is half of it.
        average: share of the running average kept each step.
    """

    passes: int = 100_000
    latent: int = 16
    widths: tuple[int, int, int] = (96, 64, 32)
    batch: int = 16
    rate: float = 8e-4
    average: float = 0.995


def train_dcgan(
    photos: NDArray[np.uint8], plan: DcganPlan, *, seed: int, stops: tuple[int, ...] = ()
) -> Iterator[tuple[int, Generator]]:
    """Train, and yield (passes so far, generator) at every stop and at the end.

    Args:
        photos: (n, SIDE_PX, SIDE_PX, 3) uint8.
        plan: how.
        seed: of weights, noise and order.
        stops: numbers of passes, ascending.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    real = to_tensor(photos)
    decoder = make_decoder(plan.latent, plan.widths)
    kept = copy.deepcopy(decoder)
    judge = make_encoder(1, plan.widths, norm=False)
    for part in judge:
        if isinstance(part, nn.Conv2d | nn.Linear):
            spectral_norm(part)
    for_judge = torch.optim.Adam(judge.parameters(), lr=plan.rate, betas=(0.5, 0.99))
    for_decoder = torch.optim.Adam(decoder.parameters(), lr=plan.rate / 2, betas=(0.5, 0.99))
    left = list(stops)
    steps = plan.passes // plan.batch
    for step in range(1, steps + 1):
        rows = rng.integers(len(real), size=plan.batch)
        made = decoder(torch.randn(plan.batch, plan.latent))
        loss = torch.relu(1 - judge(real[rows])).mean() + torch.relu(1 + judge(made.detach())).mean()
        for_judge.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for_judge.step()
        judge.requires_grad_(requires_grad=False)
        loss = -judge(made).mean()
        for_decoder.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for_decoder.step()
        judge.requires_grad_(requires_grad=True)
        _average(kept, decoder, plan.average)
        if step == steps or (left and step * plan.batch >= left[0]):
            left = left[1:]
            yield step * plan.batch, Generator(copy.deepcopy(kept), prior_latents(plan.latent))


def _average(kept: nn.Module, now: nn.Module, share: float) -> None:
    """Move the running average towards the weights of now; statistics of batches are taken over as they are."""
    with torch.no_grad():
        for old, new in zip(kept.parameters(), now.parameters(), strict=True):
            old.lerp_(new, 1 - share)
        for old, new in zip(kept.buffers(), now.buffers(), strict=True):
            old.copy_(new)
