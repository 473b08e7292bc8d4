"""What lies near each photo among the samples: the one shape that every membership score starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError

_TILE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What lies near each of n photos among m samples (generated faces).

    Attributes:
        score: (n, k) float32 k best scores, best first; -1 where there are fewer than k samples.
        row: (n, k) int64 rows of these samples; -1 where there are fewer.
        within: (n, r) int64 number of samples with score >= radii[j].
        radii: (r,) float64.
        mean: (n,) float64 mean score over all samples.
        sd: (n,) float64 standard deviation of the scores over all samples.
        samples: m.
    """

    score: NDArray[np.float32]
    row: NDArray[np.int64]
    within: NDArray[np.int64]
    radii: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    samples: int

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.score)

    def take(self, rows: NDArray[np.int64]) -> Neighbours:
        """Return the chosen photos, in the order of `rows`: (j,) int64 or a mask (n,) bool."""
        return Neighbours(
            self.score[rows], self.row[rows], self.within[rows], self.radii, self.mean[rows], self.sd[rows], self.samples
        )  # fmt: skip


def concatenate(parts: Sequence[Neighbours]) -> Neighbours:
    """Return the photos of all parts, in order; all were looked up among the same samples.

    Raises:
        CalibrationError: no parts, or parts with another k, other radii or another number of samples.
    """
    shapes = {(part.score.shape[1], part.samples, tuple(part.radii.tolist())) for part in parts}
    if len(shapes) != 1:
        raise CalibrationError(
            f"Neighbours can be put together only when all have one k, one set of samples and the same radii; got "
            f"{len(shapes)} kinds (k, samples, radii): {sorted(shapes)}. Look all photos up among the same samples in one way."
        )
    return Neighbours(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.within for part in parts]),
        parts[0].radii,
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.sd for part in parts]),
        parts[0].samples,
    )


def neighbours_among(
    photos: NDArray[np.float32], samples: NDArray[np.float32], *, k: int, radii: Sequence[float] = ()
) -> Neighbours:
    """Return what lies near each photo, for vectors in memory.

    Scores are computed in float64 and rounded to float32, so neither the order of the photos nor the tile shows.

    Args:
        photos: (n, d) float32, unit rows.
        samples: (m, d) float32, unit rows.
        k: best scores to keep; equal scores in order of row.
        radii: inclusive.
    """
    cuts = np.asarray(radii, np.float64)
    kept = min(k, len(samples))
    best = np.full((len(photos), k), -1.0, np.float32)
    row = np.full((len(photos), k), -1, np.int64)
    within = np.zeros((len(photos), len(cuts)), np.int64)
    mean, sd = np.zeros(len(photos)), np.zeros(len(photos))
    right = np.asarray(samples, np.float64).T
    for start in range(0, len(photos) if len(samples) else 0, _TILE_ROWS):
        tile = slice(start, start + _TILE_ROWS)
        scores = (np.asarray(photos[tile], np.float64) @ right).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
        best[tile, :kept], row[tile, :kept] = np.take_along_axis(scores, order, 1), order
        for place, cut in enumerate(cuts):
            within[tile, place] = (scores >= cut).sum(1)
        mean[tile], sd[tile] = scores.mean(1, dtype=np.float64), scores.std(1, dtype=np.float64)
    return Neighbours(best, row, within, cuts, mean, sd, len(samples))
