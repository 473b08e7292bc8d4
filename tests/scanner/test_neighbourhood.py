"""What lies near each photo, against a product and a sort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from indexes import VectorBatch, build_index, open_index
from scanner import search
from scanner.search import gallery_neighbours, neighbours_of, open_galleries

SCHEMA = pa.schema([("identity", pa.string())])


def unit(rows: int, dim: int = 16, *, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@given(
    photos=st.integers(1, 40),
    samples=st.integers(1, 40),
    k=st.integers(1, 6),
    seed=st.integers(0, 1000),
    tile=st.sampled_from([1, 7, 4096]),
)
@settings(max_examples=40, deadline=None)
def test_neighbours_are_those_of_the_whole_product(photos: int, samples: int, k: int, seed: int, tile: int):
    left, right = unit(photos, seed=seed), unit(samples, seed=seed + 1)
    radii = (0.0, 0.25)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_SWAPPED_ROWS", tile)
        patch.setattr(search, "_TILE_ROWS", tile)
        near = neighbours_of(left, right, k=k, radii=radii)

    scores = left.astype(np.float64) @ right.astype(np.float64).T
    ordered = np.sort(scores, axis=1)[:, ::-1][:, :k]
    kept = min(k, samples)
    np.testing.assert_allclose(near.score[:, :kept], ordered, atol=2e-6)
    assert (near.score[:, kept:] == -1.0).all()
    assert (near.row[:, kept:] == -1).all()
    np.testing.assert_allclose(np.take_along_axis(scores, near.row[:, :kept], 1), ordered, atol=2e-6)
    np.testing.assert_allclose(near.mean, scores.mean(1), atol=1e-7)
    np.testing.assert_allclose(near.sd, scores.std(1), atol=1e-6)
    sure = np.abs(scores[:, :, None] - np.array(radii)).min(axis=(1, 2)) > 1e-5
    within = (scores[:, :, None] >= np.array(radii)).sum(1)
    np.testing.assert_array_equal(near.within[sure], within[sure])
    assert near.samples == samples


def test_a_gallery_gives_the_neighbours_of_what_is_not_erased_in_order_of_id(tmp_path: Path):
    vectors, samples = unit(50, seed=1), unit(30, seed=2)
    table = pa.table({"identity": [f"p{n}" for n in range(50)]}, SCHEMA)
    build_index(
        tmp_path / "i",
        [(VectorBatch(vectors), table)],
        dim=16,
        schema=SCHEMA,
        fingerprint="f" * 16,
        embedder={"name": "x"},
    )
    open_index(tmp_path / "i").remove(ids=[3, 17])
    (gallery,) = open_galleries([tmp_path / "i"], memory_bytes=1 << 30)

    near = gallery_neighbours(gallery, samples, k=3)

    alive = np.delete(np.arange(50), [3, 17])
    expected = neighbours_of(vectors[alive], samples, k=3)
    np.testing.assert_array_equal(near.score, expected.score)
    np.testing.assert_array_equal(near.row, expected.row)
