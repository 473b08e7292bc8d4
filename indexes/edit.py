"""Changing an index: add, erase, compact. Each is one commit: the old state or the new, never between.

Every writer first takes the lock, reads the manifest afresh and clears what a crashed writer left.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from indexes.atomic import PRIVATE_FOLDER, atomic_path, sync_folder, write_json
from indexes.build import Block, add_codes, append_blocks, check_some_rows, clear_folder, decode_schema
from indexes.codec_file import JSON_NAME, TENSORS_NAME
from indexes.errors import IndexesError, UnknownIdError
from indexes.index import ERASURES_FOLDER, TOMBSTONES_FOLDER, Index
from indexes.lock import write_lock
from indexes.manifest import (
    MANIFEST_NAME,
    SEGMENTS_FOLDER,
    ListRecord,
    Manifest,
    SegmentRecord,
    read_manifest,
    write_manifest,
)
from indexes.references import Part
from indexes.row_files import damage_explained
from indexes.sealed import parquet_source
from indexes.segment import ID_COLUMN, ROW_GROUP_ROWS, ROWS_NAME, SegmentWriter, describe_file
from indexes.vectors import VectorBatch


@dataclass(frozen=True, slots=True)
class EraseRecord:
    """What was erased and when; never who asked and never whom it shows.

    Args:
        name: of the record's file in the index folder.
        ids: the erased ids, ascending.
        ids_sha256: of the ids as little-endian int64.
        erased_at: UTC, ISO 8601.
        request: reference of the request that the caller gave, or None.
    """

    name: str
    ids: list[int]
    ids_sha256: str
    erased_at: str
    request: str | None


def add_blocks(path: Path, blocks: Iterable[Block]) -> None:
    """Add blocks to the index at `path`; no rows at all is an error and changes nothing."""
    with write_lock(path):
        manifest = read_manifest(path)
        clear_orphans(path, manifest)
        try:
            changed = append_blocks(path, manifest, blocks)
            check_some_rows(manifest.next_id, changed.next_id, path)
            write_manifest(path, changed)
        except BaseException:
            clear_orphans(path, read_manifest(path))
            raise


def erase(
    index: Index,
    ids: npt.ArrayLike | None,
    *,
    where: Mapping[str, Sequence[Any]] | None,
    request: str | None,
    clock: Callable[[], datetime],
) -> EraseRecord:
    """Erase references: from now on no search finds them; `compact` then removes their bytes.

    Args:
        index: the index.
        ids: integers, repeats allowed; or None.
        where: column -> values; rows that have one of the values in every column named. Or None.
        request: the caller's reference of the request, kept in the record.
        clock: says what time it is.

    Raises:
        UnknownIdError: an id is not there, or no row fits `where`.
        IndexesError: not exactly one of `ids` and `where` was given.
    """
    if (ids is None) == (where is None) or where == {}:
        raise IndexesError("say what to erase: either ids or where, not both, and not nothing.")
    with write_lock(index.path):
        fresh = Index(index.path)
        manifest = fresh.manifest
        clear_orphans(index.path, manifest)
        chosen = np.unique(np.asarray(ids, np.int64)) if ids is not None else _ids_where(fresh, where or {})
        if not chosen.size:
            raise UnknownIdError(f"nothing in index '{index.path.name}' fits. Nothing was erased.")
        fresh.lookup(chosen, columns=["id"])
        number = f"{len(manifest.erasures):06d}"
        record = EraseRecord(
            name=f"{number}.json",
            ids=chosen.tolist(),
            ids_sha256=hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest(),
            erased_at=clock().isoformat(timespec="seconds"),
            request=request,
        )
        tombstone = _write_list(
            index.path / TOMBSTONES_FOLDER / f"{number}.parquet",
            chosen.size,
            lambda path: _write_ids(path, chosen),
        )
        erasure = _write_list(
            index.path / ERASURES_FOLDER / record.name,
            chosen.size,
            lambda path: write_json(path, asdict(record)),
        )
        lists = {
            "tombstones": [*manifest.tombstones, tombstone],
            "erasures": [*manifest.erasures, erasure],
        }
        write_manifest(index.path, manifest.model_copy(update=lists))
    return record


def compact(path: Path) -> None:
    """Rewrite the segments that hold erased rows without them, and compress what is not; erasure records stay."""
    with write_lock(path):
        index = Index(path)
        manifest = index.manifest
        clear_orphans(path, manifest)
        records: list[SegmentRecord] = []
        number = manifest.next_segment
        try:
            for record, part in zip(manifest.segments, index.references().parts, strict=True):
                if part.alive is None:
                    records.append(record)
                elif part.alive.any():
                    records.append(_rewrite(path, manifest, record, part, f"{number:06d}"))
                    number += 1
            changed = manifest.model_copy(update={"segments": records, "next_segment": number, "tombstones": []})
            changed = add_codes(path, changed)
            if changed != manifest:
                write_manifest(path, changed)
        finally:
            clear_orphans(path, read_manifest(path))


def clear_orphans(path: Path, manifest: Manifest) -> None:
    """Remove whatever the manifest does not name: leftovers of a crashed writer. Under the lock only."""
    folders = {
        SEGMENTS_FOLDER: [segment.name for segment in manifest.segments],
        TOMBSTONES_FOLDER: [record.name for record in manifest.tombstones],
        ERASURES_FOLDER: [record.name for record in manifest.erasures],
    }
    for name, kept in folders.items():
        if (path / name).is_dir():
            clear_folder(path / name, keep=kept)
            sync_folder(path / name)
    for segment in manifest.segments:
        clear_folder(path / SEGMENTS_FOLDER / segment.name, keep=list(segment.files))
    for entry in path.iterdir():
        leftover = entry.name.startswith(f".{MANIFEST_NAME}.") or entry.name.startswith(".codec.")
        unnamed = entry.name in (TENSORS_NAME, JSON_NAME) and entry.name not in manifest.codec
        if leftover or unnamed:
            entry.unlink()


def _rewrite(path: Path, manifest: Manifest, record: SegmentRecord, part: Part, name: str) -> SegmentRecord:
    segments = path / SEGMENTS_FOLDER
    schema = decode_schema(manifest.schema_base64)
    alive = part.alive if part.alive is not None else np.ones(record.rows, np.bool_)
    with (
        pq.ParquetFile(parquet_source(segments / record.name / ROWS_NAME)) as source,
        SegmentWriter(segments / name, dim=manifest.dim, dtype=manifest.dtype, schema=schema) as writer,
    ):
        for start in range(0, record.rows, ROW_GROUP_ROWS):
            kept = np.flatnonzero(alive[start : start + ROW_GROUP_ROWS])
            if kept.size:
                with damage_explained(segments / record.name / ROWS_NAME):
                    table = source.read_row_group(start // ROW_GROUP_ROWS).select(schema.names).take(kept).cast(schema)
                vectors = VectorBatch(part.vectors[start + kept].astype(np.float32))
                writer.write(part.ids[start + kept], vectors, table)
    if writer.record is None:
        raise IndexesError(f"segment {name} was not written. Please report this.")
    return writer.record


def _ids_where(index: Index, where: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.int64]:
    types = {name: index.schema_of([name]).field(name).type for name in where}
    fits = [pc.field(name).isin(pa.array(list(values), type=types[name])) for name, values in where.items()]
    # Segment by segment, and within one only the row groups that may hold a value: not the whole column in memory.
    with damage_explained(index.path / SEGMENTS_FOLDER):
        found = [
            pq.read_table(
                parquet_source(index.path / SEGMENTS_FOLDER / segment.name / ROWS_NAME),
                columns=[ID_COLUMN],
                filters=reduce(and_, fits),
            )
            for segment in index.manifest.segments
        ]
    ids = np.concatenate([np.empty(0, np.int64), *(table.column(0).to_numpy() for table in found)])
    return np.setdiff1d(ids, index.erased_ids())


def _write_ids(path: Path, ids: npt.NDArray[np.int64]) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({"id": pa.array(ids)}), temporary, compression="zstd", row_group_size=65_536)


def _write_list(path: Path, rows: int, write: Callable[[Path], None]) -> ListRecord:
    path.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    write(path)
    sync_folder(path.parent.parent)
    return ListRecord(name=path.name, rows=rows, file=describe_file(path))
