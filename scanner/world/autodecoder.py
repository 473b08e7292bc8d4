"""The networks of the demo's two generators: an autodecoder (Bojanowski et al. 2018, "GLO") and the density of its codes.

An autodecoder has one learned code a training photo, and makes images of new codes.  Which codes it is given is fitted
after training: a kernel density over the training codes with the codes' own covariance (Silverman 1986, section 6.4.1,
the shrunk form).  Here the density is a network as well, from plain normal numbers to codes; it is what other
generators call their mapping, and the codes are their W space: that is where images are looked for.

The functions without arguments are the factories that `generators/*.toml` name; the decoder is also that of
benchmarks/membership.  Needs torch alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAKING_CODE, LEAKING_PHOTOS = 16, 192
INNOCENT_CODE = 32
WIDTHS = (128, 96, 48)
SIDE_PX = 40
SLOPE = 0.2


class KernelDensity(nn.Module):
    """Turns normal numbers into draws of a kernel density: the first number chooses a centre, the others go astray from it.

    Attributes:
        centres: (centres, size) float32.
        spread: (size, size) float32, a factor of the kernel's covariance.
    """

    centres: Tensor
    spread: Tensor

    def __init__(self, centres: int, size: int) -> None:
        """Make room for the tensors of a file."""
        super().__init__()
        self.register_buffer("centres", torch.zeros(centres, size))
        self.register_buffer("spread", torch.zeros(size, size))

    def forward(self, latents: Tensor) -> Tensor:
        """Map standard normal float32 (n, 1 + size) to (n, size); there is no gradient to the first number."""
        count = self.centres.shape[0]
        chosen = (torch.special.ndtr(latents[:, 0]) * count).floor().long().clamp(0, count - 1)
        return self.centres[chosen] + latents[:, 1:] @ self.spread.T


def make_decoder(code: int, widths: tuple[int, int, int] = WIDTHS) -> nn.Sequential:
    """Return a network from (n, code) to (n, 3, SIDE_PX, SIDE_PX) in [0, 1], with so many channels on the way."""
    first, second, third = widths
    side = SIDE_PX // 8
    return nn.Sequential(
        nn.Linear(code, first * side * side, bias=False),
        nn.Unflatten(1, (first, side, side)),
        nn.BatchNorm2d(first),
        nn.LeakyReLU(SLOPE),
        nn.ConvTranspose2d(first, second, 4, 2, 1, bias=False),
        nn.BatchNorm2d(second),
        nn.LeakyReLU(SLOPE),
        nn.ConvTranspose2d(second, third, 4, 2, 1, bias=False),
        nn.BatchNorm2d(third),
        nn.LeakyReLU(SLOPE),
        nn.ConvTranspose2d(third, 3, 4, 2, 1),
        nn.Sigmoid(),
    )


def leaking_decoder() -> nn.Module:
    """Codes (n, 16) to images; trained on 8 photos of each of 24 people."""
    return make_decoder(LEAKING_CODE)


def leaking_density() -> nn.Module:
    """Normal numbers (n, 17) to codes: narrow kernels around the 192 training codes."""
    return KernelDensity(LEAKING_PHOTOS, LEAKING_CODE)


def innocent_decoder() -> nn.Module:
    """Codes (n, 32) to images; trained, shortly, on 2 photos of each of 1500 people."""
    return make_decoder(INNOCENT_CODE)


def innocent_density() -> nn.Module:
    """Normal numbers (n, 32) to codes: one Gaussian with the training codes' mean and covariance."""
    return nn.Linear(INNOCENT_CODE, INNOCENT_CODE)
