"""One p-value for a handful of photos: at its nominal level for people who were not in training, small for those who were."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.persons import (
    normal_p,
    person_power,
    photos_usable,
    weigh_person,
    weigh_works,
    works_power,
)


def draw(rng, photos):
    """Best scores of people's photos: each person has a level of its own, so photos of one are not independent."""
    photos = np.asarray(photos)
    codes = np.repeat(np.arange(len(photos)), photos)
    scores = rng.normal(0.35, 0.05, len(photos))[codes] + rng.gumbel(0.0, 0.03, len(codes))
    return scores.astype(np.float32), codes


def mated(rng, identity):
    """Scores with another photo of the person; NaN where there is none."""
    alone = np.bincount(identity)[identity] == 1
    return np.where(alone, np.nan, rng.normal(0.6, 0.08, len(identity))).astype(np.float32)


@pytest.mark.parametrize("photos", [1, 2, 4, 6])
def test_p_values_of_a_person_who_was_not_in_training_are_uniform(photos):
    rng = np.random.default_rng([1, photos])
    p = []
    for seed in range(300):
        null, codes = draw(rng, rng.integers(1, 8, 500))
        p.append(weigh_person(draw(rng, [photos])[0], null, codes, seed=seed).p_counted)

    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(("photos", "runs"), [(1, 300), (5, 300), (20, 250), (70, 200)])
def test_p_values_of_works_that_were_not_in_training_are_uniform(photos, runs):
    rng = np.random.default_rng([2, photos])
    p = []
    for seed in range(runs):
        null, codes = draw(rng, rng.integers(1, 4, 300))
        p.append(weigh_works(draw(rng, np.ones(photos, int))[0], null, codes, draws=300, seed=seed).p_counted)

    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / runs)


def test_the_modelled_tail_holds_its_level():
    rng = np.random.default_rng(3)
    person, works = [], []
    for seed in range(100):
        null, codes = draw(rng, np.ones(1500, int))
        person.append(weigh_person(draw(rng, [1])[0], null, codes, seed=seed).p_value)
        works.append(weigh_works(draw(rng, np.ones(8, int))[0], null, codes, draws=1000, seed=seed).p_value)

    for p in (person, works):
        for level in (0.01, 0.05, 0.3):
            assert np.mean(np.array(p) <= level) <= level + 3 * math.sqrt(level * (1 - level) / len(p))


def test_the_permutations_agree_with_all_of_them_and_with_the_normal_approximation():
    rng = np.random.default_rng(4)
    null = rng.normal(size=100).astype(np.float32)
    best = np.array([1.2, 0.9], np.float32)
    values = np.concatenate([best, null])
    scores = stats.norm.ppf(stats.rankdata(values) / 103)
    exact = np.mean([scores[i] + scores[j] >= scores[0] + scores[1] - 1e-12 for i, j in combinations(range(102), 2)])

    found = weigh_works(best, null, np.arange(100), seed=0)

    assert found.p_counted == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000))
    assert normal_p(values.astype(float), np.array([0, 1])) == pytest.approx(exact, rel=0.15)
    assert found.statistic == pytest.approx(scores[:2].mean())


def test_sets_by_hand():
    null = np.repeat(np.linspace(0.0, 0.99, 100), 2).astype(np.float32)
    codes = np.repeat(np.arange(100), 2)

    found = weigh_person(np.array([0.9, 0.8], np.float32), null, codes, seed=0)

    assert found.statistic == pytest.approx(0.85)
    assert found.p_counted == pytest.approx((1 + 15) / 101)  # 0.85 to 0.99 in steps of 0.01, and the set itself
    assert found.effect.value == pytest.approx(0.15)
    assert found.effect.low < 0.15 < found.effect.high
    assert found.floor == pytest.approx(1 / 101)
    assert found.tail_refused


def test_as_many_photos_are_used_as_a_hundred_null_people_have():
    identity = np.repeat(np.arange(300), np.r_[np.full(99, 9), np.full(101, 4), np.full(100, 1)])

    assert [photos_usable(m, identity) for m in (1, 3, 4, 9)] == [1, 3, 4, 4]
    assert photos_usable(9, identity, level=0.1) == 4
    assert photos_usable(9, identity, level=1 / 250) == 1  # 200 people with 4 photos cannot show p = 0.004, 300 can
    assert photos_usable(9, identity, level=1e-6) == 4

    rng = np.random.default_rng(5)
    found = weigh_person(np.full(9, 0.5, np.float32), rng.random(len(identity)).astype(np.float32), identity, seed=0)
    assert (found.photos, found.used, found.null_identities) == (9, 4, 200)


