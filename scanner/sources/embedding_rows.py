"""Blocks of unit rows with their names, and what had to be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scanner.records import Reason, Reject
from scanner.sources.names import member_uri

ROWS_MAX: Final = 4096
FINGERPRINT_KEY: Final = b"identity_leak.fingerprint"
"""Key of the Parquet schema's metadata under which our own files name their embedder."""


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """Consecutive rows of a source.

    `vectors` is (n, d) float32, C-contiguous, of unit length; `rows` (n,) int64 are their numbers in the
    source, from 0; `ids`, `uris` and `identities` have n entries.  A row without a name of its own has its
    number as id and `SOURCE!/row-N` as uri.  Every row of the block is in `rows` or among the `rejects`.
    """

    vectors: NDArray[np.float32]
    rows: NDArray[np.int64]
    ids: tuple[str, ...]
    uris: tuple[str, ...]
    identities: tuple[str | None, ...]
    rejects: tuple[Reject, ...]


def unit_rows(
    vectors: NDArray[np.generic],
    *,
    uri: str,
    rows: NDArray[np.int64],
    names: Mapping[str, Sequence[str | None]],
    bad: Mapping[int, str],
) -> EmbeddingRows:
    """Bring a block to unit length and sort out what cannot be.

    Args:
        vectors: (m, d) of any float type, the rows that have d numbers.
        uri: the source.
        rows: (m,) int64, their numbers in the source.
        names: "id", "uri" and "identity", as far as there are any, by position in `rows`.
        bad: what is wrong with the rows that have no vector, by row number.
    """
    exact = vectors.astype(np.float64)
    # Scaled first: the square of a large number is no number any more.
    peaks = np.abs(exact).max(axis=1, initial=0.0)
    is_finite = np.isfinite(peaks)
    is_good = is_finite & (peaks > 0)
    exact = exact[is_good] / peaks[is_good, None]
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    trouble = dict(bad)
    for index in np.flatnonzero(~is_good):
        trouble[int(rows[index])] = "zero vector" if is_finite[index] else "not finite"
    kept = np.flatnonzero(is_good).tolist()
    ids = [names["id"][i] if "id" in names else None for i in kept]
    uris = [names["uri"][i] if "uri" in names else None for i in kept]
    numbers = rows[kept]
    labels = [own or f"row-{row}" for own, row in zip(ids, numbers, strict=True)]
    return EmbeddingRows(
        vectors=np.ascontiguousarray(exact, dtype=np.float32),
        rows=numbers,
        ids=tuple(own or str(row) for own, row in zip(ids, numbers, strict=True)),
        uris=tuple(own or member_uri(uri, label) for own, label in zip(uris, labels, strict=True)),
        identities=tuple((names["identity"][i] or None) if "identity" in names else None for i in kept),
        rejects=tuple(
            Reject(member_uri(uri, f"row-{row}"), Reason.BAD_EMBEDDING, f"row {row}: {what}")
            for row, what in sorted(trouble.items())
        ),
    )
