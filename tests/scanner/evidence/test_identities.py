"""One p-value an identity: exchangeable with its null, whatever the number of photos."""

import numpy as np
import pytest
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.identities import NULL_MIN, weigh_identities


def draw(rng, people, photos_max):
    """Photos of people: each has a level of its own, shared by the photos, so photos are not independent."""
    photos = rng.integers(1, photos_max + 1, people)
    codes = np.repeat(np.arange(people), photos)
    scores = rng.normal(0.35, 0.05, people)[codes] + rng.gumbel(0.0, 0.03, len(codes))
    return np.clip(scores, -1.0, 1.0).astype(np.float32), codes


def test_p_values_are_uniform_when_nobody_was_in_training():
    rng = np.random.default_rng(0)
    # Within one run all p-values share a null, so each run gives one: a random identity's.
    p = []
    for seed in range(300):
        found = weigh_identities(*draw(rng, 60, 1), *draw(rng, 400, 4), seed=seed)
        p.append(found.p_conformal[rng.integers(60)])

    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_p_values_of_many_photos_are_valid():
    rng = np.random.default_rng(5)
    p = np.concatenate(
        [weigh_identities(*draw(rng, 60, 6), *draw(rng, 400, 4), seed=s).p_conformal for s in range(200)]
    )

    for level in (0.005, 0.02, 0.1, 0.5):
        assert np.mean(p <= level) <= 1.15 * level


def test_the_false_discovery_rate_is_held_and_leaks_are_found():
    rng = np.random.default_rng(1)
    false, power = [], []
    for seed in range(60):
        scores, codes = draw(rng, 200, 4)
        scores[codes < 20] += np.float32(0.4)

        flagged = weigh_identities(scores, codes, *draw(rng, 1500, 4), seed=seed).q_bh <= 0.05

        false.append(flagged[20:].sum() / max(1, flagged.sum()))
        power.append(flagged[:20].mean())

    assert np.mean(false) <= 0.05 + 2 * np.std(false) / np.sqrt(len(false))
    assert np.mean(power) > 0.7


def test_an_identity_with_many_photos_pays_for_each():
    scores = np.array([0.1, 0.9, 0.5], np.float32)
    null = np.linspace(0.0, 0.6, NULL_MIN).astype(np.float32)

    found = weigh_identities(scores, np.array([0, 0, 1]), null, np.arange(NULL_MIN), seed=0)

    assert found.statistic.tolist() == pytest.approx([0.9, 0.5])
    assert found.photos.tolist() == [2, 1]
    assert found.p_conformal == pytest.approx([2 / (NULL_MIN + 1), (1 + np.sum(null >= 0.5)) / (NULL_MIN + 1)])


@pytest.mark.parametrize(("people", "photos_max", "null"), [(60, 1, 199), (60, 6, 250), (7, 40, 120), (30, 4, 2000)])
def test_so_many_extreme_identities_can_be_named_and_no_fewer(people: int, photos_max: int, null: int):
    rng = np.random.default_rng(people)
    photos = rng.integers(1, photos_max + 1, people)
    codes, fewest = np.repeat(np.arange(people), photos), np.argsort(photos, kind="stable")

    def named(together: int, of: np.ndarray) -> tuple[int, int]:
        scores = np.where(np.isin(codes, of[:together]), 0.9, 0.1).astype(np.float32)
        others = np.full(null, 0.5, np.float32)  # equal scores have no tail
        found = weigh_identities(scores, codes, others, np.arange(null), seed=0)
        return int((found.q_bh <= 0.05).sum()), found.fewest_nameable(0.05)

    needed = named(1, fewest)[1]
    assert [named(together, fewest)[0] > 0 for together in range(1, people + 1)] == [
        together >= needed for together in range(1, people + 1)
    ]


def test_a_null_of_too_few_people_is_refused():
    few = np.arange(NULL_MIN - 1)

    with pytest.raises(CalibrationError, match="The null has 99 identities; at least 100 are needed"):
        weigh_identities(np.ones(1, np.float32), np.zeros(1, np.int64), np.ones(99, np.float32), few, seed=0)
