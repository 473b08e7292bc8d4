"""Building: blocks in, an index folder out, complete or absent.

Memory: one block and one row group of metadata; fitting the codec takes 16 384 rows.

    index = build_index(path, blocks, fingerprint="net@3f2a91", dim=256, schema=schema)
"""

import base64
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from indexes.atomic import PRIVATE_FOLDER, sync_folder
from indexes.codec import TRAIN_ROWS, TRAIN_ROWS_MIN, Codec, fit_codec
from indexes.codec_file import encode_codec, read_codec, write_codec
from indexes.errors import FormatError, IndexesError
from indexes.index import Index, open_index
from indexes.lock import LOCK_NAME, write_lock
from indexes.manifest import (
    SEGMENTS_FOLDER,
    Manifest,
    SegmentRecord,
    write_manifest,
)
from indexes.references import Part, References
from indexes.segment import (
    CODES_NAME,
    ID_COLUMN,
    VECTORS_NAME,
    SegmentWriter,
    describe_file,
    write_codes,
)
from indexes.tensor_file import open_tensor
from indexes.vectors import VectorBatch

Block: TypeAlias = tuple[VectorBatch, pa.Table]
"""Some vectors and one row of metadata for each."""

SEGMENT_ROWS_MAX = 1_000_000
CODEC_ROWS_MIN = 50_000
_CODEC_DIM_MIN = 32


