import numpy as np
import pytest
from facelike_vectors import draw_faces

from indexes import faiss_lib
from indexes.codec import Codec, CodecError, fit_codec, pair_axes
from indexes.codec_file import encode_codec, read_codec
from indexes.errors import FormatError, IndexesError


@pytest.fixture(scope="module")
def vectors():
    return draw_faces(3000, 1, seed=9)


@pytest.fixture(scope="module")
def codec(vectors) -> Codec:
    return fit_codec(vectors[:2000], seed=4)


def test_the_same_sample_and_seed_give_the_same_bytes(vectors, codec):
    assert encode_codec(fit_codec(vectors[:2000], seed=4)) == encode_codec(codec)


def test_axes_are_orthonormal_and_pair_strong_with_weak(vectors):
    axes, kept = pair_axes(vectors)

    assert kept == 48
    np.testing.assert_allclose(axes.T @ axes, np.eye(48), atol=1e-5)
    energy = np.square(vectors @ axes).mean(axis=0)
    assert energy[0] == energy.max()
    assert energy[1] == energy.min()


def test_directions_that_the_data_never_use_are_dropped():
    rng = np.random.default_rng(0)
    flat = rng.standard_normal((500, 9)) @ rng.standard_normal((9, 40))
    flat = (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32)

    axes, kept = pair_axes(flat)

    assert kept == 12
    assert axes.shape == (40, 12)


def test_the_mean_direction_is_kept():
    rng = np.random.default_rng(0)
    crowded = np.full((400, 20), 1.0) + 0.1 * rng.standard_normal((400, 20))
    crowded = (crowded / np.linalg.norm(crowded, axis=1, keepdims=True)).astype(np.float32)

    axes, _ = pair_axes(crowded)

    assert np.square(np.full(20, 20**-0.5) @ axes).sum() > 0.999


def test_the_measured_error_holds_for_pairs_never_seen(vectors, codec):
    unseen = vectors[2000:]
    back = faiss_lib.decode(codec.centroids, codec.encode(unseen))
    exact = unseen @ unseen.T
    compressed = codec.turn(unseen) @ back.T

    falls_short = compressed < codec.error.floor(exact.ravel()).reshape(exact.shape)

    assert falls_short.mean() < 1e-4


def test_a_codec_on_disk_is_the_codec(tmp_path, codec, vectors):
    for name, content in encode_codec(codec).items():
        (tmp_path / name).write_bytes(content)

    again = read_codec(tmp_path, dim=48)

    assert again.error == codec.error
    assert np.array_equal(again.encode(vectors[:50]), codec.encode(vectors[:50]))
    with pytest.raises(FormatError, match="do not fit vectors of 64 components"):
        read_codec(tmp_path, dim=64)
    (tmp_path / "codec.json").write_text("{}")
    with pytest.raises(FormatError, match="cannot be read"):
        read_codec(tmp_path, dim=48)


def test_too_few_rows_are_refused(vectors):
    with pytest.raises(IndexesError, match="at least 64 rows to be fitted, got 63"):
        fit_codec(vectors[:63], seed=0)


def test_floors_never_fall_as_scores_rise(codec):
    floors = codec.error.floor(np.linspace(-1, 1, 201))

    assert (np.diff(floors) >= 0).all()
    assert CodecError.from_json(codec.error.as_json()) == codec.error


def test_codes_load_in_any_blocks(vectors, codec):
    codes = codec.encode(vectors)
    queries = codec.turn(vectors[:9])
    whole = faiss_lib.CompressedScan(codec.centroids, [codes])

    for size in (1000, 33, 32, 31):
        cut = faiss_lib.CompressedScan(codec.centroids, (codes[s : s + size] for s in range(0, 3000, size)))
        assert cut.rows == 3000
        assert np.array_equal(cut.best(queries, 20)[1], whole.best(queries, 20)[1])
