"""Index folders that somebody has tampered with: every reader ends in one of our errors, and leads nowhere else."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexes import VectorBatch, build_index, open_index
from indexes.errors import FormatError, IndexesError
from indexes.tensor_file import open_tensor

DEEP = 100_000
DIM = 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A compressed index of 600 rows, one of them erased."""
    vectors = np.random.default_rng(0).normal(size=(600, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    rows = pa.table({"uri": [f"u{row}" for row in range(600)]})
    block = (VectorBatch(vectors), rows)
    index = build_index(tmp_path / "x.idx", [block], fingerprint="net", dim=DIM, schema=rows.schema, codec="always")
    index.remove([3])
    return tmp_path / "x.idx"


def replaced(folder: Path, file: Path, content: bytes) -> None:
    """Replace a file, and say so in the manifest: a tampered index is consistent in itself."""
    file.write_bytes(content)
    record = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    document = json.loads((folder / "manifest.json").read_text())

    def mend(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("name") == file.name and "file" in value:
                value["file"] = record
            return {key: record if key == file.name else mend(part) for key, part in value.items()}
        return [mend(part) for part in value] if isinstance(value, list) else value

    (folder / "manifest.json").write_text(json.dumps(mend(document)))


def read_all(folder: Path) -> None:
    index = open_index(folder)
    references = index.references()
    index.column("uri")
    index.lookup(references.ids[references.live_rows()][:3])
    index.engine(1 << 28)


def parquet_of(table: pa.Table, path: Path) -> bytes:
    pq.write_table(table, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "text", ["[" * DEEP, '{"a":' * DEEP, "1" * 10_000, "null", '{"format": "identity-leak-index", "format_version": 1}']
)
def test_a_manifest_that_is_none(folder: Path, text: str) -> None:
    """Brackets a hundred thousand deep ended in a RecursionError."""
    (folder / "manifest.json").write_text(text)

    with pytest.raises(FormatError, match=r"manifest\.json"):
        open_index(folder)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "..", ".hidden", "a/b", "a\0b", "x" * 101, ""])
def test_names_that_lead_out(folder: Path, name: str) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    for change in ("segment", "tombstone", "file"):
        changed = json.loads(json.dumps(document))
        segment = changed["segments"][0]
        if change == "segment":
            segment["name"] = name
        elif change == "tombstone":
            changed["tombstones"][0]["name"] = name
        else:
            segment["files"][name] = next(iter(segment["files"].values()))
        (folder / "manifest.json").write_text(json.dumps(changed))

        with pytest.raises(FormatError, match="must be a plain file name"):
            open_index(folder)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: b"PAR1 no Parquet PAR1",
        lambda path: parquet_of(pa.table({"id": ["a"] * 600, "uri": ["u"] * 600}), path),
        lambda path: parquet_of(pa.table({"id": pa.nulls(600, pa.int64()), "uri": ["u"] * 600}), path),
        lambda path: parquet_of(pa.table({"other": [1] * 600}), path),
        lambda path: parquet_of(pa.table({"id": list(range(600)), "uri": list(range(600))}), path),
        lambda path: parquet_of(pa.table({"id": list(range(600))}), path),
        lambda path: parquet_of(pa.table({"id": [0] * 600, "uri": ["u"] * 600}), path),
    ],
)
def test_rows_that_are_no_rows(folder: Path, tmp_path: Path, make: Callable[[Path], bytes]) -> None:
    """What pyarrow says of a damaged file came through as it was."""
    (rows,) = (folder / "segments").glob("*/rows.parquet")
    replaced(folder, rows, make(tmp_path / "made.parquet"))

    with pytest.raises(FormatError, match=r"damaged|ids"):
        read_all(folder)


def test_tombstones_and_a_schema_that_are_none(folder: Path) -> None:
    (tombstone,) = (folder / "tombstones").iterdir()
    good = tombstone.read_bytes()
    replaced(folder, tombstone, b"PAR1 no Parquet PAR1")
    with pytest.raises(FormatError, match="cannot be read"):
        read_all(folder)

    replaced(folder, tombstone, good)
    document = json.loads((folder / "manifest.json").read_text())
    for schema in ("no base64!", "AAAA", "/////w=="):
        (folder / "manifest.json").write_text(json.dumps({**document, "schema_base64": schema}))
        with pytest.raises(FormatError, match="the manifest's schema cannot be read"):
            read_all(folder)


@pytest.mark.parametrize(
    "text", [b"[" * DEEP, b'{"kept": 1e999, "seed": 0}', b'{"kept": null, "seed": 0}', b"[]", b"\xff"]
)
def test_a_codec_that_is_none(folder: Path, text: bytes) -> None:
    replaced(folder, folder / "codec.json", text)

    with pytest.raises(FormatError, match=r"the codec in .* cannot be read"):
        read_all(folder)


def test_axes_that_are_no_numbers(folder: Path) -> None:
    """Every pair would have been ruled out, and a search have found nothing."""
    path = folder / "codec.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    replaced(folder, path, bytes(data))

    with pytest.raises(FormatError, match="do not fit"):
        read_all(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * DEEP,
        b'{"vectors":{"dtype":"F32","shape":[1e999,4],"data_offsets":[0,64]}}',
        b'{"vectors":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,64]}}',
        b'{"vectors":{"dtype":"F32","shape":[-4,-4],"data_offsets":[0,64]}}',
        b'{"vectors":{"dtype":"F32","shape":[4,4],"data_offsets":[0,1e400]}}',
    ],
)
def test_a_tensor_whose_header_makes_no_sense(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "vectors.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    with pytest.raises(FormatError):
        open_tensor(path, "vectors")

    path.write_bytes(struct.pack("<Q", (1 << 63) - 1) + header)
    with pytest.raises(FormatError):
        open_tensor(path, "vectors")


def test_a_pipe_in_the_place_of_a_file_does_not_hang(folder: Path) -> None:
    for name in ("manifest.json", "codec.json", "codec.safetensors"):
        path = folder / name
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)

        with pytest.raises(IndexesError):
            read_all(folder)

        path.unlink()
        path.write_bytes(content)
    read_all(folder)
