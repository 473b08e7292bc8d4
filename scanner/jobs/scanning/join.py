"""Queries against galleries, block by block, each block complete or absent on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import Hits
from indexes.atomic import write_json
from indexes.engine import HITS_MAX
from indexes.errors import TooManyHits
from scanner import artefacts
from scanner.errors import UsageError
from scanner.jobs.embedding.intake import Intake
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.comparisons import Afresh, Comparisons
from scanner.jobs.workers import Workers, check_same
from scanner.progress import Progress
from scanner.search import Gallery, open_galleries

BLOCK_ROWS = 4096
"""Queries of one pass over the references: enough for the matrix product to be near its peak."""

_HITS = pa.schema(
    [("query_row", pa.int64()), ("gallery", pa.int16()), ("reference_id", pa.int64()), ("score", pa.float32())]
)

Block = tuple[int, NDArray[np.float32]]
"""Number of a block, and its queries: (n, dim) float32, unit rows."""
Joined = tuple[int, int, list[Hits]]
"""Number of a block, how many queries it has, and its hits in each gallery."""


@dataclass(frozen=True, slots=True)
class JoinBlocks:
    """Joins blocks of queries against galleries that a worker opens itself; see `workers.Work`."""

    paths: tuple[Path, ...]
    manifests: tuple[str, ...]
    engines: tuple[str, ...]
    threshold: float
    memory_bytes: int
    threads: int = 0
    needs_gpu: bool = False

    @classmethod
    def against(cls, galleries: Sequence[Gallery], threshold: float, memory_bytes: int) -> JoinBlocks:
        """Return the work of joining against galleries as they are opened here."""
        indexes = [gallery.index for gallery in galleries]
        return cls(
            tuple(index.path for index in indexes), tuple(index.manifest_sha256 for index in indexes),
            tuple(gallery.engine.name for gallery in galleries), threshold, memory_bytes,
        )  # fmt: skip

    def name(self, block: Block) -> str:
        """See `Work`."""
        return f"Block {block[0]} of the search ({len(block[1])} queries)"

    def open(self) -> Callable[[Block], Joined]:
        """See `Work`."""
        galleries = [
            open_galleries([path], memory_bytes=self.memory_bytes, engine=engine)[0]
            for path, engine in zip(self.paths, self.engines, strict=True)
        ]
        for path, manifest, gallery in zip(self.paths, self.manifests, galleries, strict=True):
            check_same(f"the index {path}", {"manifest": manifest}, {"manifest": gallery.index.manifest_sha256})
        return partial(_join, Afresh(), galleries, self.threshold)


def _join(by: Comparisons, galleries: Sequence[Gallery], threshold: float, block: Block) -> Joined:
    number, vectors = block
    first = number * BLOCK_ROWS
    try:
        found = [by.of_queries(gallery, first, vectors, threshold=threshold) for gallery in galleries]
        return number, len(vectors), found
    except TooManyHits as error:
        raise UsageError(
            f"More than {HITS_MAX} pairs of {len(vectors)} queries reach the threshold {threshold:.4f}: that is no search "
            "any more. Raise --threshold, or ask for a lower --fmr."
        ) from error


class JoinParts:
    """The finished blocks of a join, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._schema = artefacts.stamped(_HITS, "hits")

    def run(
        self,
        intake: Intake,
        galleries: Sequence[Gallery],
        *,
        threshold: float,
        memory_bytes: int,
        workers: Workers | None = None,
        comparisons: Comparisons,
        progress: Progress,
    ) -> None:
        """Join every block that is not there yet, by workers or here; each worker may use `memory_bytes`.

        Workers compare every pair, so `comparisons` is not asked where there are some.
        """
        artefacts.make_private_folder(self.folder)
        done = sum(int(artefacts.read_json(marker)["queries"]) for marker in self.folder.glob("*.json"))
        progress.stage("search", total=intake.counts().faces or None, unit="faces", done=done)
        left = self._left(intake)
        found: Iterator[Joined]
        if workers is None:
            found = map(partial(_join, comparisons, galleries, threshold), left)
        else:
            found = workers.map(JoinBlocks.against(galleries, threshold, memory_bytes), left)
        for number, rows, hits in found:
            self._write(number, rows, hits)
            progress.advance(rows)

    def read(self, number: int) -> pa.Table:
        """Return the hits of one block: query_row within the block, gallery, reference_id, score."""
        return artefacts.read_table(self._path(number), "hits")

    def _left(self, intake: Intake) -> Iterator[Block]:
        """Yield the blocks that are not there yet, with their numbers."""
        for number, table in enumerate(blocks(intake)):
            if not self._marker(number).exists():
                yield number, vectors_of(table)

    def _write(self, number: int, rows: int, found: Sequence[Hits]) -> None:
        tables = [_hits_table(hits, place, self._schema) for place, hits in enumerate(found)]
        artefacts.write_tables(self._path(number), self._schema, tables)
        write_json(self._marker(number), {"queries": rows, "hits": sum(len(hits) for hits in found)})

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
