"""Latents: row i depends on the seed and on its number alone, and the laws are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scanner.errors import UsageError
from scanner.generators.latents import LatentLaw

LAWS = st.sampled_from(
    [
        LatentLaw(3), LatentLaw(5, "uniform"), LatentLaw(4, "truncated", 0.3), LatentLaw(4, "truncated", 1.7),
        LatentLaw(2, classes=7),
    ]
)  # fmt: skip


@given(LAWS, st.integers(0, 2**40), st.integers(0, 10**9), st.lists(st.integers(0, 6), max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_row_does_not_depend_on_what_else_is_drawn(law: LatentLaw, seed: int, first: int, pieces: list[int]) -> None:
    whole = law.draw(seed, first, sum(pieces))

    at = first
    for count in pieces:
        piece = law.draw(seed, at, count)
        rows = slice(at - first, at - first + count)
        np.testing.assert_array_equal(piece.values, whole.values[rows])
        if law.classes is not None:
            np.testing.assert_array_equal(piece.labels, whole.labels[rows])
        at += count


def test_a_normal_row_is_numpys_own() -> None:
    """The slow twin, which also says that other versions must not change anybody's images."""
    rows = [np.random.default_rng([9, number]).standard_normal(3) for number in range(5, 8)]

    np.testing.assert_array_equal(LatentLaw(3).draw(9, 5, 3).values, np.array(rows, np.float32))


def test_seeds_and_numbers_are_not_mixed_up() -> None:
    law = LatentLaw(8)
    rows = {law.draw(seed, number, 1).values.tobytes() for seed in range(20) for number in range(20)}

    assert len(rows) == 400


@pytest.mark.parametrize(
    ("law", "known"),
    [
        (LatentLaw(40), stats.norm()),
        (LatentLaw(40, "uniform"), stats.uniform(-1, 2)),
        (LatentLaw(40, "truncated", 0.5), stats.truncnorm(-0.5, 0.5)),
        (LatentLaw(40, "truncated", 1.0), stats.truncnorm(-1, 1)),
        (LatentLaw(40, "truncated", 2.0), stats.truncnorm(-2, 2)),
    ],
)
def test_the_law_is_the_one_that_was_named(law: LatentLaw, known: stats.rv_continuous) -> None:
    values = law.draw(1, 0, 500).values.reshape(-1)

    assert stats.kstest(values, known.cdf).pvalue > 0.001
    if law.truncation is not None:
        assert np.abs(values).max() <= np.float32(law.truncation)


def test_labels_are_even_and_independent_of_how_many_there_are() -> None:
    latents = LatentLaw(2, classes=5).draw(3, 0, 2000)

    assert latents.labels.dtype == np.int64
    assert stats.chisquare(np.bincount(latents.labels, minlength=5)).pvalue > 0.001
    np.testing.assert_array_equal(latents.values, LatentLaw(2).draw(3, 0, 2000).values)


@pytest.mark.parametrize(
    "given_",
    [
        {"size": 0}, {"size": 3, "law": "cauchy"}, {"size": 3, "truncation": 0.7}, {"size": 3, "law": "truncated"},
        {"size": 3, "law": "truncated", "truncation": -1.0}, {"size": 3, "law": "truncated", "truncation": float("nan")},
        {"size": 3, "classes": 0},
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(given_: dict) -> None:
    with pytest.raises(UsageError):
        LatentLaw(**given_)


@pytest.mark.parametrize("place", [(-1, 0, 1), (0, -1, 1), (0, 0, -1)])
def test_nothing_is_drawn_below_zero(place: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="below 0"):
        LatentLaw(3).draw(*place)
