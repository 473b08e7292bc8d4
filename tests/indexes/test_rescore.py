import numpy as np
from facelike_vectors import draw_faces

from indexes import Hits, References
from indexes.references import Part
from indexes.rescore import cut, rescore, score_pairs
from indexes.vectors import product_margin

VECTORS = draw_faces(500, 1, seed=1, dim=256)


def test_a_pair_scores_the_same_alone_and_in_company():
    together = score_pairs(VECTORS[:499], VECTORS[1:])

    alone = [score_pairs(VECTORS[row : row + 1], VECTORS[row + 1 : row + 2])[0] for row in range(499)]
    assert together.tolist() == [float(score) for score in alone]
    assert np.array_equal(score_pairs(VECTORS[1:], VECTORS[:499]), together)


def test_scores_are_the_rounded_true_inner_product():
    exact = (VECTORS[:499].astype(np.longdouble) * VECTORS[1:]).sum(axis=1)

    np.testing.assert_allclose(
        score_pairs(VECTORS[:499], VECTORS[1:]), exact.astype(np.float64), rtol=6.1e-8, atol=1e-9
    )


def test_scores_never_leave_minus_one_to_one():
    long = np.float32(1.0005) * VECTORS[:5]

    assert score_pairs(long, long).tolist() == [1.0] * 5
    assert score_pairs(long, -long).tolist() == [-1.0] * 5


def test_rescoring_does_not_depend_on_the_order_of_pairs():
    references = References([Part(VECTORS[:200], np.arange(200)), Part(VECTORS[200:], np.arange(200, 500))])
    rng = np.random.default_rng(0)
    query_row, row = rng.integers(0, 50, 9000), rng.integers(0, 500, 9000)

    scores = rescore(VECTORS, references, query_row, row)

    assert np.array_equal(scores, score_pairs(VECTORS[query_row], VECTORS[row]))


def test_float32_products_are_within_the_margin():
    exact = VECTORS.astype(np.float64) @ VECTORS.astype(np.float64).T

    assert np.abs(VECTORS @ VECTORS.T - exact).max() <= product_margin(256) < 2e-5


def test_the_cut_keeps_the_best_and_whatever_reaches_the_threshold():
    hits = Hits.from_pairs(np.array([0, 0, 0, 1]), np.array([4, 2, 3, 9]), np.array([0.5, 0.5, 0.25, 0.1], np.float32))

    assert cut(hits, threshold=0.5, k=0).reference_id.tolist() == [2, 4]
    assert cut(hits, threshold=None, k=1).reference_id.tolist() == [2, 9]
    assert cut(hits, threshold=0.5, k=1).reference_id.tolist() == [2, 4, 9]
    # 0.1 is not a float32; the threshold is rounded as the score was.
    assert cut(hits, threshold=0.1, k=0).rows == 4
