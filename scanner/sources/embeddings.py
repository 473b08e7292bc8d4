"""Ready embeddings as a source: blocks of unit rows with their names, and what had to be left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.errors import SourceError
from scanner.records import Reason, Reject
from scanner.sources.location import locate
from scanner.sources.names import member_uri, suffix_of

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


class EmbeddingSource(Protocol):
    """Where ready embeddings come from; rows have an order that changes only with the content."""

    uri: str
    """What the user named, without credentials."""
    dim: int
    """Numbers a vector."""
    fingerprint: str | None
    """Which embedder made them, where the file says so."""

    def describe(self) -> dict[str, str | int]:
        """Return what identifies the content cheaply, without clocks."""
        ...

    def count(self) -> int:
        """Return how many rows there are, bad ones included."""
        ...

    def batches(self, *, rows_max: int = ROWS_MAX, skip: int = 0) -> Iterator[EmbeddingRows]:
        """Yield the rows from row `skip` on in blocks of at most `rows_max`.

        In memory: a few times rows_max * dim * 8 bytes.  Rows that are no vector are rejects.
        """
        ...


def open_embeddings(
    spec: str,
    *,
    dim: int | None = None,
    ids: str | None = None,
    column: str = "embedding",
    storage_options: Mapping[str, Any] | None = None,
) -> EmbeddingSource:
    """Open a `.npy` or Parquet file of embeddings, local or by URL.

    Args:
        spec: the file.
        dim: how many numbers a vector must have, if that is known.
        ids: the file of ids of a `.npy`; else FILE.ids.txt, .ids.npy, .ids.csv, .ids.parquet, .csv or .parquet
            beside it, if there is one.
        column: the Parquet column of vectors.
        storage_options: what the file system of the URL needs, as fsspec takes it.

    Raises:
        SourceError: it is not there, is not what it says, has no rows, or has vectors of another length.
    """
    place = locate(spec, storage_options)
    place.info()
    source: EmbeddingSource
    if suffix_of(place.uri) == ".npy":
        from scanner.sources.embeddings_npy import NpyEmbeddings

        source = NpyEmbeddings(place, ids=locate(ids, storage_options) if ids else None)
    elif suffix_of(place.uri) == ".parquet":
        from scanner.sources.embeddings_parquet import ParquetEmbeddings

        source = ParquetEmbeddings(place, column=column)
    else:
        raise SourceError(f"{place.uri} is nothing that embeddings are read from.  Name a *.npy or a *.parquet file.")
    if dim is not None and source.dim != dim:
        raise SourceError(
            f"{source.uri} holds vectors of {source.dim} numbers, {dim} were expected.  "
            "They were made by another embedder: embed the images again, or name the right file."
        )
    if not source.count():
        raise SourceError(f"{source.uri} holds not one row; what was looked for: vectors of {source.dim} numbers.")
    return source


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
