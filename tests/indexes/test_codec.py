"""The compressed form: the same bytes again, directions that carry nothing left out, and bounds that hold."""

import numpy as np
import pytest
from facelike_vectors import draw_faces, unit

from indexes.codec import BLOCK_ROWS, Codec, fit_codec, main_directions, score_error
from indexes.codec_file import encode_codec, read_codec
from indexes.errors import FormatError, IndexesError


@pytest.fixture(scope="module")
def vectors():
    return draw_faces(9000, 1, seed=9)


@pytest.fixture(scope="module")
def codec(vectors) -> Codec:
    return fit_codec(vectors[:2000], seed=4)


def test_the_same_sample_and_seed_give_the_same_bytes(vectors, codec):
    assert encode_codec(fit_codec(vectors[:2000], seed=4)) == encode_codec(codec)
    assert encode_codec(fit_codec(vectors[:2000], seed=5)) != encode_codec(codec)


def test_axes_keep_lengths_and_fill_whole_columns(vectors, codec):
    assert (codec.kept, codec.code_bytes) == (48, 64)
    np.testing.assert_allclose(codec.axes @ codec.axes.T, np.eye(48), atol=1e-5)
    energy = np.square(vectors @ codec.axes).mean(axis=0)
    assert energy.max() < 8 * energy.mean()


def test_directions_that_the_data_never_use_are_dropped():
    rng = np.random.default_rng(0)
    flat = unit(rng.standard_normal((500, 9)) @ rng.standard_normal((9, 40)))

    directions, needed = main_directions(flat)

    assert needed == 9
    np.testing.assert_allclose(np.square(flat @ directions[:, :9]).sum(axis=1), 1, atol=1e-5)
    assert fit_codec(flat, seed=0).code_bytes == 32


def test_the_mean_direction_is_kept():
    rng = np.random.default_rng(0)
    crowded = unit(np.full((400, 20), 1.0) + 0.1 * rng.standard_normal((400, 20)))

    assert np.square(np.full(20, 20**-0.5) @ main_directions(crowded)[0][:, 0]) > 0.999


def test_no_score_is_off_by_more_than_its_block_says(vectors, codec):
    """All pairs of 300 queries and 9 000 rows, in float64, against codes that were fitted on other rows."""
    coded, queries = codec.encode(vectors), vectors[::30]
    asked = codec.encode_queries(queries)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    assert coded.bounds.shape == (3, 3)
    for number, (scale, length, residual) in enumerate(coded.bounds.tolist()):
        rows = slice(number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)
        products = asked.codes.astype(np.float64) @ coded.codes[rows].T.astype(np.float64)
        off = np.abs(products * scale * asked.scale[:, None] - exact[:, rows]).max(axis=1)
        bound = score_error(asked.rest, length, residual)

        assert (off <= bound).all()
        assert bound.max() < 0.04


def test_a_row_unlike_the_others_widens_its_own_block_alone(vectors, codec):
    odd = vectors[:8200].copy()
    odd[5000] = np.eye(48, dtype=np.float32)[0]
    narrow = Codec(codec.axes * (np.arange(48) > 0)[:, None].astype(np.float32), 47, 0)

    residuals = narrow.encode(odd).bounds[:, 2]

    assert residuals[1] > 0.99
    assert residuals[[0, 2]].max() < 0.9


def test_codes_do_not_depend_on_how_many_blocks_come_at_once(vectors, codec):
    whole = codec.encode(vectors)
    parts = [codec.encode(vectors[start : start + BLOCK_ROWS]) for start in range(0, 9000, BLOCK_ROWS)]

    assert np.array_equal(whole.codes, np.concatenate([part.codes for part in parts]))
    assert np.array_equal(whole.bounds, np.concatenate([part.bounds for part in parts]))


def test_a_codec_on_disk_is_the_codec(tmp_path, codec, vectors):
    for name, content in encode_codec(codec).items():
        (tmp_path / name).write_bytes(content)

    again = read_codec(tmp_path, dim=48)

    assert np.array_equal(again.encode(vectors[:50]).codes, codec.encode(vectors[:50]).codes)
    with pytest.raises(FormatError, match="do not fit vectors of 64 components"):
        read_codec(tmp_path, dim=64)
    (tmp_path / "codec.json").write_text("{}")
    with pytest.raises(FormatError, match="cannot be read"):
        read_codec(tmp_path, dim=48)


def test_too_few_rows_are_refused(vectors):
    with pytest.raises(IndexesError, match="at least 64 rows to be fitted, got 63"):
        fit_codec(vectors[:63], seed=0)
