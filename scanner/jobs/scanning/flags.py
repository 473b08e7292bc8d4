"""What a reader should know of a single match besides its score, as flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner.jobs.embedding.copies import NEAR_COPY, CopyScores, near_copies, reference_hashes
from scanner.jobs.scanning.evidence_tables import HUB
from scanner.search import Gallery

SAME_BYTES = "same_bytes"
"""The two sides are the same file: a copy, or a set that is scanned against itself."""
LOW_QUALITY = "low_quality"
"""The scanned face is so small or so unsure that its score says little."""
SIZE_LOW_PX = 32.0
DETECTION_LOW = 0.6


@dataclass(frozen=True, slots=True)
class Flags:
    """What flags are made from.

    Attributes:
        copies: the queries as a copy network sees them, if the user has one.
        hubs: (index, reference id) of photos that are close to everything.
    """

    copies: CopyScores | None = None
    hubs: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    def of(
        self, queries: pa.Table, references: pa.Table, places: Sequence[str], ids: NDArray[np.int64],
        hashes: pa.ChunkedArray,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the columns `flags` and `copy_score` of some matches.

        Args:
            queries: (m) each match's query, with `item_id`, `quality` and `crop_hash`.
            references: (m) its reference, with `item_id`.
            places: (m) names of the references' indexes.
            ids: (m,) ids of the references.
            hashes: (m,) their `crop_hash`.
        """
        left, right = queries["item_id"].to_pylist(), references["item_id"].to_pylist()
        flags: list[list[str]] = [
            [SAME_BYTES] if item and item == other else [] for item, other in zip(left, right, strict=True)
        ]
        scores = self.copies.score(left, right) if self.copies else np.full(len(left), np.nan, np.float32)
        near = near_copies(queries["crop_hash"], hashes)
        if self.copies:
            near |= self.copies.near(scores)
        near &= np.array([not own for own in flags], np.bool_)  # the very same file is said already
        _add(flags, near, NEAR_COPY)
        _add(flags, np.array([key in self.hubs for key in zip(places, ids.tolist(), strict=True)]), HUB)
        _add(flags, _low_quality(queries["quality"].to_pylist()), LOW_QUALITY)
        return {"flags": flags, "copy_score": pa.array(scores, pa.float32(), from_pandas=True)}


def hashes_of(galleries: Sequence[Gallery], place: NDArray[np.integer], ids: NDArray[np.int64]) -> pa.ChunkedArray:
    """Return `crop_hash` of references given as (gallery, id), in order."""
    rows = [np.flatnonzero(place == number) for number in range(len(galleries))]
    parts = [reference_hashes(gallery.stored, ids[mine]) for gallery, mine in zip(galleries, rows, strict=True)]
    back = np.argsort(np.concatenate(rows), kind="stable")
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.binary(8)).take(pa.array(back))


def _add(flags: list[list[str]], mask: NDArray[np.bool_], flag: str) -> None:
    for row in np.flatnonzero(mask).tolist():
        flags[row].append(flag)


def _low_quality(qualities: Sequence[dict[str, float | None] | None]) -> NDArray[np.bool_]:
    """Say which faces are small or unsure; what was not measured says nothing."""

    def is_low(quality: dict[str, float | None] | None) -> bool:
        size, sure = (quality or {}).get("size_px"), (quality or {}).get("detection_score")
        return (size is not None and size < SIZE_LOW_PX) or (sure is not None and sure < DETECTION_LOW)

    return np.array([is_low(quality) for quality in qualities], np.bool_)
