"""Tiny networks to invert, and a stream of soft images that a tiny inverse can learn in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanner.inversion.features.train import DciPlan
from scanner.networks.network import Network, make_network

SIDE = 8
FAST = DciPlan(steps=120, batch=32, rate=5e-3, alone=0.2)


@dataclass(frozen=True, slots=True)
class SoftStream:
    """Blurred noise: 3x3 random colours, enlarged."""

    seed: int = 0
    side: int = SIDE

    def batch(self, i: int, n: int) -> Tensor:
        """See `Stream.batch`."""
        coarse = np.random.default_rng([self.seed, i]).random((n, 3, 3, 3), np.float32)
        return functional.interpolate(torch.from_numpy(coarse), (self.side, self.side), mode="bilinear")

    def describe(self) -> dict[str, str | int | float]:
        """See `Stream.describe`."""
        return {"kind": "soft", "seed": self.seed}


@dataclass(frozen=True, slots=True)
class NormalLatents:
    """Latents of a tiny generator."""

    size: int

    def batch(self, i: int, n: int) -> Tensor:
        """See `Stream.batch`."""
        return torch.from_numpy(np.random.default_rng([3, i]).standard_normal((n, self.size), np.float32))

    def describe(self) -> dict[str, str | int | float]:
        """See `Stream.describe`."""
        return {"kind": "normal"}


def network_of(module: nn.Module, *, name: str = "tiny", input_shape: tuple[int, ...] = (3, SIDE, SIDE)) -> Network:
    """Return a module as a network that eats images01 or latents."""
    return make_network(name, module, input_shape=input_shape)
