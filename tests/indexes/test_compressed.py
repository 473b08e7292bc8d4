import numpy as np
import pytest
from facelike_vectors import draw_faces, unit

from indexes import References, VectorBatch
from indexes.codec import CodecError, fit_codec
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


def test_a_saturated_query_is_searched_wider_until_every_copy_is_found(crowded):
    references, codec, vectors = crowded
    engine = CompressedEngine(references, codec, width=300)

    hits = engine.search(vectors[:3], threshold=0.9)

    assert hits == NaiveEngine(references).search(vectors[:3], threshold=0.9)
    assert hits.counts(3).tolist() == [2001, 1, 1]
    assert engine.stats.queries == 3
    assert engine.stats.widened == 2
    assert engine.stats.exact_queries == 0


def test_a_query_that_stays_saturated_ends_with_the_exact_engine(crowded):
    references, codec, vectors = crowded
    engine = CompressedEngine(references, codec, width=20)

    hits = engine.search(vectors[:1], threshold=0.9)

    assert hits.rows == 2001
    assert engine.stats.exact_queries == 1


def test_only_pairs_near_the_threshold_are_scored_again(crowded):
    references, codec, vectors = crowded
    engine = CompressedEngine(references, codec, width=300)

    engine.search(vectors[1:101], threshold=0.95)

    assert engine.stats.rescored == 100
    assert engine.stats.screened < 1000


def test_references_without_codes_are_refused(crowded):
    _, codec, vectors = crowded

    with pytest.raises(IndexesError, match="carry no codes"):
        CompressedEngine(References.from_memory(np.arange(len(vectors)), VectorBatch(vectors)), codec)


def test_a_wider_error_lowers_the_floor(crowded):
    _, codec, _ = crowded
    worse = CodecError(
        codec.error.score, codec.error.mean, tuple(2 * sd for sd in codec.error.sd), codec.error.worst, 1
    )

    both = codec.error.widest(worse)

    at = np.array([0.3, 0.5])
    assert (both.floor(at) < codec.error.floor(at)).all()
    assert both.pairs == codec.error.pairs + 1
