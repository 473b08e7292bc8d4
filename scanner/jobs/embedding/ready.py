"""Ready embeddings as an intake: our own files keep every column, foreign ones bring ids and uris."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scanner import artefacts
from scanner.errors import NothingScanned, UsageError
from scanner.jobs.folders import remove_folder
from scanner.jobs.options import READY, SourceOptions
from scanner.jobs.parts import begin_work, vectors_of
from scanner.records import Counts, Reason, Reject
from scanner.sources import open_embeddings
from scanner.sources.location import locate
from scanner.sources.names import suffix_of

ROWS = 4096
NORM_TOLERANCE = 1e-3


def is_embeddings(spec: str, sources: SourceOptions) -> bool:
    """True when `spec` is a file of vectors rather than of images."""
    suffix = suffix_of(spec)
    if suffix == ".npy":
        return True
    if suffix != ".parquet" or sources.image_column is not None:
        return False
    import pyarrow.parquet as pq

    place = locate(spec, sources.storage_options)
    if not place.exists():
        return False
    with place.open() as stream:
        try:
            names = pq.ParquetFile(stream).schema_arrow.names
        except (pa.ArrowException, OSError, ValueError):
            return False  # the image source says what is wrong with it
    return "embedding" in names and "image" not in names


class ReadyFaces:
    """One file of ready embeddings."""

    def __init__(self, spec: str, sources: SourceOptions, *, embedded_by: str | None) -> None:
        """Open `spec`; raises UsageError when nobody says which embedder made the vectors."""
        self._source = open_embeddings(spec, storage_options=sources.storage_options)
        own = self._source.fingerprint
        if own is not None and embedded_by is not None and own != embedded_by:
            raise UsageError(
                f"{spec} says that it was made by {own}, --embedded-by says {embedded_by}. Leave the option out."
            )
        if own is None and embedded_by is None:
            raise UsageError(
                f"{spec} does not say which embedder made its vectors, and vectors of two embedders must not be "
                "compared. Give it a name of your own, and the same one to the index and to the queries: --embedded-by NAME."
            )
        self.fingerprint = own or f"declared:{embedded_by}"
        self.dim = self._source.dim
        self.description: dict[str, Any] = {
            "embedder": {"name": READY, "fingerprint": self.fingerprint},
            "faces": None,
        }
        self._spec, self._own = Path(spec), own is not None and Path(spec).is_file()
        self._counts = Counts()
        self._rejected: list[Reject] = []
        self._work: Path | None = None

    def describe(self) -> dict[str, str | int]:
        """Return what identifies the content."""
        return self._source.describe()

    def begin(self, work: Path, plan: dict[str, Any], *, resume: bool) -> None:
        """Remember the plan, so that a resumed job is the same job."""
        begin_work(work, {**plan, "fingerprint": self.fingerprint}, resume=resume)
        self._work = work

    def faces(self) -> Iterator[pa.Table]:
        """See `Intake.faces`."""
        counts, rejected = Counts(), list[Reject]()
        for table, bad in self._own_blocks() if self._own else self._foreign_blocks():
            reasons = dict(sorted(Counter(reject.reason.value for reject in bad).items()))
            n = table.num_rows
            counts = counts + Counts(n + len(bad), items=n, rejected=len(bad), faces=n, reasons=reasons)
            rejected.extend(bad)
            yield table
        self._counts, self._rejected = counts, rejected
        if counts.faces == 0:
            raise NothingScanned(
                f"Nothing was scanned: no usable vector among the {counts.entries} rows of {self._spec}."
            )

    def rejects(self) -> Iterator[pa.Table]:
        """See `Intake.rejects`."""
        columns = {
            "uri": [r.uri for r in self._rejected],
            "item_id": [r.item_id for r in self._rejected],
            "identity": [r.identity for r in self._rejected],
            "level": ["item" for _ in self._rejected],
            "reason": [r.reason.value for r in self._rejected],
            "detail": [r.detail for r in self._rejected],
        }
        yield artefacts.table_of(artefacts.stamped(artefacts.REJECTS, "rejects"), columns)

    def counts(self) -> Counts:
        """See `Intake.counts`."""
        return self._counts

    def done(self) -> None:
        """See `Intake.done`."""
        if self._work is not None:
            remove_folder(self._work)

    def _own_blocks(self) -> Iterator[tuple[pa.Table, Sequence[Reject]]]:
        """Read what `scanner embed` wrote, with all that it knows of a face."""
        schema = self._schema()
        for block in artefacts.iter_tables(self._spec, "embeddings", rows_max=ROWS, columns=schema.names):
            table = _completed(block, schema)
            norms = np.linalg.norm(vectors_of(table), axis=1)
            good = np.abs(norms - 1.0) <= NORM_TOLERANCE  # false for NaN
            bad = table.filter(pa.array(~good)).select(["uri", "item_id", "identity"]).to_pylist()
            detail = "the stored vector is not finite or not of unit length: the file has been changed"
            rejects = [Reject(r["uri"], Reason.BAD_EMBEDDING, detail, r["item_id"], r["identity"]) for r in bad]
            yield table.filter(pa.array(good)).cast(schema), rejects

    def _foreign_blocks(self) -> Iterator[tuple[pa.Table, Sequence[Reject]]]:
        """Read anybody's vectors; a row is an item of its own."""
        schema = self._schema()
        for block in self._source.batches(rows_max=ROWS):
            n = len(block.rows)
            columns = {
                "id": list(block.ids),
                "item_id": [""] * n,
                "uri": list(block.uris),
                "identity": list(block.identities),
                "face": [0] * n,
                "embedding": pa.FixedSizeListArray.from_arrays(
                    pa.array(block.vectors.reshape(-1), pa.float32()), self.dim
                ),
            }
            yield artefacts.table_of(schema, columns), block.rejects

    def _schema(self) -> pa.Schema:
        return artefacts.stamped(artefacts.embeddings_schema(self.dim), "embeddings", fingerprint=self.fingerprint)


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a file of an older scanner the columns that came later, empty."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names)
