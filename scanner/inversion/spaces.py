"""Which latents are searched: the generator's own (z), its mapping network's output (w), one of these per layer (w+).

A space knows where a restart begins, how its points become images, and how far a point is from what the law draws.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from scanner.errors import UsageError
from scanner.generators.generator import Generator
from scanner.generators.latents import LatentLaw
from scanner.inversion.plan import RESTARTS_MAX, SpaceName

STARTS_FROM: Final = 1 << 40
"""Restarts begin at draws from this number on: far beyond every sample, so that no restart begins at the very latent
of a sample of the same seed."""
MEAN_OF: Final = 4096
"""Latents whose w give the mean and the spread of w (the StyleGAN2 projector takes 10 000)."""
_PER_LAYER_AXES: Final = 3
_BATCH: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Points of one space.

    Attributes:
        name: "z", "w" or "w+".
        shape: of a point: (size,), or (layers, size) for w+.
        law: of z.
        module: points (n, *shape), and (n,) labels where the generator has classes, to images01 that are not clipped.
        to_w: z and labels to w, without gradients; None in z.
        mean, spread: (1, *shape) of w over the law's draws; 0 and 1 in z.
        is_given_labels: whether `module` takes labels.
    """

    name: SpaceName
    shape: tuple[int, ...]
    law: LatentLaw
    module: nn.Module
    to_w: Callable[[Tensor, Tensor], Tensor] | None
    mean: Tensor
    spread: Tensor
    is_given_labels: bool

    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """Return unclipped images01 (n, 3, h, w) float32; `labels` (n,) int64 are left out where nobody takes them."""
        found: Tensor = self.module(points, labels) if self.is_given_labels else self.module(points)
        return found.float()

    def starts(self, seed: int, numbers: list[int], restarts: list[int]) -> tuple[Tensor, Tensor]:
        """Return (n, *shape) points and (n,) int64 labels where the given restarts of the given images begin.

        Each depends on the seed, the image's number and the restart's alone.  In w the first restart begins at the
        mean, as projectors do.
        """
        rows = [
            self.law.draw(seed, STARTS_FROM + n * RESTARTS_MAX + r, 1) for n, r in zip(numbers, restarts, strict=True)
        ]
        device = self.mean.device
        z = torch.stack([torch.from_numpy(row.values[0]) for row in rows]).to(device)
        labels = torch.tensor([0 if row.labels is None else int(row.labels[0]) for row in rows], device=device)
        points = self.from_z(z, labels)
        if self.name == "z":
            return points, labels
        first = torch.tensor([restart == 0 for restart in restarts], device=device)
        return torch.where(first.reshape(-1, *[1] * len(self.shape)), self.mean, points), labels

    def from_z(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the points of this space that belong to latents (n, size)."""
        if self.to_w is None:
            return z
        w = self.to_w(z, labels)
        return w[:, 0] if self.name == "w" and w.dim() == _PER_LAYER_AXES else w

    def prior(self, points: Tensor) -> Tensor:
        """Return (n,): how unlikely points are; 0 for the likeliest.

        For normal laws and in w half the mean square of the standardised numbers (the negative logarithm of the density per
        number); for bounded laws the mean square of what lies beyond the bounds.
        """
        bound = None if self.name != "z" else {"uniform": 1.0, "truncated": self.law.truncation}.get(self.law.law)
        if bound is not None:
            return (points.abs() - bound).clamp(min=0).square().flatten(1).mean(1)
        return ((points - self.mean) / self.spread).square().flatten(1).mean(1) / 2


def open_space(generator: Generator, name: SpaceName, *, channels_last: bool = False, compiled: bool = False) -> Space:
    """Return a space of a generator.

    Args:
        generator: see `scanner.generators`.
        name: "z", "w" or "w+".
        channels_last: lay a copy of the weights out with the channels last; the generator itself stays as it is.
        compiled: pass the generator through torch.compile (needs a compiler; minutes at first).

    Raises:
        UsageError: no gradient reaches the latents, or the generator has no such space; says what to do.
    """
    if not generator.differentiable:
        raise UsageError(
            f"No gradient reaches the latents of {generator.name}, so they cannot be searched for. Latent inversion needs the "
            "generator as .pt2, TorchScript or safetensors with a factory; an ONNX file serves for sampling only."
        )
    if name != "z" and generator.mapping is None:
        raise UsageError(
            f'{generator.name} has no w space: it was opened without a mapping network. Name one (mapping = "mapping.pt2" in '
            "its description), or search in z."
        )
    module: nn.Module = generator.unclipped if name == "z" else generator.unclipped_synthesis
    if channels_last:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch.export's own, about its pytrees
            module = copy.deepcopy(module)
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        module = torch.compile(module, dynamic=False)  # type: ignore[assignment]
    size, device = generator.law.size, generator.device
    takes_labels = name == "z" and generator.law.classes is not None
    if name == "z":
        zero = torch.zeros(1, size, device=device)
        return Space("z", (size,), generator.law, module, None, zero, torch.ones_like(zero), takes_labels)
    to_w = _mapper(generator)
    ws = _draw_w(generator, to_w)
    has_layers = ws.dim() == _PER_LAYER_AXES
    if name == "w+" and not has_layers:
        raise UsageError(
            f"The mapping network of {generator.name} gives one w for all layers, {tuple(ws.shape[1:])}, so there is no w+. "
            "Export it so that it gives (n, layers, size) and the generator takes that, or search in w."
        )
    if name == "w" and has_layers:
        module = _SameForAllLayers(module, ws.shape[1])
        ws = ws[:, 0]
    mean, spread = ws.mean(0, keepdim=True), ws.std(0, keepdim=True).clamp(min=1e-6)
    return Space(name, tuple(ws.shape[1:]), generator.law, module, to_w, mean, spread, is_given_labels=False)


class _SameForAllLayers(nn.Module):
    """(n, w) to images by way of (n, layers, w)."""

    def __init__(self, module: nn.Module, layers: int) -> None:
        super().__init__()
        self.module, self.layers = module, layers

    def forward(self, w: Tensor) -> Tensor:
        images: Tensor = self.module(w[:, None].expand(-1, self.layers, -1))
        return images


def _mapper(generator: Generator) -> Callable[[Tensor, Tensor], Tensor]:
    """Return z (n, size) and labels (n,) to w, with the conventions that the network wants them in."""
    mapping, conventions, classes = generator.mapping, generator.module.conventions, generator.law.classes
    assert mapping is not None

    @torch.no_grad()
    def to_w(z: Tensor, labels: Tensor) -> Tensor:
        given: list[Tensor] = [z if conventions.latent_shape is None else z.reshape(-1, *conventions.latent_shape)]
        if classes is not None:
            one_hot = conventions.labels == "one-hot"
            given.append(nn.functional.one_hot(labels, classes).float() if one_hot else labels)
        w: Tensor = mapping(*given)
        return w

    return to_w


def _draw_w(generator: Generator, to_w: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the w of `MEAN_OF` draws of the law (seed 0)."""
    drawn = generator.law.draw(0, 0, MEAN_OF)
    z = torch.from_numpy(drawn.values).to(generator.device)
    labels = torch.zeros(MEAN_OF, dtype=torch.int64) if drawn.labels is None else torch.from_numpy(drawn.labels)
    labels = labels.to(generator.device)
    batch = _BATCH if generator.batch_max is None else generator.batch_max
    return torch.cat([to_w(z[at : at + batch], labels[at : at + batch]) for at in range(0, MEAN_OF, batch)])
