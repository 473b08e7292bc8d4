"""The null: what is refused, and how both sides are cut to one size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scanner import artefacts, build
from scanner.errors import CalibrationError
from scanner.jobs.scanning.nulls import match_sizes, open_nulls
from scanner.records import content_id
from scanner.search import Gallery, open_galleries

DIM = 8
GB = 1 << 30


def unit(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def gallery(folder: Path, name: str, labels: list[str], *, items: list[str] | None = None, seed: int = 0) -> Gallery:
    vectors = unit(len(labels), seed)
    columns = {
        "id": [f"{name}-{row}" for row in range(len(labels))],
        "item_id": items or [content_id(f"{name}-{row}".encode()) for row in range(len(labels))],
        "uri": [f"{name}/{row}" for row in range(len(labels))],
        "identity": labels,
        "face": [0] * len(labels),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
    }
    schema = artefacts.stamped(artefacts.embeddings_schema(DIM), "embeddings", fingerprint="net")
    artefacts.write_tables(folder / f"{name}.parquet", schema, [artefacts.table_of(schema, columns)])
    build(folder / name, str(folder / f"{name}.parquet"))
    (opened,) = open_galleries([folder / name], memory_bytes=GB)
    return opened


def test_both_sides_have_as_many_people_in_as_many_photos(tmp_path: Path):
    candidates = gallery(tmp_path, "c", [f"c{n}" for n, photos in enumerate((5, 3, 1, 1)) for _ in range(photos)])
    null = gallery(tmp_path, "n", [f"n{n}" for n in range(40) for _ in range(2)], seed=1)

    left, right = match_sizes([candidates], [null], seed=3)

    counts = [sorted(Counter(side.identity).values()) for side in (left, right)]
    assert counts == [[1, 1, 2, 2], [1, 1, 2, 2]]
    known = candidates.index.references().gather(np.arange(10))
    names = candidates.index.column("identity").to_pylist()
    for vector, (index, name) in zip(left.vectors, left.identity, strict=True):
        assert index == "c"
        assert any(np.array_equal(vector, known[row]) for row in range(10) if names[row] == name)


def test_every_photo_has_its_chance_to_be_kept(tmp_path: Path):
    candidates = gallery(tmp_path, "c", ["c0"] * 4)
    null = gallery(tmp_path, "n", ["n0"], seed=1)
    known = candidates.index.references().gather(np.arange(4))

    kept = [match_sizes([candidates], [null], seed=seed)[0].vectors[0] for seed in range(60)]

    rows = [int((known @ vector).argmax()) for vector in kept]
    assert min(Counter(rows)[row] for row in range(4)) >= 5


def test_the_same_files_under_other_labels_are_no_null(tmp_path: Path):
    items = [f"{n:032x}" for n in range(140)]
    candidates = gallery(tmp_path, "c", [f"c{n}" for n in range(20)], items=items[:20])
    gallery(tmp_path, "n", [f"n{n}" for n in range(130)], items=items[10:], seed=1)

    with pytest.raises(CalibrationError, match="10 pictures are, byte for byte, in the candidates and in the null"):
        open_nulls([str(tmp_path / "n")], [candidates], memory_bytes=GB, engine="auto")
