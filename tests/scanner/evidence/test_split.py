"""Match rates of re-created photos: definitions on planted vectors, the slow twin, and coverage where the truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scanner.errors import CalibrationError
from scanner.evidence.split import NULLS, TYPES, Judged, MatchRate, match_rate_slowly, share_by_all


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(
    rng: np.random.Generator, people: int, *, leak: float = 0.6, photos: int = 2, common: float = 0.5, dim: int = 24
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return re-created and original vectors: people differ in how well they are re-created, all share a look."""
    person = np.repeat(np.arange(people), photos)
    ease = rng.random(people)[person][:, None]
    original = unit(rng.normal(size=(people, dim))[person] + 0.6 * rng.normal(size=(len(person), dim)))
    look = np.ones(dim) / np.sqrt(dim)
    recreated = unit(2 * leak * ease * original + common * look + 0.2 * rng.normal(size=original.shape))
    return recreated, original, person


@pytest.mark.parametrize("seed", range(4))
def test_every_rate_is_that_of_counting_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    recreated, original, person = draw(rng, 14, photos=3)
    person = np.where(np.arange(len(person)) % 7 == 0, person + 100, person)  # some photos stand alone

    slow = match_rate_slowly(recreated, original, person, fmr=0.05)
    judged = Judged(recreated, original, person)

    for match in TYPES:
        for null in NULLS:
            rate = judged.rate(match, fmr=0.05, null=null)
            assert rate.value == pytest.approx(slow[f"{match} {null}"])
            assert rate.low <= rate.value <= rate.high


def test_type_one_is_the_very_photo_and_type_two_another_of_the_person() -> None:
    rng = np.random.default_rng(0)
    original = unit(rng.normal(size=(80, 200)))  # 40 people, whose two photos have nothing in common
    person = np.repeat(np.arange(40), 2)

    same = Judged(original, original, person)
    swapped = Judged(original[np.arange(80) ^ 1], original, person)  # the re-created photo is the other one

    assert same.rate("type_1", fmr=0.02, null="original").value == 1.0
    assert same.rate("type_2", fmr=0.02, null="original").value < 0.15
    assert swapped.rate("type_1", fmr=0.02, null="original").value < 0.15
    assert swapped.rate("type_2", fmr=0.02, null="original").value == 1.0
    assert same.trials("type_1") == 80
    assert same.trials("type_2") == 80


def test_at_most_the_fmr_of_either_null_reaches_its_threshold() -> None:
    judged = Judged(*draw(np.random.default_rng(1), 60))

    for null in NULLS:
        cut = judged.threshold(0.01, null)
        assert 0.009 < judged.false_matches(cut, null) <= 0.01
        assert judged.false_matches(np.nextafter(cut, -1), null) > judged.false_matches(cut, null) - 1e-12


def test_an_exact_inverse_gives_everybody_away_and_a_useless_one_nobody() -> None:
    _, original, person = draw(np.random.default_rng(2), 100)
    blank = unit(np.ones((len(person), 24)) + 1e-3 * np.random.default_rng(3).normal(size=(len(person), 24)))

    exact, useless = Judged(original, original, person), Judged(blank, original, person)

    found = exact.headline("type_1", fmr=0.01)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low > 0.95
    for match in TYPES:
        chance = useless.headline(match, fmr=0.01)
        assert chance.low <= 0.01 <= chance.high
        assert chance.value < 0.04


def test_faces_that_all_look_alike_lift_strangers_and_the_stricter_threshold_is_the_headline() -> None:
    rng = np.random.default_rng(4)
    _, original, person = draw(rng, 60)
    original = unit(original + 0.3 * np.ones(24))  # everybody has something of the common look ...
    lifted = Judged(unit(original + 1.0 * np.ones(24)), original, person)  # ... and re-created faces more of it

    strict = lifted.headline("type_1", fmr=0.01)

    assert lifted.false_matches(lifted.threshold(0.01, "original"), "recreated") > 0.05
    assert strict.null == "recreated"
    assert strict.value < lifted.rate("type_1", fmr=0.01, null="original").value


def test_what_a_judge_cannot_embed_matches_nobody() -> None:
    recreated, original, person = draw(np.random.default_rng(5), 60)
    broken = original.copy()
    broken[::2] = np.nan

    rate = Judged(broken, original, person).rate("type_1", fmr=0.01, null="original")

    assert rate.value == 0.5
    assert rate.trials == len(recreated)


def test_too_few_pairs_people_or_photos_are_refused() -> None:
    recreated, original, person = draw(np.random.default_rng(6), 10)

    with pytest.raises(CalibrationError, match=r"needs 1000 pairs .* the photos give 180"):
        Judged(recreated, original, person).threshold(0.01, "original")
    with pytest.raises(CalibrationError, match="got 1 people"):
        Judged(recreated, original, np.zeros(20, np.int64))
    with pytest.raises(CalibrationError, match="nobody has them"):
        Judged(recreated, original, np.arange(20)).rate("type_2", fmr=0.1, null="original")
    with pytest.raises(CalibrationError, match=r"got 1\.5"):
        Judged(recreated, original, person).threshold(1.5, "original")


def test_all_judges_agree_where_each_does() -> None:
    person = np.repeat(np.arange(10), 2)
    first, second = np.arange(20) % 2 == 0, np.arange(20) < 10

    rate = share_by_all([first, second], person)

    assert rate.value == pytest.approx(0.25)
    assert (rate.trials, rate.people) == (20, 10)
    assert rate.low < 0.25 < rate.high


SETTINGS = list(itertools.product(TYPES, NULLS, (2, 4), (0.4, 0.8)))
"""Match, null, photos a person, how well the best are re-created; the threshold rests on 70 to 566 pairs of strangers."""


@pytest.mark.parametrize(
    ("match", "null", "photos", "leak"),
    [SETTINGS[0], *(pytest.param(*setting, marks=pytest.mark.slow) for setting in SETTINGS[1:])],
)
def test_intervals_cover_the_truth_that_many_people_have(match: str, null: str, photos: int, leak: float) -> None:
    def rate(rng: np.random.Generator, people: int) -> MatchRate:
        return Judged(*draw(rng, people, photos=photos, leak=leak)).rate(match, fmr=0.01, null=null)

    rng = np.random.default_rng(10**6)
    truth = np.mean([rate(rng, 300).value for _ in range(4)])

    rates = [rate(np.random.default_rng(seed), 60) for seed in range(250)]

    covered = np.mean([rate.low <= truth <= rate.high for rate in rates])
    assert 0.92 <= covered <= 0.98  # 0.95 give or take two and a half deviations of 250 draws
    spread = np.std([rate.value for rate in rates])
    assert np.mean([rate.high - rate.low for rate in rates]) == pytest.approx(3.92 * spread, rel=0.15)


def test_photos_of_a_person_are_no_independent_trials() -> None:
    recreated, original, person = draw(np.random.default_rng(7), 60, photos=6)

    clustered = Judged(recreated, original, person).rate("type_1", fmr=0.01, null="original")

    naive = 3.92 * np.sqrt(clustered.value * (1 - clustered.value) / clustered.trials)
    assert clustered.high - clustered.low > 1.5 * naive
