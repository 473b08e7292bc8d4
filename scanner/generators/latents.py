"""Where the latents of a generator come from: image i's depends on the seed and on i alone, on every machine alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scanner.errors import UsageError

Law = Literal["normal", "uniform", "truncated"]
LAWS: Final[tuple[str, ...]] = get_args(Law)
SIZE_MAX: Final = 1 << 20
_NORMAL_PROPOSALS_FROM: Final = 1.0
"""Below this truncation a normal number is mostly thrown away, and a uniform one mostly kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Rows for a generator: `values` (n, size) float32, `labels` (n,) int64 or None for a generator without classes."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class LatentLaw:
    """How latents are distributed.

    Attributes:
        size: numbers in a latent.
        law: "normal" N(0, 1); "uniform" on [-1, 1); "truncated": N(0, 1) on the condition that no number is further
            from 0 than `truncation`, which is what drawing the others again does (Brock et al. 2019, BigGAN).
        truncation: of "truncated", else None.
        classes: a label is drawn evenly from 0..classes-1; None for a generator without classes.
    """

    size: int
    law: Law = "normal"
    truncation: float | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageError when the parts do not fit."""
        if not 1 <= self.size <= SIZE_MAX:
            raise UsageError(
                f"A latent of {self.size} numbers: 1 to {SIZE_MAX} are possible. Look up [latent] size in the generator's source."
            )
        if self.law not in LAWS:
            raise UsageError(f"Latents cannot be {self.law!r}; the laws are {', '.join(LAWS)}. Mend [latent] law.")
        if (self.law == "truncated") != (self.truncation is not None):
            raise UsageError(
                'truncation belongs to law = "truncated", and that law needs it. Give both or neither in [latent].'
            )
        if self.truncation is not None and not (math.isfinite(self.truncation) and self.truncation > 0):
            raise UsageError(f"truncation = {self.truncation}: it must be a number above 0, as in 0.7. Mend [latent].")
        if self.classes is not None and self.classes < 1:
            raise UsageError(f"classes = {self.classes}: a generator with classes has at least one. Mend [latent].")

    def draw(self, seed: int, first: int, count: int) -> Latents:
        """Return the latents of images `first` to `first + count - 1`; row i depends on (seed, first + i) alone.

        Raises:
            UsageError: a negative seed, place or count.
        """
        if min(seed, first, count) < 0:
            raise UsageError(f"seed {seed}, first {first}, count {count}: none of them may be below 0.")
        values = np.empty((count, self.size), np.float32)
        labels = None if self.classes is None else np.empty(count, np.int64)
        for row in range(count):
            random = np.random.default_rng([seed, first + row])
            values[row] = self._row(random)
            if labels is not None and self.classes is not None:
                labels[row] = random.integers(self.classes)
        return Latents(values, labels)

    def _row(self, random: np.random.Generator) -> NDArray[np.float64]:
        if self.law == "uniform":
            return random.uniform(-1.0, 1.0, self.size)
        if self.truncation is None:
            return random.standard_normal(self.size)
        kept = np.empty(0)
        while len(kept) < self.size:
            kept = np.concatenate([kept, _truncated(random, self.truncation, self.size)])
        return kept[: self.size]


def _truncated(random: np.random.Generator, bound: float, count: int) -> NDArray[np.float64]:
    """Return those of `count` proposals that are kept: exact rejection from a normal or, where narrow, a uniform law."""
    if bound >= _NORMAL_PROPOSALS_FROM:
        proposals = random.standard_normal(count)
        return proposals[np.abs(proposals) <= bound]
    proposals = random.uniform(-bound, bound, count)
    return proposals[random.random(count) <= np.exp(-0.5 * proposals**2)]
