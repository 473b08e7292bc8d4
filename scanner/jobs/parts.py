"""Work that survives being killed: numbered parts, each complete or absent.

A work folder holds `plan.json` (what is being done to what) and, for every finished shard, its tables and
a marker `NNNNNN.json` that is written last.  Resuming takes up after the last consecutive marker; a plan that
has changed is refused, since half of the result would come from other inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes.atomic import write_json
from scanner import artefacts
from scanner.errors import RunMismatch, UsageError
from scanner.images import encode_png
from scanner.jobs.folders import remove_folder, unfinished
from scanner.jobs.numbered import Numbered
from scanner.pipeline import Shard
from scanner.records import Counts, Face, Reject


class Parts:
    """The finished shards of one job, in a folder of their own."""

    def __init__(self, folder: Path, *, dim: int, fingerprint: str, keep_crops: bool) -> None:
        """Look at `folder`; nothing is written before `begin`."""
        self.folder, self._parts = folder, Numbered(folder)
        schema = artefacts.embeddings_schema(dim, crops=keep_crops)
        self.faces_schema = artefacts.stamped(schema, "embeddings", fingerprint=fingerprint)
        self.rejects_schema = artefacts.stamped(artefacts.REJECTS, "rejects")
        self._keep_crops = keep_crops

    def begin(self, plan: dict[str, Any], *, resume: bool) -> int:
        """Start or take up the job `plan`; return the number of shards already done."""
        begin_work(self.folder, {**plan, "columns": [field.name for field in artefacts.FACE_FIELDS]}, resume=resume)
        return len(self._parts.numbers())

    def write(self, shard: Shard) -> None:
        """Write one shard; when this returns it will never be done again."""
        artefacts.write_tables(self._parts.table(shard.number, "faces"), self.faces_schema, [self._faces(shard)])
        rejects = _rejects_table(self.rejects_schema, shard.items_rejected, shard.faces_rejected)
        artefacts.write_tables(self._parts.table(shard.number, "rejects"), self.rejects_schema, [rejects])
        self._parts.finish(shard.number, asdict(shard.counts))

    def counts(self) -> Counts:
        """Add up the counts of all finished shards."""
        total = Counts()
        for document in self._parts.documents():
            total = total + Counts(**document)
        return total

    def seen(self) -> set[bytes]:
        """Return the ids of every item met so far, as 16 bytes each."""
        ids: set[bytes] = set()
        for number in self._parts.numbers():
            for kind, name in (("faces", "embeddings"), ("rejects", "rejects")):
                table = artefacts.read_table(self._parts.table(number, kind), name, columns=["item_id"])
                ids.update(bytes.fromhex(i) for i in table["item_id"].to_pylist() if i)
        return ids

    def faces(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the faces of every shard in order; every name that an item came under is in `other_uris`."""
        others = self._other_uris()
        for number in self._parts.numbers():
            wanted = list(columns) if columns else None
            table = artefacts.read_table(self._parts.table(number, "faces"), "embeddings", columns=wanted)
            if others and "other_uris" in table.column_names:
                place = table.column_names.index("other_uris")
                values = [others.get(i, []) for i in table["item_id"].to_pylist()]
                table = table.set_column(place, table.schema.field(place), pa.array(values, pa.list_(pa.string())))
            yield table

    def rejects(self) -> Iterator[pa.Table]:
        """Yield the rejects of every shard in order."""
        for number in self._parts.numbers():
            yield artefacts.read_table(self._parts.table(number, "rejects"), "rejects")

    def remove(self) -> None:
        """Delete the work folder; its result stands elsewhere by now."""
        remove_folder(self.folder)

    def _other_uris(self) -> dict[str, list[str]]:
        others: dict[str, list[str]] = {}
        for table in self.rejects():
            for row in table.filter(pc.equal(table["reason"], "duplicate")).to_pylist():
                others.setdefault(row["item_id"], []).append(row["uri"])
        return others

    def _faces(self, shard: Shard) -> pa.Table:
        columns = face_columns(shard.faces)
        flat = pa.array(shard.vectors.reshape(-1), pa.float32())
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, shard.vectors.shape[1])
        if self._keep_crops:
            columns["crop_png"] = [encode_png(face.crop_rgb_u8) for face in shard.faces]
        return artefacts.table_of(self.faces_schema, columns)


def begin_work(folder: Path, plan: dict[str, Any], *, resume: bool) -> None:
    """Make the work folder of a new job, or check that an old one was doing the same.

    Raises:
        UsageError: there is unfinished work and `resume` was not asked for.
        RunMismatch: the unfinished work had another plan; names the keys that differ.
    """
    path = folder / "plan.json"
    if path.exists():
        if not resume:
            raise UsageError(unfinished(folder))
        old = artefacts.read_json(path)
        changed = sorted(k for k in {*old, *plan} if old.get(k) != plan.get(k))
        if changed:
            raise RunMismatch(
                f"{folder} cannot be resumed: {', '.join(changed)} changed since it was started. "
                "Give the same sources and options as then, or pass --force to begin again."
            )
        return
    artefacts.make_private_folder(folder)
    write_json(path, plan)


def face_columns(faces: Sequence[Face]) -> dict[str, Any]:
    """Return the columns that embeddings, queries and references share."""
    return {
        "id": [face.face_id for face in faces],
        "item_id": [face.item_id for face in faces],
        "uri": [face.uri for face in faces],
        "other_uris": [[] for _ in faces],
        "identity": [face.identity for face in faces],
        "face": [face.ordinal for face in faces],
        "box": [list(face.box_px) for face in faces],
        "quality": [asdict(face.quality) for face in faces],
        "crop_hash": [face.crop_hash for face in faces],
    }


def vectors_of(table: pa.Table) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the `embedding` column as (n, d) float32, C-contiguous."""
    return np.ascontiguousarray(matrix_of(table["embedding"]), np.float32)


def matrix_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return lists of one length k as a matrix (n, k)."""
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], column.type)
    values: NDArray[Any] = whole.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, column.type.list_size)


def _rejects_table(schema: pa.Schema, items: Iterable[Reject], faces: Iterable[Reject]) -> pa.Table:
    rows = [("item", r) for r in items] + [("face", r) for r in faces]
    columns = {
        "uri": [r.uri for _, r in rows],
        "item_id": [r.item_id for _, r in rows],
        "identity": [r.identity for _, r in rows],
        "level": [level for level, _ in rows],
        "reason": [r.reason.value for _, r in rows],
        "detail": [r.detail for _, r in rows],
    }
    return artefacts.table_of(schema, columns)