def build_index(
    path: Path | str,
    blocks: Iterable[Block],
    *,
    fingerprint: str,
    dim: int,
    schema: pa.Schema,
    dtype: Literal["float32", "float16"] = "float32",
    segment_rows_max: int = SEGMENT_ROWS_MAX,
    codec: Literal["auto", "none", "always"] = "auto",
    embedder: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Index:
    """Build a new index; equal input gives equal bytes.

    Args:
        path: a folder that does not exist or is empty.
        blocks: vectors with their metadata; ids are given from 0 in this order.
        fingerprint: of the embedder; scores are meaningful between equal ones only.
        dim: components of a vector.
        schema: of the metadata; without `id`, which the index adds.
        dtype: of the stored vectors; float16 halves the disk and moves scores by up to 5e-4.
        segment_rows_max: rows at which a new segment is begun.
        codec: "auto" makes the compressed form from 50 000 rows and 32 components on.
        embedder: JSON object that describes the embedder to people.
        seed: of the codec.

    Raises:
        IndexesError: the folder holds something, there are no rows, or the schema has an `id`.
        VectorError, MismatchError: a block is not sound. Nothing is left behind.
        LockedError: another process is building the same index.
        DiskFullError: no room. Nothing is left behind.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise IndexesError(
            f"'{path}' exists already and is not an empty folder. "
            "Choose another path, or open the index that is there and add to it."
        )
    if ID_COLUMN in schema.names:
        raise IndexesError(f"the schema has a column {ID_COLUMN!r}, which the index fills itself. Rename it.")
    manifest = Manifest(
        fingerprint=fingerprint,
        embedder=dict(embedder or {}),
        dim=dim,
        dtype=dtype,
        schema_base64=encode_schema(schema),
        segment_rows_max=segment_rows_max,
        seed=seed,
        codec_wanted=codec,
        next_id=0,
        next_segment=0,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Built beside its place and moved there whole: the path is an index or nothing.
    workshop = path.parent / f".{path.name}.building"
    workshop.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    with write_lock(workshop):
        try:
            clear_folder(workshop)
            manifest = append_blocks(workshop, manifest, blocks)
            check_some_rows(0, manifest.next_id, path)
            write_manifest(workshop, manifest)
            workshop.replace(path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(workshop, ignore_errors=True)
            raise
    return open_index(path)


def append_blocks(folder: Path, manifest: Manifest, blocks: Iterable[Block]) -> Manifest:
    """Write blocks as new segments and return the manifest to commit; commits nothing."""
    segments = folder / SEGMENTS_FOLDER
    segments.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    schema = decode_schema(manifest.schema_base64)
    source = _cut_blocks(blocks, manifest.segment_rows_max)
    records: list[SegmentRecord] = []
    next_id = manifest.next_id
    pending = next(source, None)
    while pending is not None:
        name = f"{manifest.next_segment + len(records):06d}"
        with SegmentWriter(segments / name, dim=manifest.dim, dtype=manifest.dtype, schema=schema) as writer:
            while pending is not None and (writer.rows + pending[0].rows <= manifest.segment_rows_max):
                vectors, rows = pending
                writer.write(np.arange(next_id, next_id + vectors.rows), vectors, rows)
                next_id += vectors.rows
                pending = next(source, None)
                if pending is not None:
                    pending, source = _top_up(pending, source, manifest.segment_rows_max - writer.rows)
        if writer.record is not None:
            records.append(writer.record)
    sync_folder(segments)
    changed = manifest.model_copy(
        update={
            "segments": [*manifest.segments, *records],
            "next_id": next_id,
            "next_segment": manifest.next_segment + len(records),
        }
    )
    return add_codes(folder, changed)


def add_codes(folder: Path, manifest: Manifest) -> Manifest:
    """Compress what is not compressed yet, fitting the codec first where there is none."""
    rows = sum(segment.rows for segment in manifest.segments)
    enough = rows >= CODEC_ROWS_MIN and manifest.dim >= _CODEC_DIM_MIN
    wanted = manifest.codec_wanted == "always" or (manifest.codec_wanted == "auto" and enough)
    if not manifest.codec and not (wanted and rows):
        return manifest
    if manifest.codec:
        codec = read_codec(folder, dim=manifest.dim)
    else:
        codec = _fit(folder, manifest)
        write_codec(folder, codec)
    segments = folder / SEGMENTS_FOLDER
    records = [
        record if CODES_NAME in record.files else write_codes(segments / record.name, record, codec)
        for record in manifest.segments
    ]
    files = {name: describe_file(folder / name) for name in encode_codec(codec)}
    return manifest.model_copy(update={"segments": records, "codec": files})


def clear_folder(folder: Path, *, keep: Sequence[str] = ()) -> None:
    """Remove everything in a folder but its lock and the names in `keep`."""
    for entry in folder.iterdir():
        if entry.name == LOCK_NAME or entry.name in keep:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def check_some_rows(next_id_before: int, next_id_after: int, path: Path) -> None:
    """Raise IndexesError where the blocks held no vectors: an empty source is a mistake, not a success."""
    if next_id_before == next_id_after:
        raise IndexesError(f"there are no vectors to write to the index '{path}'. Check the source.")


def encode_schema(schema: pa.Schema) -> str:
    """Return an Arrow schema as text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def decode_schema(text: str) -> pa.Schema:
    """Return the schema that `encode_schema` wrote; raises FormatError for anything else."""
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(
            f"the manifest's schema cannot be read ({type(error).__name__}). Restore the index from a copy or build it again."
        ) from error


def _fit(folder: Path, manifest: Manifest) -> Codec:
    parts = []
    for record in manifest.segments:
        vectors = open_tensor(folder / SEGMENTS_FOLDER / record.name / VECTORS_NAME, "vectors")
        parts.append(Part(vectors, np.arange(record.rows)))
    references = References(parts)
    if manifest.codec_wanted == "always" and references.rows < TRAIN_ROWS_MIN:
        raise IndexesError(
            f"codec='always' needs at least {TRAIN_ROWS_MIN} rows, got {references.rows}. Use codec='auto'."
        )
    rng = np.random.default_rng(manifest.seed)
    size = min(references.rows, TRAIN_ROWS)
    rows = np.sort(rng.choice(references.rows, size, replace=False))
    return fit_codec(references.gather(rows), seed=manifest.seed)


def _cut_blocks(blocks: Iterable[Block], rows_max: int) -> Iterator[Block]:
    for vectors, rows in blocks:
        for start in range(0, vectors.rows, rows_max):
            some = VectorBatch(vectors.vectors[start : start + rows_max])
            yield some, rows.slice(start, some.rows)


def _top_up(pending: Block, source: Iterator[Block], room: int) -> tuple[Block, Iterator[Block]]:
    """Split a block that overflows a segment, so that segments are full whatever the blocks were."""
    vectors, rows = pending
    if not 0 < room < vectors.rows:
        return pending, source
    first = (VectorBatch(vectors.vectors[:room]), rows.slice(0, room))
    rest = (VectorBatch(vectors.vectors[room:]), rows.slice(room))
    return first, _chain(rest, source)


def _chain(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest
