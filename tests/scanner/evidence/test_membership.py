"""Scores of an identity: by hand, blind to the number of photos, and pointing at members."""

import numpy as np
import pytest
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.membership import SCORES, join_photos, membership_scores, photo_scores, radius_for
from scanner.evidence.neighbours import neighbours_among
from scanner.evidence.roc import auc


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def photos_of(rng, people, photos, *, scatter=0.4):
    """Vectors of photos around a vector for each person, and whose they are."""
    codes = np.repeat(np.arange(len(people)), photos)
    return unit(
        people[codes] + scatter * rng.normal(size=(len(codes), people.shape[1])) / np.sqrt(people.shape[1])
    ), codes


def leak(seed, *, members=40, others=160, innocent=400, copies=3, dim=32):
    """Photos, codes, who is a member, and samples: `copies` near each member, the rest near nobody in question."""
    rng = np.random.default_rng(seed)
    people = unit(rng.normal(size=(members + others, dim)))
    photos, codes = photos_of(rng, people, rng.integers(1, 5, members + others))
    samples = [photos_of(rng, people[:members], copies, scatter=0.8)[0], unit(rng.normal(size=(innocent, dim)))]
    return photos, codes, np.arange(members + others) < members, np.concatenate(samples)


def test_the_scores_of_a_photo_by_hand():
    samples = unit(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    near = neighbours_among(unit(np.array([[1.0, 0.0], [0.0, -1.0]])), samples, k=2, radii=(0.5,))
    found = photo_scores(near, reference=None, null=None, k=2)
    half = np.sqrt(0.5)

    assert found["best_match"] == pytest.approx([1.0, 0.0])
    assert found["mean_of_k"] == pytest.approx([(1 + half) / 2, -half / 2])
    assert found["count_within"] == pytest.approx([2 + 1.0, 0.5])  # two samples and none; then the best match
    first = np.array([1.0, 0.0, half])
    assert found["calibrated"][0] == pytest.approx((1 - first.mean()) / first.std(), rel=1e-5)


def test_equal_counts_stand_in_order_of_the_best_match_and_no_match_outweighs_a_sample():
    rng = np.random.default_rng(0)
    near = neighbours_among(unit(rng.normal(size=(200, 8))), unit(rng.normal(size=(60, 8))), k=3, radii=(0.5, 0.7))
    found = photo_scores(near, reference=None, null=None, k=3)["count_within"]
    counts = near.within[:, 1]  # about 1 % of samples; at 0.5 a tenth

    assert len(set(counts)) < len(set(found)) == 200
    expected = np.lexsort((near.score[:, 0], counts))
    assert np.array_equal(np.argsort(found, kind="stable"), expected)


def test_the_radius_lets_null_photos_see_the_share_that_is_wanted():
    rng = np.random.default_rng(1)
    photos, samples = unit(rng.normal(size=(300, 16))), unit(rng.normal(size=(1000, 16)))
    radius = radius_for(neighbours_among(photos, samples, k=20), share=0.003)
    seen = neighbours_among(photos, samples, k=1, radii=(radius,)).within.mean() / 1000

    assert seen == pytest.approx(0.003, rel=0.01)


def test_without_radii_the_best_scores_are_counted_within_one_set_by_the_null():
    rng = np.random.default_rng(2)
    samples = unit(rng.normal(size=(500, 16)))
    near, null = (neighbours_among(unit(rng.normal(size=(80, 16))), samples, k=10) for _ in range(2))
    found = photo_scores(near, reference=None, null=null, k=5)["count_within"]

    assert np.array_equal(np.floor(found), (near.score >= radius_for(null)).sum(1))


def test_a_reference_generator_takes_away_what_both_find():
    rng = np.random.default_rng(3)
    photos = unit(rng.normal(size=(30, 16)))
    near, reference = (neighbours_among(photos, unit(rng.normal(size=(200, 16))), k=4) for _ in range(2))
    found = photo_scores(near, reference=reference, null=None, k=4)["calibrated"]

    assert found == pytest.approx(near.score[:, 0].astype(float) - reference.score[:, 0])
    same = photo_scores(near, reference=near, null=None, k=4)["calibrated"]
    assert np.all(same == 0.0)


def test_a_null_takes_away_what_is_usual_for_the_photo():
    rng = np.random.default_rng(4)
    middle = rng.normal(size=16)
    samples = unit(rng.normal(size=(500, 16)) + middle)  # samples share a direction: photos along it score high
    photos = unit(rng.normal(size=(400, 16)) + rng.uniform(-1, 2, (400, 1)) * middle)
    near = neighbours_among(photos, samples, k=3)
    null, own = near.take(np.arange(200)), near.take(np.arange(200, 400))
    found = photo_scores(own, reference=None, null=null, k=3)

    assert stats.spearmanr(found["best_match"], own.mean).statistic > 0.8
    assert abs(stats.spearmanr(found["calibrated"], own.mean).statistic) < 0.2


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize(("of_members", "of_others"), [(1, 10), (10, 1), (2, 5)])
def test_the_number_of_photos_says_nothing(share, of_members, of_others):
    rng = np.random.default_rng([of_members, of_others])
    areas, rates = [], []
    for _ in range(60):
        photos = np.r_[np.full(100, of_members), np.full(200, of_others)]
        codes = np.repeat(np.arange(300), photos)
        values = np.sqrt(share) * rng.gumbel(size=300)[codes] + np.sqrt(1 - share) * rng.gumbel(size=len(codes))
        found = join_photos(values, codes)
        areas.append(auc(found[:100], found[100:]).value)
        rates.append(np.mean(found[:100] > np.sort(found[100:])[-11]))  # 5 % of the others above

    # 60 runs: the mean area has a standard error of 0.005.
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)
    assert np.mean(rates) == pytest.approx(0.05, abs=0.02)


