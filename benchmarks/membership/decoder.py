"""What the bed's generators have in common: how latents are drawn for their decoder, and how both are kept.

A latent is drawn from the density that was fitted after training, never chosen by hand.  For an autodecoder this is a
kernel density over the training codes with the codes' own mean and covariance (Silverman 1986, section 6.4.1, the
shrunk form): `bandwidth` 1 is the one Gaussian of Bojanowski et al. 2018 ("Optimizing the Latent Space of Generative
Networks", section 4), smaller values follow the training codes more closely.  VAE and DCGAN draw from their prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.membership.faces import SIDE_PX
from scanner.world.autodecoder import make_decoder


@dataclass(frozen=True, slots=True)
class Latents:
    """The density that latents are drawn from.

    Attributes:
        codes: (n, d) float32 kernels' centres, or (0, d) for the standard Gaussian.
        mean: (d,) of the codes.
        factor: (d, d) Cholesky factor of the codes' covariance.
        bandwidth: 0 draws the codes themselves, 1 one Gaussian.
        spread: draws are pulled to `mean` by this factor; below 1 the latent is truncated (few, average faces).
    """

    codes: NDArray[np.float32]
    mean: NDArray[np.float32]
    factor: NDArray[np.float32]
    bandwidth: float
    spread: float = 1.0

    def draw(self, number: int, seed: int) -> NDArray[np.float32]:
        """Return the (d,) latent of sample `number`: it depends on these two numbers alone."""
        rng = np.random.default_rng([seed, number])
        noise = self.factor @ rng.standard_normal(len(self.mean)).astype(np.float32)
        if len(self.codes) == 0:
            around = np.zeros_like(self.mean)
            width = np.float32(1.0)
        else:
            around = self.codes[rng.integers(len(self.codes))] - self.mean
            width = np.float32(self.bandwidth)
        kept = np.sqrt(np.float32(1.0) - width**2)
        return np.asarray(self.mean + np.float32(self.spread) * (kept * around + width * noise), np.float32)


def fit_latents(codes: NDArray[np.float32], bandwidth: float) -> Latents:
    """Fit the density to an autodecoder's codes (n, d)."""
    covariance = np.cov(codes.astype(np.float64), rowvar=False) + 1e-8 * np.eye(codes.shape[1])
    factor = np.linalg.cholesky(covariance).astype(np.float32)
    return Latents(codes, codes.mean(0), factor, bandwidth)


def prior_latents(latent: int) -> Latents:
    """Return the standard Gaussian in `latent` dimensions."""
    empty = np.empty((0, latent), np.float32)
    return Latents(empty, np.zeros(latent, np.float32), np.eye(latent, dtype=np.float32), 1.0)


@dataclass(frozen=True, slots=True)
class Generator:
    """A trained decoder and the density of its latents."""

    decoder: nn.Sequential
    latents: Latents

    def sample(self, n: int, seed: int) -> NDArray[np.uint8]:
        """Return n samples, uint8 RGB (n, SIDE_PX, SIDE_PX, 3); sample i depends on (seed, i) alone.

        One is decoded at a time: a batch may round the last bit otherwise.
        """
        self.decoder.eval()
        drawn = np.empty((n, SIDE_PX, SIDE_PX, 3), np.uint8)
        with torch.inference_mode():
            for number in range(n):
                latent = torch.from_numpy(self.latents.draw(number, seed))[None]
                drawn[number] = to_pixels(self.decoder(latent))[0]
        return drawn


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Turn (n, 3, side, side) in [0, 1] into uint8 RGB (n, side, side, 3)."""
    return np.asarray((images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy(), np.uint8)


def to_tensor(photos: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 RGB (n, side, side, 3) into float32 (n, 3, side, side) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(photos.transpose(0, 3, 1, 2))).float() / 255


def save_generator(generator: Generator, path: Path) -> None:
    """Write decoder and latents as safetensors."""
    weights = {f"decoder.{name}": value.contiguous() for name, value in generator.decoder.state_dict().items()}
    latents = generator.latents
    numbers = torch.tensor([latents.bandwidth, latents.spread], dtype=torch.float64)
    arrays = {"codes": latents.codes, "mean": latents.mean, "factor": latents.factor}
    kept = {f"latents.{name}": torch.from_numpy(value.copy()) for name, value in arrays.items()}
    save_file({**weights, **kept, "latents.numbers": numbers}, path)


def load_generator(path: Path) -> Generator:
    """Read what `save_generator` wrote."""
    tensors = load_file(path)
    weights = {name.removeprefix("decoder."): value for name, value in tensors.items() if name.startswith("decoder.")}
    latent = weights["0.weight"].shape[1]
    widths = (weights["2.weight"].shape[0], weights["5.weight"].shape[0], weights["8.weight"].shape[0])
    decoder = make_decoder(latent, widths)
    decoder.load_state_dict(weights)
    bandwidth, spread = tensors["latents.numbers"].tolist()
    arrays = (tensors[f"latents.{name}"].numpy() for name in ("codes", "mean", "factor"))
    return Generator(decoder, Latents(*arrays, bandwidth=bandwidth, spread=spread))