def test_the_order_of_photos_does_not_matter():
    rng = np.random.default_rng(6)
    null, codes = draw(rng, np.full(200, 2))
    best = rng.random(7).astype(np.float32)
    turned = np.ascontiguousarray(best[::-1])

    assert weigh_person(best, null, codes, seed=3) == weigh_person(turned, null, codes, seed=3)
    assert weigh_works(best, null, codes, draws=300, seed=3).p_value == pytest.approx(
        weigh_works(turned, null, codes, draws=300, seed=3).p_value
    )


def test_more_photos_tell_more_and_no_leak_is_told_at_the_level_alone():
    rng = np.random.default_rng(7)
    null, codes = draw(rng, np.full(400, 6))
    near = (null + rng.normal(0.09, 0.05, len(null))).astype(np.float32)

    person = person_power(null, near, codes, level=0.01, photos_max=6, seed=0)
    works = works_power(null, near, codes, level=0.01, leaking=1.0, runs=100, seed=0)
    tenth = works_power(null, near, codes, level=0.01, leaking=0.1, runs=100, seed=0)
    nothing = works_power(null, np.full(len(null), -1, np.float32), codes, level=0.05, leaking=1.0, runs=400, seed=0)

    assert [point.photos for point in person] == [1, 2, 3, 4, 5, 6]
    assert person[-1].reached.value > person[0].reached.value + 0.1
    assert works[-1].photos == 100
    assert works[-1].reached.value > 0.95 > works[0].reached.value
    assert tenth[-1].reached.value < works[-1].reached.value
    assert all(point.reached.low <= 0.05 <= point.reached.high for point in nothing)


@pytest.mark.parametrize("photos", [1, 3])
def test_the_power_of_a_person_is_what_leaking_people_shows(photos):
    rng = np.random.default_rng(8)
    null, codes = draw(rng, np.full(300, 4))
    scores = mated(rng, codes)
    said = person_power(null, scores, codes, level=0.02, photos_max=photos, seed=0)[-1].reached

    told = 0
    for seed in range(300):  # the slow twin: new people leak, one by one, and are weighed
        person, _ = draw(rng, [photos])
        leaked = np.maximum(person, rng.normal(0.6, 0.08, photos).astype(np.float32))
        told += weigh_person(leaked, null, codes, seed=seed).p_counted <= 0.02

    assert said.low - 0.06 <= told / 300 <= said.high + 0.06


def test_people_without_a_second_photo_cannot_model_a_leak_but_stay_in_the_null():
    rng = np.random.default_rng(9)
    null, codes = draw(rng, np.r_[np.full(60, 2), np.ones(200, int)])

    points = works_power(null, mated(rng, codes), codes, level=0.01, leaking=1.0, runs=20, seed=0)
    person = person_power(null, mated(rng, codes), codes, level=0.01, photos_max=5, seed=0)

    assert [point.photos for point in points] == [1, 2, 5, 10, 20]
    assert [point.photos for point in person] == [1]


def test_one_mated_score_a_person_stands_for_all_of_its_photos():
    rng = np.random.default_rng(10)
    null, codes = draw(rng, np.full(200, 3))
    first = np.where(np.arange(600) % 3 == 0, 0.6, np.nan).astype(np.float32)

    everywhere = person_power(null, np.full(600, 0.6, np.float32), codes, level=0.05, photos_max=3, seed=0)

    assert person_power(null, first, codes, level=0.05, photos_max=3, seed=0) == everywhere


def test_too_little_is_refused():
    null = np.linspace(0, 1, 99).astype(np.float32)

    with pytest.raises(CalibrationError, match="No photo to weigh"):
        weigh_person(null[:0], null, np.arange(99), seed=0)
    with pytest.raises(CalibrationError, match="The null has 99 identities"):
        weigh_works(null[:3], null, np.arange(99), seed=0)
