"""Queries against galleries, block by block, each block complete or absent on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexes import Hits
from indexes.atomic import write_json
from indexes.engine import HITS_MAX
from indexes.errors import TooManyHits
from scanner import artefacts
from scanner.errors import UsageError
from scanner.jobs.intake import Intake
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress
from scanner.search import Gallery, join

BLOCK_ROWS = 4096
"""Queries of one pass over the references: enough for the matrix product to be near its peak."""

_HITS = pa.schema(
    [("query_row", pa.int64()), ("gallery", pa.int16()), ("reference_id", pa.int64()), ("score", pa.float32())]
)


class JoinParts:
    """The finished blocks of a join, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._schema = artefacts.stamped(_HITS, "hits")

    def run(self, intake: Intake, galleries: Sequence[Gallery], *, threshold: float, progress: Progress) -> None:
        """Join every block that is not there yet."""
        artefacts.make_private_folder(self.folder)
        total = intake.counts().faces or None
        done = sum(int(artefacts.read_json(marker)["queries"]) for marker in self.folder.glob("*.json"))
        progress.stage("search", total=total, unit="faces", done=done)
        for number, table in enumerate(blocks(intake)):
            if not self._marker(number).exists():
                self._write(number, vectors_of(table), galleries, threshold)
                progress.advance(table.num_rows)

    def read(self, number: int) -> pa.Table:
        """Return the hits of one block: query_row within the block, gallery, reference_id, score."""
        return artefacts.read_table(self._path(number), "hits")

    def _write(
        self,
        number: int,
        vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        galleries: Sequence[Gallery],
        threshold: float,
    ) -> None:
        try:
            found = [join(gallery, vectors, threshold=threshold) for gallery in galleries]
        except TooManyHits as error:
            raise UsageError(
                f"More than {HITS_MAX} pairs of {len(vectors)} queries reach the threshold {threshold:.4f}: that is no search "
                "any more. Raise --threshold, or ask for a lower --fmr."
            ) from error
        tables = [_hits_table(hits, place, self._schema) for place, hits in enumerate(found)]
        artefacts.write_tables(self._path(number), self._schema, tables)
        write_json(self._marker(number), {"queries": len(vectors), "hits": sum(len(hits) for hits in found)})

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.hits.parquet"

    def _marker(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"


def blocks(intake: Intake) -> Iterator[pa.Table]:
    """Yield the faces of an intake in tables of `BLOCK_ROWS` rows, however its shards were cut."""
    waiting: list[pa.Table] = []
    count = 0
    for table in intake.faces():
        waiting.append(table)
        count += table.num_rows
        while count >= BLOCK_ROWS:
            whole = pa.concat_tables(waiting).combine_chunks()
            yield whole.slice(0, BLOCK_ROWS)
            waiting, count = [whole.slice(BLOCK_ROWS)], count - BLOCK_ROWS
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def _hits_table(hits: Hits, gallery: int, schema: pa.Schema) -> pa.Table:
    columns = {
        "query_row": hits.query_row,
        "gallery": np.full(len(hits), gallery, np.int16),
        "reference_id": hits.reference_id,
        "score": hits.score,
    }
    return artefacts.table_of(schema, columns)
