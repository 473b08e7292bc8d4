"""Generators of a few pixels for the tests of this folder, made on the spot."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scanner.generators.generator import Conventions, Generator, ToImages
from scanner.generators.latents import LatentLaw

SIDE = 8


class Affine(nn.Module):
    """z to 0.5 + 0.1 * basis @ z: an image for which the best latent is a linear equation."""

    def __init__(self, size: int = 6, side: int = SIDE) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.basis = nn.Parameter(torch.randn(size, 3 * side * side, generator=random) * 0.1)
        self.side = side

    def forward(self, z: Tensor) -> Tensor:
        return (0.5 + z @ self.basis).reshape(-1, 3, self.side, self.side)


class Bent(nn.Module):
    """Two layers with a kink, then a sigmoid: several valleys."""

    def __init__(self, size: int = 4, width: int = 32) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(2)
        self.first = nn.Parameter(torch.randn(size, width, generator=random))
        self.conv = nn.Parameter(torch.randn(width // 4, 3, 4, 4, generator=random))
        self.width = width

    def forward(self, z: Tensor) -> Tensor:
        x = nn.functional.leaky_relu(z @ self.first, 0.2).reshape(-1, self.width // 4, 2, 2)
        return torch.sigmoid(nn.functional.conv_transpose2d(x, self.conv, stride=4) * 0.5)


class Broken(nn.Module):
    """Affine, but NaN wherever the first number of the latent is above a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.inner, self.limit = Affine(), limit

    def forward(self, z: Tensor) -> Tensor:
        spoilt = torch.where(z[:, :1] > self.limit, math.nan, 0.0)
        return self.inner(z) + spoilt[:, :, None, None]


def generator_of(
    module: nn.Module,
    size: int,
    *,
    law: str = "normal",
    classes: int | None = None,
    mapping: nn.Module | None = None,
    conventions: Conventions | None = None,
    differentiable: bool = True,
    batch_max: int | None = None,
    device: str = "cpu",
    side: int = SIDE,
) -> Generator:
    """Wrap a module as `scanner.generators.open` does, without a file."""
    module.requires_grad_(False)
    conventions = conventions or Conventions()

    def wrap(*, clip: bool, mapping: nn.Module | None) -> ToImages:
        return ToImages(module, conventions, mapping=mapping, classes=classes, clip=clip).to(device)

    return Generator(
        name="small", fingerprint="0" * 16, law=LatentLaw(size, law, classes=classes), shape_px=(side, side),
        module=wrap(clip=True, mapping=mapping), unclipped=wrap(clip=False, mapping=mapping),
        synthesis=wrap(clip=True, mapping=None), unclipped_synthesis=wrap(clip=False, mapping=None), mapping=mapping,
        differentiable=differentiable, batch_max=batch_max, device=torch.device(device), device_reason="test",
        value_range=(0.0, 1.0),
    )  # fmt: skip


def samples(generator: Generator, count: int, *, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Return (n, size) latents and (n, 3, h, w) images01 of them."""
    z = torch.from_numpy(generator.law.draw(seed, 0, count).values).to(generator.device)
    with torch.no_grad():
        return z.cpu(), generator.images(z).cpu()


class OutOfMemoryAbove(nn.Module):
    """A module on a device with room for `most` images."""

    def __init__(self, inner: nn.Module, most: int, note: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self.inner, self.most, self.note = inner, most, note

    def forward(self, z: Tensor) -> Tensor:
        self.note(len(z))
        if len(z) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.inner(z)
