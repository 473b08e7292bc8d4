"""Endless seeded training data: batch i depends on the seed, on i and on its size alone, whatever was asked before.

That is what lets an interrupted training resume as if nothing had happened, and two trainings see the same data.

    stream = ProceduralStream((32, 32), seed=1)
    images = stream.batch(17, 128)              # float32 (128, 3, 32, 32) in 0..1, no data needed
    stream = PoolStream(pool, seed=1)           # images at hand (synthesised or, as an upper bound, real), augmented
    stream = MixedStream(procedural, pool_stream, share=0.25)
    stream = LatentStream(draw, size=10, seed=1)    # for generators
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scanner.errors import UsageError
from scanner.inversion.features.augment import augment
from scanner.inversion.features.procedural import LEAVES, draw_images

CPU = torch.device("cpu")
_AXES, _CHANNELS = 4, 3


class Stream(Protocol):
    """Training inputs of a network."""

    def batch(self, i: int, n: int) -> Tensor:
        """Return the i-th batch, float32 (n, *input_shape): images in 0..1, or latents."""
        ...

    def describe(self) -> dict[str, str | int | float]:
        """Return what it is, for manifests; two streams that say the same give the same batches."""
        ...


@dataclass(frozen=True, slots=True)
class ProceduralStream:
    """Dead leaves and coloured noise (see `procedural`), new ones for ever.

    Attributes:
        shape_px: height and width.
        seed: 0 or more.
        device: where the batches are.
        leaves: painted on an image at most.
    """

    shape_px: tuple[int, int]
    seed: int = 0
    device: torch.device = CPU
    leaves: int = LEAVES

    def batch(self, i: int, n: int) -> Tensor:
        """See `Stream.batch`."""
        return draw_images(_rng(self.seed, i), n, self.shape_px, device=self.device, leaves=self.leaves)

    def describe(self) -> dict[str, str | int | float]:
        """See `Stream.describe`."""
        return {"kind": "procedural", "seed": self.seed, "leaves": self.leaves}


@dataclass(frozen=True, slots=True, eq=False)
class PoolStream:
    """Images at hand, drawn with replacement and augmented.

    Attributes:
        pool: float32 (m, 3, h, w) in 0..1, on the device where the batches shall be.
        seed: 0 or more.
        name: of the pool, for manifests: "synthesised", "real".
        crop: smallest share of the sides that a crop keeps.
        mix: share of images that get a piece of another one.
    """

    pool: Tensor
    seed: int = 0
    name: str = "pool"
    crop: float = 0.5
    mix: float = 0.15

    def __post_init__(self) -> None:
        """Refuse a pool that is none.

        Raises:
            UsageError: not float32 (m, 3, h, w), or empty.
        """
        pool = self.pool
        is_images = pool.ndim == _AXES and pool.shape[1] == _CHANNELS and pool.dtype == torch.float32
        if not is_images or pool.shape[0] < 1:
            raise UsageError(
                f"pool of training images '{self.name}': got {pool.dtype} {tuple(pool.shape)}, "
                "expected float32 (m, 3, height, width) with m of at least 1.\nGive RGB images in 0..1."
            )

    def batch(self, i: int, n: int) -> Tensor:
        """See `Stream.batch`."""
        rng = _rng(self.seed, i)
        chosen = torch.from_numpy(rng.integers(0, self.pool.shape[0], n)).to(self.pool.device)
        return augment(rng, self.pool[chosen], crop=self.crop, mix=self.mix)

    def describe(self) -> dict[str, str | int | float]:
        """See `Stream.describe`."""
        return {
            "kind": f"pool of {self.name} images",
            "seed": self.seed,
            "images": self.pool.shape[0],
            "crop": self.crop,
            "mix": self.mix,
        }


@dataclass(frozen=True, slots=True, eq=False)
class MixedStream:
    """Batches of two streams, one after the other in each batch.

    Attributes:
        first: the one whose images come first.
        second: the one whose images come last.
        share: of the second in a batch, in 0..1; rounded to whole images.
    """

    first: Stream
    second: Stream
    share: float

    def batch(self, i: int, n: int) -> Tensor:
        """See `Stream.batch`."""
        late = round(n * self.share)
        parts = [stream.batch(i, m) for stream, m in ((self.first, n - late), (self.second, late)) if m]
        return torch.cat(parts)

    def describe(self) -> dict[str, str | int | float]:
        """See `Stream.describe`."""
        parts = {"first": self.first.describe(), "second": self.second.describe()}
        named = {f"{place}.{key}": value for place, part in parts.items() for key, value in part.items()}
        return {"kind": "mixed", "share": self.share, **named}


@dataclass(frozen=True, slots=True, eq=False)
class LatentStream:
    """Latents of a generator.

    Attributes:
        draw: (seed, first, count) -> float32 (count, size); row k depends on the seed and on first + k alone.
        size: of a latent.
        seed: 0 or more.
        device: where the batches are.
    """

    draw: Callable[[int, int, int], NDArray[np.float32]]
    size: int
    seed: int = 0
    device: torch.device = CPU

    def batch(self, i: int, n: int) -> Tensor:
        """See `Stream.batch`."""
        values = self.draw(self.seed, i * n, n)
        if values.shape != (n, self.size):
            raise UsageError(
                f"latents of batch {i}: the law gave {values.shape}, expected {(n, self.size)}.\n"
                "Give the size that the generator's description states."
            )
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self.device)

    def describe(self) -> dict[str, str | int | float]:
        """See `Stream.describe`."""
        return {"kind": "latents", "seed": self.seed, "size": self.size}


def _rng(seed: int, i: int) -> np.random.Generator:
    """Return the generator of batch i.

    Raises:
        UsageError: negative seed or number.
    """
    if seed < 0 or i < 0:
        raise UsageError(
            f"training data: seed {seed} and batch {i} were asked, both must be 0 or more.\nGive another seed."
        )
    return np.random.default_rng([seed, i])
