"""Searching by bytes: what is ruled out is ruled out by an inequality, also where rows are odd."""

import threading

import numpy as np
import pytest
from facelike_vectors import draw_faces, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes import References, VectorBatch, byte_products
from indexes.byte_products import bytes_gain, multiply_bytes
from indexes.codec import fit_codec
from indexes.compressed import CompressedEngine
from indexes.errors import IndexesError
from indexes.naive import NaiveEngine
from indexes.references import Part


@pytest.fixture(scope="module")
def crowded():
    """2 000 near-copies of one vector among 4 000 others."""
    others = draw_faces(4000, 1, seed=5)
    rng = np.random.default_rng(6)
    copies = unit(others[:1] + 0.02 * rng.standard_normal((2000, others.shape[1])))
    vectors = np.concatenate([others, copies])
    codec = fit_codec(vectors, seed=0)
    return References([Part(vectors, np.arange(len(vectors)), None, codec.encode(vectors))]), codec, vectors


def test_a_crowd_of_copies_is_found_whole(crowded):
    references, codec, vectors = crowded
    engine = CompressedEngine(references, codec)

    hits = engine.search(vectors[:3], threshold=0.9)

    assert hits == NaiveEngine(references).search(vectors[:3], threshold=0.9)
    assert hits.counts(3).tolist() == [2001, 1, 1]


def test_rows_unlike_all_that_the_codec_was_fitted_on_are_found(crowded):
    """Their block has a residual near 1, and is searched by its vectors."""
    _, _, vectors = crowded
    flat = unit(np.linalg.svd(vectors[:300], full_matrices=True)[2][-8:] + 1e-3)
    narrow = fit_codec(unit(vectors[:, :8] @ np.eye(8, vectors.shape[1])), seed=0)
    both = np.concatenate([vectors[:5000], flat.astype(np.float32)])
    references = References([Part(both, np.arange(len(both)), None, narrow.encode(both))])

    engine, naive = CompressedEngine(references, narrow), NaiveEngine(references)

    assert narrow.encode(both).bounds[:, 2].min() > 0.5
    assert engine.search(both[-20:], threshold=0.5, k=2) == naive.search(both[-20:], threshold=0.5, k=2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.floats(0.0, 3.0), st.floats(-0.5, 1.0), st.integers(0, 4))
def test_whatever_the_rows_nothing_is_missed(seed, dim, skew, threshold, k):
    """Spectra from flat to steep, codes fitted on half the rows, thresholds anywhere."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((400, dim)) * np.arange(1, dim + 1) ** -skew + rng.standard_normal(dim))
    codec = fit_codec(vectors[:200], seed=seed % 7)
    references = References([Part(vectors, rng.permutation(400), None, codec.encode(vectors))])
    queries = np.concatenate([vectors[:5], unit(rng.standard_normal((5, dim)))])

    found = CompressedEngine(references, codec).search(queries, threshold=threshold, k=k)

    assert found == NaiveEngine(references).search(queries, threshold=threshold, k=k)


def test_references_without_codes_are_refused(crowded):
    _, codec, vectors = crowded

    with pytest.raises(IndexesError, match="carry no codes"):
        CompressedEngine(References.from_memory(np.arange(len(vectors)), VectorBatch(vectors)), codec)


def test_products_of_bytes_are_exact():
    rng = np.random.default_rng(0)
    for n, rows, columns in ((1, 1, 32), (7, 33, 64), (100, 4096, 160)):
        left, right = (rng.integers(-127, 128, (count, columns), np.int8) for count in (n, rows))
        expected = left.astype(np.int64) @ right.T.astype(np.int64)
        scratch = threading.local()
        dead = np.array([0])
        expected[:, dead] = np.iinfo(np.int32).min
        for _ in range(2):
            products, peaks = multiply_bytes(left, right, dead, scratch)
            assert np.array_equal(products, expected)
            assert np.array_equal(peaks, expected.reshape(n, peaks.shape[1], -1).max(axis=2))
            right.flags.writeable = False


def test_a_machine_whose_products_overflow_is_refused_and_not_chosen(crowded, monkeypatch):
    references, codec, _ = crowded

    def saturating(left, right, dead, scratch):
        del dead, scratch
        products = np.clip(left.astype(np.int64) @ right.T.astype(np.int64), -32768, 32767).astype(np.int32)
        return products, products.max(axis=1, keepdims=True)

    monkeypatch.setattr(byte_products, "multiply_bytes", saturating)
    bytes_gain.cache_clear()
    try:
        assert bytes_gain() == 0.0
        with pytest.raises(IndexesError, match="overflows, so that the compressed engine would lose pairs"):
            CompressedEngine(references, codec)
    finally:
        bytes_gain.cache_clear()


def test_torch_keeps_its_threads(crowded):
    import torch

    references, codec, vectors = crowded
    before = torch.get_num_threads()

    CompressedEngine(references, codec).search(vectors[:3], threshold=0.9)

    assert torch.get_num_threads() == before