def test_the_usual_ways_to_join_photos_do_see_their_number():
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(300), np.r_[np.full(100, 10), np.full(200, 1)])
    values = rng.gumbel(size=len(codes))
    best = np.full(300, -np.inf)
    np.maximum.at(best, codes, values)

    assert auc(best[:100], best[100:]).low > 0.8


def test_more_photos_of_a_member_tell_more():
    rng = np.random.default_rng(6)
    areas = []
    for photos in (1, 8):
        codes = np.repeat(np.arange(400), photos)
        values = rng.normal(size=len(codes)) + 0.8 * (codes < 100)
        found = join_photos(values, codes)
        areas.append(auc(found[:100], found[100:]).value)

    assert areas[1] > areas[0] + 0.1


def test_one_photo_each_keeps_the_order_of_the_photos():
    values = np.random.default_rng(7).normal(size=50)
    assert np.array_equal(np.argsort(join_photos(values, np.arange(50))), np.argsort(values))
    assert np.all(join_photos(np.ones(6), np.array([0, 0, 1, 2, 2, 2])) == 0.0)


def test_the_order_of_the_rows_does_not_show():
    photos, codes, _, samples = leak(8)
    order = np.random.default_rng(8).permutation(len(codes))
    near = neighbours_among(photos, samples, k=5, radii=(0.6,))
    left = membership_scores(near, codes, reference=None, null=None, k=5)
    right = membership_scores(near.take(order), codes[order], reference=None, null=None, k=5)

    for name in SCORES:
        assert np.array_equal(left[name], right[name]), name


def test_members_stand_out_in_every_score_and_nobody_does_without_a_leak():
    photos, codes, member, samples = leak(9)
    innocent = samples[120:]
    for name in SCORES:
        found = membership_scores(neighbours_among(photos, samples, k=5), codes, reference=None, null=None, k=3)[name]
        assert auc(found[member], found[~member]).low > 0.9, name
        found = membership_scores(neighbours_among(photos, innocent, k=5), codes, reference=None, null=None, k=3)[name]
        area = auc(found[member], found[~member])
        assert area.low < 0.5 < area.high, name


def test_what_cannot_be_scored_is_refused():
    rng = np.random.default_rng(10)
    photos, samples = unit(rng.normal(size=(4, 8))), unit(rng.normal(size=(9, 8)))
    near = neighbours_among(photos, samples, k=2)
    codes = np.arange(4)
    with pytest.raises(CalibrationError, match="0 samples"):
        membership_scores(neighbours_among(photos, samples[:0], k=2), codes, reference=None, null=None, k=2)
    with pytest.raises(CalibrationError, match="without gaps"):
        membership_scores(near, np.array([0, 1, 3, 3]), reference=None, null=None, k=2)
    with pytest.raises(CalibrationError, match="3 codes for 4"):
        membership_scores(near, codes[:3], reference=None, null=None, k=2)
    with pytest.raises(CalibrationError, match="of 3 photos"):
        membership_scores(near, codes, reference=near.take(np.arange(3)), null=None, k=2)
