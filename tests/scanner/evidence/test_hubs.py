"""Hubs are flagged; people who were memorised often are not."""

import numpy as np
import pytest
from scipy import stats

from scanner.evidence.hubs import LEVEL, Side, centrality, find_hubs, k_occurrence, local_scaling, skewness

DIM = 48


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def side_of(photos, identity, samples):
    scores = samples @ photos.T
    best = scores.argmax(axis=1)
    return Side(identity, scores.mean(axis=0, dtype=np.float64), best, scores[np.arange(len(samples)), best])


def world(rng, *, hub=False, memorised=0.0, photos_each=2):
    """Galleries of 250 people and 400 samples, one a cluster, with one special person among the candidates.

    Args:
        hub: photos 0 and 1 of the candidates lie near the middle of all samples.
        memorised: share of samples that are the candidate of photos 0 and 1.
    """
    middle = unit(rng.normal(size=DIM))
    samples = unit(rng.normal(size=(400, DIM)) + 4.0 * middle)
    identity = np.repeat(np.arange(250), photos_each)
    people = unit(rng.normal(size=(2, 250, DIM)) + 2.0 * middle)
    sides = unit(people[:, identity] + 0.4 / np.sqrt(DIM) * rng.normal(size=(2, len(identity), DIM)))
    if hub:
        sides[0, :photos_each] = unit(sides[0, :photos_each] + 2.0 * middle)
    many = int(memorised * len(samples))
    samples[:many] = unit(people[0, 0] + 0.4 / np.sqrt(DIM) * rng.normal(size=(many, DIM)))
    return side_of(sides[0], identity, samples), side_of(sides[1], identity, samples), np.arange(400)


@pytest.mark.parametrize("photos_each", [1, 2])
def test_a_planted_hub_is_flagged(photos_each):
    for seed in range(20):
        mask, found = find_hubs(*world(np.random.default_rng(seed), hub=True, photos_each=photos_each))

        assert mask[:photos_each].all()
        assert found.largest_is_hub
        assert found.absorbed > 0.2
        assert found.skewness > found.null_skewness + 3


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_a_person_memorised_over_and_over_absorbs_as_much_and_is_not_flagged(share):
    flagged = []
    for seed in range(20):
        mask, found = find_hubs(*world(np.random.default_rng(seed), memorised=share))
        flagged.append(mask[:2].any())
        assert found.largest > 0.4 * share

    assert np.mean(flagged) <= 0.1
    # The test would notice: by the mean over all samples the person is as central as a hub.
    candidate, null, _ = world(np.random.default_rng(0), memorised=0.3)
    assert candidate.mean[0] > null.mean.max()


def test_without_hubs_as_many_photos_are_flagged_as_the_level_says():
    found = [find_hubs(*world(np.random.default_rng(seed)))[1] for seed in range(60)]

    assert np.mean([each.flagged for each in found]) <= 1.3 * LEVEL * found[0].photos
    assert found[0].expected == LEVEL * found[0].photos
    assert abs(np.median([each.skewness - each.null_skewness for each in found])) < 0.5
    assert abs(np.median([each.largest - each.null_largest for each in found])) < 0.02


def test_a_generator_that_makes_one_person_only_is_flagged_since_nothing_tells_it_from_a_hub():
    candidate, null, cluster = world(np.random.default_rng(0), memorised=1.0)

    assert centrality(candidate)[:2].tolist() == candidate.mean[:2].tolist()
    assert find_hubs(candidate, null, cluster)[0][:2].all()


def test_centrality_is_the_mean_over_samples_of_other_people():
    rng = np.random.default_rng(1)
    photos, samples = unit(rng.normal(size=(30, DIM))), unit(rng.normal(size=(200, DIM)))
    side = side_of(photos, np.arange(30), samples)

    slow = [np.mean([s @ photos[row] for s, best in zip(samples, side.best_row, strict=True) if best != row])
            for row in range(30)]  # fmt: skip

    assert centrality(side) == pytest.approx(slow, abs=1e-6)


def test_centrality_errs_on_the_low_side_when_a_person_has_several_photos():
    candidate, _, _ = world(np.random.default_rng(2), memorised=0.3)
    alone = world(np.random.default_rng(2), memorised=0.0)[0]

    assert np.all(centrality(candidate)[:2] < alone.mean[:2] + 0.02)


def test_k_occurrence_counts_clusters():
    rows = np.array([[0, 1], [0, 2], [0, -1], [3, 0]])
    cluster = np.array([5, 5, 5, 9])

    assert k_occurrence(rows, cluster, photos=5).tolist() == [2, 1, 1, 1, 0]
    assert k_occurrence(rows[:, 0], cluster, photos=5).tolist() == [1, 0, 0, 1, 0]
    rng = np.random.default_rng(0)
    rows, cluster = rng.integers(-1, 40, size=(300, 5)), rng.integers(60, size=300)
    slow = [len({c for c, hits in zip(cluster, rows, strict=True) if photo in hits}) for photo in range(40)]
    assert k_occurrence(rows, cluster, photos=40).tolist() == slow


def test_skewness_is_that_of_scipy():
    counts = np.random.default_rng(0).poisson(2.0, 500)

    assert skewness(counts) == pytest.approx(stats.skew(counts))
    assert skewness(np.full(9, 3)) == 0.0


def test_local_scaling_takes_off_what_is_usual():
    best, mean, sd = np.array([0.5, 0.5, 0.5], np.float32), np.array([0.1, 0.4, 0.5]), np.array([0.1, 0.05, 0.0])

    assert local_scaling(best, mean, sd) == pytest.approx([4.0, 2.0, 0.0])


def test_local_scaling_moves_a_hub_down_among_the_photos():
    rng = np.random.default_rng(3)
    middle = unit(rng.normal(size=DIM))
    samples = unit(rng.normal(size=(400, DIM)) + 4.0 * middle)
    photos = unit(rng.normal(size=(250, DIM)) + 2.0 * middle)
    photos[0] = unit(photos[0] + 2.0 * middle)
    scores = (samples @ photos.T).astype(np.float64)

    plain = scores.max(axis=0)
    scaled = local_scaling(plain, scores.mean(axis=0), scores.std(axis=0))

    assert (plain > plain[0]).mean() < 0.02
    assert (scaled > scaled[0]).mean() > 0.3
