"""A segment: an immutable stretch of an index, in files that describe themselves.

    vectors.safetensors   float32 or float16 (rows, dim)
    rows.parquet          `id` int64, ascending, and the caller's columns
    bytes.safetensors     int8 (rows, columns), where the index has a codec
    bounds.safetensors    float32 (blocks, 3), what the bytes may be off by; see `codec.Codes`

A writer streams blocks into a folder that no manifest names yet; it becomes part of the index when
the manifest is committed. Where the environment has a key, all files are sealed; see `sealed`.
"""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from indexes.atomic import PRIVATE_FOLDER, disk_full_explained, sync_file, sync_folder
from indexes.codec import BLOCK_ROWS, BOUNDS, Codec, Codes
from indexes.errors import FormatError, MismatchError
from indexes.manifest import FileRecord, SegmentRecord
from indexes.sealed import create, open_file
from indexes.tensor_file import TensorWriter, open_tensor
from indexes.vectors import VectorBatch, check_unit_rows

VECTORS_NAME = "vectors.safetensors"
ROWS_NAME = "rows.parquet"
CODES_NAME = "bytes.safetensors"
BOUNDS_NAME = "bounds.safetensors"
ID_COLUMN = "id"
ROW_GROUP_ROWS = 16_384
_ENCODE_ROWS = 4 * BLOCK_ROWS


class SegmentWriter:
    """Write one segment, block by block.

    Args:
        folder: to be made; must not exist.
        dim: components of a vector.
        dtype: "float32" or "float16", of the stored vectors.
        schema: of the caller's columns, without `id`.

    After the `with` block `record` describes the segment.
    """

    def __init__(self, folder: Path, *, dim: int, dtype: str, schema: pa.Schema) -> None:
        self._folder = folder
        self._dim, self._dtype = dim, np.dtype(dtype)
        folder.mkdir(mode=PRIVATE_FOLDER)
        self._schema = schema.insert(0, pa.field(ID_COLUMN, pa.int64(), nullable=False))
        self._vectors = TensorWriter(folder / VECTORS_NAME, "vectors", self._dtype, dim)
        self._file = create(folder / ROWS_NAME)
        self._table = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._id_first = -1
        self._id_last = -1
        self.record: SegmentRecord | None = None

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._vectors.rows

    def __enter__(self) -> Self:
        return self

    def write(self, ids: npt.NDArray[np.int64], vectors: VectorBatch, rows: pa.Table) -> None:
        """Append rows.

        Args:
            ids: int64 (b,), ascending, above all ids written before.
            vectors: b unit vectors.
            rows: b rows of the caller's columns, in the schema's order.

        Raises:
            MismatchError: unequal lengths, another dimension or other columns.
            VectorError: rounded to `dtype`, a vector is no unit vector any more.
        """
        if vectors.dim != self._dim or not ids.size == vectors.rows == rows.num_rows:
            raise MismatchError(
                f"a block has {vectors.rows} vectors of {vectors.dim} components and "
                f"{rows.num_rows} rows of metadata; the index has {self._dim} components, and both "
                "must be parallel."
            )
        table = rows.add_column(0, self._schema.field(0), pa.array(ids))
        if not table.schema.equals(self._schema):
            raise MismatchError(
                f"a block's columns are {_names(table.schema)}, the index has "
                f"{_names(self._schema)}. Cast the table to the index's schema."
            )
        if self._id_first < 0:
            self._id_first = int(ids[0])
        self._id_last = int(ids[-1])
        stored = vectors.vectors.astype(self._dtype, copy=False)
        if stored is not vectors.vectors:
            check_unit_rows(stored, what=f"as {self._dtype} vectors")
        self._vectors.write(stored)
        self._pending.append(table)
        self._pending_rows += table.num_rows
        if self._pending_rows >= ROW_GROUP_ROWS:
            self._write_groups(whole_only=True)

    def _write_groups(self, *, whole_only: bool) -> None:
        # Groups of one size, whatever the blocks were: row numbers then lead straight to a group.
        table = pa.concat_tables(self._pending).combine_chunks()
        rows = table.num_rows - (table.num_rows % ROW_GROUP_ROWS if whole_only else 0)
        with disk_full_explained(self._folder):
            self._table.write_table(table.slice(0, rows), row_group_size=ROW_GROUP_ROWS)
        self._pending = [table.slice(rows)]
        self._pending_rows = table.num_rows - rows

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._vectors.__exit__(kind, error, trace)
            self._table.close()
            self._file.close()
            return
        if self._pending_rows:
            self._write_groups(whole_only=False)
        with disk_full_explained(self._folder):
            self._table.close()
            self._file.close()
            sync_file(self._folder / ROWS_NAME)
        self._vectors.__exit__(None, None, None)
        sync_folder(self._folder)
        files = {
            VECTORS_NAME: describe_file(self._folder / VECTORS_NAME),
            ROWS_NAME: describe_file(self._folder / ROWS_NAME),
        }
        self.record = SegmentRecord(
            name=self._folder.name,
            rows=self.rows,
            id_first=self._id_first,
            id_last=self._id_last,
            files=files,
        )


