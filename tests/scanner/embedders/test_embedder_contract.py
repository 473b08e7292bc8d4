"""What every embedder promises."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scanner.dlib_files import is_installed
from scanner.embedders import Embedder, open_embedder
from scanner.sessions import choose_device

CPU = choose_device("cpu")
Real = Callable[[], Path]


def drawn(folder: Path, real: Real) -> str:
    return "drawn"


def dlib(folder: Path, real: Real) -> str:
    if not is_installed():
        pytest.skip("the extra 'dlib' is not installed")
    return "dlib"


def onnx(folder: Path, real: Real) -> str:
    return f"onnx:{real() / 'models' / 'mobileface-v2.onnx'}"


def pack(folder: Path, real: Real) -> str:
    for name in ("scrfd_500m_kps.onnx", "mobilefacenet.onnx"):
        (folder / name).symlink_to(real() / "models" / name)
    return f"insightface:{folder}"


@pytest.fixture(
    scope="module",
    params=[drawn, dlib, pytest.param(onnx, marks=pytest.mark.real), pytest.param(pack, marks=pytest.mark.real)],
    ids=lambda p: p.__name__,
)
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tmp_path_factory.mktemp("pack")
    spec = request.param(folder, lambda: request.getfixturevalue("real"))
    return open_embedder(spec, CPU).embedder


@pytest.fixture(scope="module")
def crops(embedder: Embedder) -> NDArray[np.uint8]:
    """Nineteen crops of the embedder's size: more than a batch, and no whole number of batches."""
    width, height = embedder.crop_size_px
    return np.random.default_rng(1).integers(0, 256, (19, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def vectors(embedder: Embedder, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    return embedder.embed(crops)


def test_rows_are_unit_vectors_in_float32(embedder, crops, vectors):
    assert vectors.shape == (19, embedder.dim)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_different_crops_have_different_vectors(vectors):
    scores = vectors @ vectors.T

    assert scores[~np.eye(19, dtype=bool)].max() < 0.9999


def test_a_row_does_not_depend_on_its_neighbours_or_its_place_bit_for_bit(embedder, crops, vectors):
    assert np.array_equal(embedder.embed(crops[5:6])[0], vectors[5])
    assert np.array_equal(embedder.embed(crops[18:])[0], vectors[18])
    assert np.array_equal(embedder.embed(crops[3:8][::-1]), vectors[3:8][::-1])


def test_the_same_crops_give_the_same_bytes_again(embedder, crops, vectors):
    assert embedder.embed(crops[:4]).tobytes() == vectors[:4].tobytes()


def test_crops_that_are_not_contiguous_or_not_writeable_are_taken(embedder, crops, vectors):
    mirrored = np.ascontiguousarray(crops[:2, :, ::-1])
    locked = crops[:2].copy()
    locked.flags.writeable = False

    assert np.array_equal(embedder.embed(mirrored[:, :, ::-1]), vectors[:2])
    assert np.array_equal(embedder.embed(locked), vectors[:2])


def test_no_crops_give_no_rows(embedder, crops):
    rows = embedder.embed(crops[:0])

    assert rows.shape == (0, embedder.dim)
    assert rows.dtype == np.float32


def test_threads_get_the_same_rows(embedder, crops, vectors):
    with ThreadPoolExecutor(3) as pool:
        rows = list(pool.map(embedder.embed, [crops[n : n + 1] for n in range(6)]))

    assert np.array_equal(np.concatenate(rows), vectors[:6])


def test_a_description_says_what_a_reader_must_know(embedder):
    said = embedder.describe()

    assert (said["name"], said["fingerprint"], said["dim"]) == (embedder.name, embedder.fingerprint, embedder.dim)
    assert said["input_size"] == list(embedder.crop_size_px)
    assert len(str(said["sha256"])) == 64
    assert len(embedder.fingerprint) == 16
    assert int(embedder.fingerprint, 16) >= 0
    assert said["licence"]
    assert (said["device"], bool(said["device_reason"])) == ("cpu", True)
