"""Ready embeddings as a source: blocks of unit rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from scanner.errors import SourceError
from scanner.sources.embedding_rows import ROWS_MAX, EmbeddingRows
from scanner.sources.location import locate
from scanner.sources.names import suffix_of


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
