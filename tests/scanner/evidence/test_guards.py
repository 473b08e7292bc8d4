"""The two-sample guard: silent when nothing differs, loud when something does."""

import numpy as np
from scipy import stats

from scanner.evidence.guards import two_sample


def draw(rng, people, shift=0.0):
    vectors = rng.normal(size=(people, 24))
    vectors[:, 0] += shift
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_p_values_are_uniform_when_the_sets_are_alike():
    rng = np.random.default_rng(0)
    found = [two_sample(draw(rng, 150), draw(rng, 220), seed=seed) for seed in range(200)]

    assert stats.kstest([f.p_value for f in found], "uniform").pvalue > 0.01
    assert sum(f.differ for f in found) <= 6


def test_sets_of_different_kinds_are_told_apart():
    rng = np.random.default_rng(1)

    found = two_sample(draw(rng, 300), draw(rng, 300, shift=1.0), seed=0)

    assert found.differ
    assert 0.7 < found.auc < 0.85
    assert (found.left, found.right) == (300, 300)


def test_an_embedder_that_gives_everybody_the_same_vector_is_no_crash():
    """Then there is no spread that a classifier could weigh a difference with."""
    one, other = np.eye(2, 24, dtype=np.float32)

    same = two_sample(np.tile(one, (20, 1)), np.tile(one, (30, 1)), seed=0)
    apart = two_sample(np.tile(one, (20, 1)), np.tile(other, (30, 1)), seed=0)

    assert (same.auc, same.p_value, same.differ) == (0.5, 0.5, False)
    assert (apart.auc, apart.differ) == (1.0, True)


def test_a_difference_too_small_to_matter_is_no_difference_whatever_its_p_value():
    rng = np.random.default_rng(2)

    found = two_sample(draw(rng, 5000), draw(rng, 5000, shift=0.12), seed=0)

    assert found.p_value < 1e-4
    assert not found.differ
