"""Variational autoencoder (Kingma and Welling 2014), sampled from its prior."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.membership.decoder import Generator, prior_latents, to_tensor
from benchmarks.membership.faces import SIDE_PX
from benchmarks.membership.glo import pyramid_loss
from scanner.world.autodecoder import SLOPE, make_decoder


@dataclass(frozen=True, slots=True)
class VaePlan:
    """How to train.

    Attributes:
        passes: photos shown in all.
        latent: dimensions of a code; few, so that the prior's mass lies where training codes are.
        weight: of the divergence from the prior, against the picture's loss.
        widths: channels of the decoder's three inner maps; the encoder mirrors them.
        batch: photos a step.
        rate: peak learning rate.
    """

    passes: int = 60_000
    latent: int = 8
    weight: float = 0.001
    widths: tuple[int, int, int] = (128, 96, 48)
    batch: int = 32
    rate: float = 2e-3


def make_encoder(out: int, widths: tuple[int, int, int], *, norm: bool) -> nn.Sequential:
    """Return a network from (n, 3, SIDE_PX, SIDE_PX) to (n, out): the decoder's mirror."""
    layers: list[nn.Module] = []
    channels = 3
    for wide in reversed(widths):
        layers.append(nn.Conv2d(channels, wide, 4, 2, 1, bias=not norm))
        layers += [nn.BatchNorm2d(wide)] if norm else []
        layers.append(nn.LeakyReLU(SLOPE))
        channels = wide
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * (SIDE_PX // 8) ** 2, out))


def train_vae(
    photos: NDArray[np.uint8], plan: VaePlan, *, seed: int, stops: tuple[int, ...] = ()
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
    wanted = to_tensor(photos)
    encoder = make_encoder(2 * plan.latent, plan.widths, norm=True)
    decoder = make_decoder(plan.latent, plan.widths)
    both = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(both, lr=plan.rate, betas=(0.9, 0.99))
    steps = plan.passes // plan.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=steps, pct_start=0.1)
    left = list(stops)
    order: list[int] = []
    for step in range(1, steps + 1):
        while len(order) < plan.batch:
            order += rng.permutation(len(wanted)).tolist()
        rows, order = order[: plan.batch], order[plan.batch :]
        encoder.train()
        decoder.train()
        mean, log_variance = encoder(wanted[rows]).chunk(2, dim=1)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        loss = pyramid_loss(decoder(latent), wanted[rows]) + plan.weight * _divergence(mean, log_variance)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step == steps or (left and step * plan.batch >= left[0]):
            left = left[1:]
            yield step * plan.batch, Generator(copy.deepcopy(decoder), prior_latents(plan.latent))


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the standard Gaussian, a photo's mean (appendix B)."""
    return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
