"""How well vectors tell people apart: true accept rates and rank-1. Needs only numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FALSE_MATCH_RATES = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class AcceptRate:
    """One operating point over all pairs of a crowd."""

    false_match_rate: float
    threshold: float  # inclusive bound on cosine
    true_accept_rate: float
    genuine_pairs: int
    impostor_pairs: int

    def as_dict(self) -> dict[str, float | int]:
        """Give plain values for JSON."""
        return asdict(self)


def accept_rates(vectors: NDArray[np.float32], rates: tuple[float, ...] = FALSE_MATCH_RATES) -> list[AcceptRate]:
    """Compare all photos of all people with one another.

    Args:
        vectors: float32 (people, photos, d), unit rows.
        rates: false match rates to report; the threshold is the lowest score that no
            larger share of impostor pairs reaches.
    """
    people, photos, d = vectors.shape
    rows = vectors.reshape(people * photos, d)
    owner = np.repeat(np.arange(people), photos)
    genuine, impostor = [], []
    for start in range(0, len(rows), 1000):
        block = rows[start : start + 1000] @ rows.T
        later = np.arange(len(rows))[None, :] > np.arange(start, start + len(block))[:, None]
        same = owner[start : start + len(block), None] == owner[None, :]
        genuine.append(block[later & same])
        impostor.append(block[later & ~same])
    true, false = np.concatenate(genuine), np.sort(np.concatenate(impostor))[::-1]
    points = []
    for rate in rates:
        allowed = int(rate * len(false))
        threshold = float(np.nextafter(false[allowed], np.float32(2)))
        share = float(np.mean(true >= np.float32(threshold)))
        points.append(AcceptRate(rate, threshold, share, len(true), len(false)))
    return points


def rank_one(references: NDArray[np.float32], queries: NDArray[np.float32]) -> float:
    """Share of queries whose closest reference is their own: both (people, d), unit rows."""
    right = 0
    for start in range(0, len(queries), 1000):
        block = queries[start : start + 1000] @ references.T
        right += int(np.sum(block.argmax(axis=1) == np.arange(start, start + len(block))))
    return right / len(queries)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows (n, d) to unit length."""
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
