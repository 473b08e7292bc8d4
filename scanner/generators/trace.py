"""A generator as one traced graph, latent to image, for what takes networks apart."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from scanner.errors import ModelError
from scanner.networks.network import make_network

if TYPE_CHECKING:
    from scanner.generators.generator import Generator
    from scanner.networks.network import Network


class _FromLatents(nn.Module):
    """The one input that a network has."""

    def __init__(self, images: nn.Module) -> None:
        super().__init__()
        self.images = images

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.images(latents)
        return images


def traced(generator: Generator) -> Network | None:
    """Return the generator as a Network of input shape (size,) on its device, or None where it cannot be one.

    It cannot: TorchScript, a generator with classes, and one whose code branches on its tensors.
    """
    if generator.law.classes is not None or isinstance(generator.module.inner, torch.jit.ScriptModule):
        return None
    module = _FromLatents(copy.deepcopy(generator.module).to("cpu"))
    try:
        network = make_network(
            generator.name, module, input_shape=(generator.law.size,), fingerprint=generator.fingerprint
        )
    except ModelError:
        return None
    return network.to(generator.device)
