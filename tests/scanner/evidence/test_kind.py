"""Few photos told from the null's only when they are of another kind."""

import numpy as np
from scipy import stats

from scanner.evidence.kind import are_apart, told_apart


def test_photos_of_the_same_kind_are_told_apart_no_more_often_than_the_level():
    rng = np.random.default_rng(11)
    p = []
    for seed in range(30):
        photos, null = (rng.normal(size=(n, 6)).astype(np.float32) for n in (12, 60))
        p.append(told_apart(photos, null, permutations=9, seed=seed).p_value)

    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_photos_of_another_kind_are_told_apart():
    rng = np.random.default_rng(12)

    found = told_apart(
        rng.normal(0.8, 1, size=(30, 6)).astype(np.float32), rng.normal(size=(200, 6)).astype(np.float32), seed=0
    )

    assert found.differ
    assert found.p_value == 0.005


def test_a_small_set_is_called_different_only_if_permuted_labels_agree():
    rng = np.random.default_rng(8)
    wrong = sum(
        are_apart(
            rng.normal(size=(14, 16)).astype(np.float32), rng.normal(size=(200, 16)).astype(np.float32), seed=n
        ).differ
        for n in range(60)
    )
    shifted = (rng.normal(size=(60, 16)) + 0.8).astype(np.float32)

    assert wrong <= 3
    assert are_apart(shifted, rng.normal(size=(200, 16)).astype(np.float32), seed=0).differ
