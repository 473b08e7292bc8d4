"""Where restarts begin: at draws of the law, or at those of many draws whose images are most like the one that is sought.

A search from an arbitrary latent often ends in the wrong valley.  A thousand draws cost as much as a few hundred steps,
once for all images, and the nearest of them lie in the right valley far more often.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from scanner.inversion.spaces import Space

DRAWS_FROM: Final = 1 << 50
"""Number of the first draw: beyond every sample and every other start."""
THUMB_PX: Final = 16
_BATCH: Final = 32


class NearestDraws:
    """Draws of the law with thumbnails of their images."""

    def __init__(self, space: Space, count: int, *, seed: int, batch_max: int | None = None) -> None:
        """Make `count` images, in batches of `batch_max` at most."""
        drawn = space.law.draw(seed, DRAWS_FROM, count)
        device = space.mean.device
        labels = torch.zeros(count, dtype=torch.int64) if drawn.labels is None else torch.from_numpy(drawn.labels)
        self.labels = labels.to(device)
        batch = min(_BATCH, batch_max or _BATCH)
        points, thumbs = [], []
        for at in range(0, count, batch):
            part = slice(at, at + batch)
            z = torch.from_numpy(drawn.values[part]).to(device)
            points.append(space.from_z(z, self.labels[part]))
            with torch.no_grad():
                made = space.images(points[-1], self.labels[part]).clamp(0, 1)
            # An image that is not finite is nobody's neighbour.
            thumbs.append(torch.nan_to_num(_thumbs(made), nan=1e3))
        self.points, self.thumbs = torch.cat(points), torch.cat(thumbs)

    def nearest(self, images01: Tensor, ranks: list[int]) -> tuple[Tensor, Tensor]:
        """Return, per image, the draw whose thumbnail is the `rank`-nearest (0: nearest): (n, *shape) points, (n,) labels."""
        gaps = torch.cdist(_thumbs(images01.float()), self.thumbs, compute_mode="donot_use_mm_for_euclid_dist")
        order = gaps.argsort(dim=1, stable=True)
        rank = torch.tensor(ranks, device=order.device).remainder(len(self.points))
        chosen = order.gather(1, rank[:, None])[:, 0]
        return self.points[chosen], self.labels[chosen]


def _thumbs(images01: Tensor) -> Tensor:
    side = (min(THUMB_PX, images01.shape[-2]), min(THUMB_PX, images01.shape[-1]))
    return functional.adaptive_avg_pool2d(images01, side).flatten(1)