def write_codes(folder: Path, record: SegmentRecord, codec: Codec) -> SegmentRecord:
    """Compress a written segment and return its record with the codes in it."""
    vectors = open_tensor(folder / VECTORS_NAME, "vectors")
    with (
        TensorWriter(folder / CODES_NAME, "bytes", np.dtype(np.int8), codec.code_bytes) as codes,
        TensorWriter(folder / BOUNDS_NAME, "bounds", np.dtype(np.float32), BOUNDS) as bounds,
    ):
        for start in range(0, record.rows, _ENCODE_ROWS):
            coded = codec.encode(vectors[start : start + _ENCODE_ROWS].astype(np.float32))
            codes.write(coded.codes)
            bounds.write(coded.bounds)
    sync_folder(folder)
    added = {name: describe_file(folder / name) for name in (CODES_NAME, BOUNDS_NAME)}
    return record.model_copy(update={"files": {**record.files, **added}})


def open_segment(folder: Path, record: SegmentRecord, *, dim: int, dtype: str) -> dict[str, Any]:
    """Map a segment's arrays and check them against its record.

    Returns:
        "vectors": float32 or float16 (rows, dim); "codes": `Codes`, if there.

    Raises:
        FormatError: a file is missing or does not fit the record.
    """
    arrays: dict[str, Any] = {}
    for name, file in record.files.items():
        path = folder / name
        size = content_bytes(path) if path.is_file() else -1
        if size != file.bytes:
            held = "is missing" if size < 0 else f"has {size} bytes"
            raise FormatError(
                f"'{path}' {held}, its manifest says {file.bytes}. "
                "The index is damaged: restore it from a copy or build it again."
            )
    blocks = -(-record.rows // BLOCK_ROWS)
    for name, key, rows in (
        (VECTORS_NAME, "vectors", record.rows),
        (CODES_NAME, "bytes", record.rows),
        (BOUNDS_NAME, "bounds", blocks),
    ):
        if name in record.files:
            arrays[key] = open_tensor(folder / name, key)
            if key == "bounds":
                arrays[key] = np.asarray(arrays[key])  # three numbers of 4096 rows
            if arrays[key].shape[0] != rows:
                raise FormatError(f"'{folder / name}' has {arrays[key].shape[0]} rows, not {rows}.")
    if "bytes" in arrays or "bounds" in arrays:
        arrays["codes"] = _checked_codes(folder, arrays.pop("bytes", None), arrays.pop("bounds", None))
    vectors = arrays.get("vectors")
    if vectors is None or vectors.shape[1] != dim or vectors.dtype != np.dtype(dtype):
        raise FormatError(
            f"'{folder}' should hold {dtype} vectors of {dim} components and does not. "
            "The index is damaged: restore it from a copy or build it again."
        )
    return arrays


def _checked_codes(folder: Path, codes: Any, bounds: Any) -> Codes:
    """Refuse codes that a search could not trust: bounds that are no numbers would rule out anything."""
    sound = codes is not None and bounds is not None and codes.dtype == np.int8 and bounds.dtype == np.float32
    if not sound or bounds.shape[1] != BOUNDS or not np.isfinite(bounds).all() or not (bounds[:, 0] > 0).all():
        raise FormatError(
            f"'{folder}' should hold int8 {CODES_NAME} and, for each of its blocks, {BOUNDS} finite numbers in {BOUNDS_NAME}, "
            "and does not. The index is damaged: restore it from a copy or build it again."
        )
    return Codes(codes, bounds)


def describe_file(path: Path) -> FileRecord:
    """Return size and SHA-256 of a file's content, which is the same whether or not it is sealed."""
    with open_file(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(bytes=file.seek(0, os.SEEK_END), sha256=digest)


def content_bytes(path: Path) -> int:
    """Return the size of a file's content."""
    with open_file(path) as file:
        return file.seek(0, os.SEEK_END)


def _names(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
