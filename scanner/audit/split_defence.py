"""What a network's owner can do to features before a stranger sees them: noise, fewer bits, fewer channels.

Strengths are relative to the features themselves: their deviation and their range are measured for each channel over the
audited photos.  Every photo's noise depends on the seed, the cut and the photo alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from scanner.audit.split_config import SplitSection

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["none", "noise", "quantise", "drop"]


@dataclass(frozen=True, slots=True)
class Defence:
    """One kind at one strength; `value` is 0 where nothing is done."""

    kind: Kind
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How features vary, for each channel (or number): `sd`, `low`, `high` of shape (1, c, 1, 1) or (1, d)."""

    sd: Tensor
    low: Tensor
    high: Tensor


def defences_of(section: SplitSection) -> tuple[Defence, ...]:
    """Return nothing first, then every defence of the file."""
    listed = [Defence(entry.kind, value) for entry in section.defence for value in entry.values]
    return (Defence("none", 0.0), *dict.fromkeys(listed))


def spread_of(features: Iterator[Tensor]) -> Spread:
    """Measure batches of features: float32 (n, c, h, w) or (n, d); sums in double precision."""
    import torch

    count, total, squares = 0, None, None
    low = high = None
    for batch in features:
        axes = (0, *range(2, batch.ndim))
        wide = batch.double()
        one, two = wide.sum(axes, keepdim=True), (wide * wide).sum(axes, keepdim=True)
        least, most = batch.amin(axes, keepdim=True), batch.amax(axes, keepdim=True)
        total, squares = (one, two) if total is None or squares is None else (total + one, squares + two)
        low = least if low is None else torch.minimum(low, least)
        high = most if high is None else torch.maximum(high, most)
        count += batch.numel() // batch.shape[1]
    assert total is not None and squares is not None and low is not None and high is not None, "there are photos"  # noqa: PT018
    mean = total / count
    sd = (squares / count - mean * mean).clamp_min(0.0).sqrt().float()
    return Spread(sd, low, high)


def defend(defence: Defence, spread: Spread, *, seed: int, cut: int) -> Callable[[Tensor, int], Tensor]:
    """Return what turns features of photos from number `first` on into what a stranger sees.

    Args:
        defence: kind and strength.
        spread: of the features at this cut.
        seed: draws noise and channels.
        cut: number of the cut.
    """
    import torch

    def noisy(features: Tensor, first: int) -> Tensor:
        drawn = np.stack([
            np.random.default_rng([seed, cut, first + row]).standard_normal(features.shape[1:], np.float32)
            for row in range(len(features))
        ])  # fmt: skip
        return features + defence.value * spread.sd * torch.from_numpy(drawn).to(features.device)

    def quantised(features: Tensor, first: int) -> Tensor:
        del first
        steps = 2.0 ** int(defence.value) - 1.0
        size = ((spread.high - spread.low) / steps).clamp_min(torch.finfo(torch.float32).tiny)
        return ((features - spread.low) / size).round().clamp(0.0, steps) * size + spread.low

    def dropped(features: Tensor, first: int) -> Tensor:
        del first
        channels = features.shape[1]
        gone = np.random.default_rng([seed, cut]).permutation(channels)[: round(defence.value * channels)]
        left = features.clone()
        left[:, torch.from_numpy(gone).to(features.device)] = 0.0
        return left

    ways: dict[Kind, Callable[[Tensor, int], Tensor]] = {
        "none": lambda features, _: features, "noise": noisy, "quantise": quantised, "drop": dropped,
    }  # fmt: skip
    return ways[defence.kind]
