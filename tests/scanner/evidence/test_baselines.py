"""Other people's measures: by hand, at rest when nobody is copied, and moving the right way when somebody is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence import copying
from scanner.evidence.baselines import TABLE, min_match, score_table, tail_scores
from scanner.evidence.copying import set_table
from scanner.evidence.neighbours import neighbours_among
from scanner.evidence.roc import auc


def unit(vectors):
    vectors = np.asarray(vectors, float)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def at(*degrees):
    """Unit vectors in the plane."""
    turn = np.radians(degrees)
    return unit(np.column_stack([np.cos(turn), np.sin(turn)]))


def draw(rng, size, dim=6):
    """Real people: a few groups, as in a data set of faces."""
    groups = np.random.default_rng(99).normal(size=(4, dim))
    return unit(groups[rng.integers(4, size=size)] + 0.8 * rng.normal(size=(size, dim)))


def world(seed, *, copied, size=200, samples=300):
    """Samples of which a share are near-copies of training photos, member photos, other photos, training photos."""
    rng = np.random.default_rng([seed, int(100 * copied)])
    people, others = draw(rng, size), draw(rng, size)
    training, members, held_out = (unit(v + 0.1 * rng.normal(size=v.shape)) for v in (people, people, others))
    copies = int(copied * samples)
    copy = unit(training[rng.integers(size, size=copies)] + 0.03 * rng.normal(size=(copies, 6)))
    fresh = draw(rng, samples - copies)
    return np.concatenate([copy, unit(fresh + 0.1 * rng.normal(size=fresh.shape))]), members, held_out, training


def table_of(seed, *, copied, trained=True):
    samples, members, held_out, training = world(seed, copied=copied)
    return {
        row.name: row for row in set_table(samples, members, held_out, training=training if trained else None, seed=0)
    }


@pytest.fixture(scope="module")
def at_rest():
    return [table_of(seed, copied=0.0) for seed in range(40)]


def test_copying_moves_every_measure_to_its_side():
    innocent, guilty = table_of(0, copied=0.0), table_of(0, copied=0.5)

    assert list(guilty) == ["c_t", "auth_share", "privacy_loss", "dcr_share", "ks", "mre_gap"]
    for name, row in guilty.items():
        sign = 1 if row.higher_is_copying else -1
        assert sign * (row.value - row.expected) > 0, name
        assert sign * (row.value - innocent[name].value) > 0, name
        assert row.p_value is None or row.p_value < 0.01, name


def test_without_copying_values_are_where_they_are_expected(at_rest):
    for name in at_rest[0]:
        off = [run[name].value - run[name].expected for run in at_rest]
        error = np.std(off) / np.sqrt(len(off))
        assert abs(np.mean(off)) < 3.5 * error, name


def test_p_values_are_uniform_without_copying(at_rest):
    for name in ("c_t", "dcr_share", "ks"):
        # Training and held-out photos, and samples, are drawn alike and independent: the method's own null.
        assert stats.kstest([run[name].p_value for run in at_rest], "uniform").pvalue > 0.01, name


def test_the_members_other_photos_stand_in_for_training_photos():
    guilty = table_of(1, copied=0.5, trained=False)
    assert guilty["dcr_share"].p_value < 0.02
    assert guilty["ks"].p_value < 1e-3


def test_c_t_in_one_cell_is_a_mann_whitney_z():
    rng = np.random.default_rng(2)
    training, samples, held_out = draw(rng, 40), draw(rng, 25), draw(rng, 30)
    errors = [[min(1.0 - float(a @ b) for b in training) for a in side] for side in (samples, held_out)]
    u = sum((x > y) + 0.5 * (x == y) for x in errors[0] for y in errors[1])
    z = (u - 25 * 30 / 2) / np.sqrt(25 * 30 * 56 / 12)

    found = copying.c_t(samples, training, held_out, seed=0)
    assert found.value == pytest.approx(z)
    assert found.p_value == pytest.approx(stats.norm.cdf(z))


def test_c_t_finds_copying_in_a_cell_that_the_whole_hides():
    rng = np.random.default_rng(3)
    dense, sparse = np.array([5.0, 0, 0, 0, 0, 0]), np.array([-5.0, 0, 0, 0, 0, 0])

    def around(centre, size, spread):
        return unit(centre + spread * rng.normal(size=(size, 6)))

    training = np.concatenate([around(dense, 100, 1.0), around(sparse, 100, 1.0)])
    held_out = np.concatenate([around(dense, 100, 1.0), around(sparse, 100, 1.0)])
    copies = unit(training[:100] + 0.01 * rng.normal(size=(100, 6)))
    samples = np.concatenate([copies, around(sparse, 100, 2.5)])  # the other cell is underfit
    found = copying.c_t(samples, training, held_out, seed=0)

    cells = copying._cell_of(training, copying._centres(training, 0))
    assert len(set(cells[:100]) & set(cells[100:])) == 0  # k-means keeps the two apart
    assert found.value < 3.0  # the two halves cancel in a mean of z ...
    z = [copying.c_t(part, training, held_out, seed=0).value for part in (samples[:100], samples[100:])]
    assert z[0] < -5.0 < 0.0 < z[1]  # ... while each shows what it is


def test_auth_share_by_hand():
    training = at(0, 10, 50)
    # At 4: nearest 0, which is 10 from its next: not authentic.  At 80: nearest 50, 30 away, whose next is 40
    # away: not authentic either.  At 100: 50 away from 50: authentic.
    found = copying.auth_share(at(4, 80, 100), training, at(70, 200))

    assert found.value == pytest.approx(2 / 3)
    assert found.expected == pytest.approx(1 / 2)


def test_privacy_loss_by_hand():
    training, held_out, samples = at(0, 20), at(90, 130), at(1, 21)
    # Training: both nearer to a sample than to each other, and the samples likewise: AA = 0.  Held out: 40 from each
    # other, at least 69 from a sample; samples 20 from each other: AA = 1.
    assert copying.privacy_loss(samples, training, held_out, seed=0).value == pytest.approx(1.0)
    assert copying.privacy_loss(samples, held_out, training, seed=0).value == pytest.approx(-1.0)


def test_dcr_share_by_hand_and_with_equal_sizes():
    found = copying.dcr_share(at(1, 2, 88, 45), at(0), at(90), seed=0)
    assert found.value == pytest.approx(0.5 * 0.25 + 0.5)  # two nearer to 0, one to 90, one between them

    rng = np.random.default_rng(4)
    values = [copying.dcr_share(draw(rng, 300), draw(rng, 400), draw(rng, 100), seed=s).value for s in range(30)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)  # four times as many training photos do not win


def test_one_photo_that_attracts_everything_is_no_evidence():
    rng = np.random.default_rng(5)
    training, held_out = draw(rng, 100), draw(rng, 100)
    samples = unit(training[:1] + 0.02 * rng.normal(size=(300, 6)))
    found = copying.dcr_share(samples, training, held_out, seed=0)

    assert found.value > 0.95
    assert found.p_value > 0.3  # a binomial test would say 1e-90


def test_recovery_by_hand():
    ks, gap = copying.recovery(at(0), at(0, 60), at(60, 90, 90))
    # Errors of members 0 and 0.5, of others 0.5, 1 and 1: medians 0.25 and 1.
    assert gap.value == pytest.approx(0.75)
    assert ks.value == pytest.approx(2 / 3)


def test_small_sets_are_refused():
    rng = np.random.default_rng(6)
    with pytest.raises(CalibrationError, match="there are 9 photos of others"):
        set_table(draw(rng, 20), draw(rng, 20), draw(rng, 9), training=None, seed=0)


def test_the_same_seed_gives_the_same_table():
    assert table_of(7, copied=0.2) == table_of(7, copied=0.2)


def test_min_match_is_the_best_of_all_photos():
    near = neighbours_among(at(0, 50, 100), at(10, 95), k=1)
    assert min_match(near, np.array([0, 0, 1])) == pytest.approx(np.cos(np.radians([10, 5])))


def weibull_near(rng, *, photos=2000, samples=5000, power=3.0, k=10):
    """Photos whose gaps to samples follow u ** power near 0."""
    blank = neighbours_among(at(*([0] * photos)), at(0), k=k)
    gaps = np.sort(rng.uniform(size=(photos, samples)), axis=1)[:, :k] ** (1 / power)
    return replace(blank, score=(1.0 - gaps).astype(np.float32), samples=samples)


def test_tail_scores_are_exponential_where_the_law_holds():
    found = tail_scores(weibull_near(np.random.default_rng(8)))
    assert stats.kstest(found, "expon").pvalue > 0.01


def test_tail_scores_by_hand_and_for_copies():
    near = weibull_near(np.random.default_rng(9))
    score = near.score.copy()
    score[:20, 0] = 1.0
    found = tail_scores(replace(near, score=score))
    assert found[:20].min() > found[20:].max()
    assert np.isfinite(found).all()

    # Three neighbours: one exponent for all, p of the least of two uniform numbers.
    three = replace(near, score=near.score[:, :3])
    gaps = 1.0 - three.score.astype(float)
    exponent = 0.5 / np.log(gaps[:, 2] / gaps[:, 1]).mean()
    p = 1.0 - (1.0 - (gaps[:, 0] / gaps[:, 2]) ** exponent) ** 2
    assert tail_scores(three) == pytest.approx(-np.log(p), rel=1e-6)
    assert np.all(tail_scores(replace(near, score=near.score[:, :2])) == 0.0)


def leak(seed, *, copied):
    rng = np.random.default_rng(seed)
    people = unit(rng.normal(size=(120, 24)))
    codes = np.repeat(np.arange(120), rng.integers(1, 4, 120))
    photos = unit(people[codes] + 0.5 * rng.normal(size=(len(codes), 24)) / np.sqrt(24))
    near_members = unit(people[:40] + 0.5 * rng.normal(size=(40, 24)) / np.sqrt(24))
    samples = np.concatenate([near_members if copied else photos[:0], unit(rng.normal(size=(300, 24)))])
    return neighbours_among(photos, samples, k=8, radii=(0.5,)), codes, np.arange(120) < 40


def test_the_table_holds_every_score_and_all_point_at_members():
    near, codes, member = leak(10, copied=True)
    table = score_table(near, codes, member, reference=None, k=5, folds=3, seed=0)

    assert tuple(table) == TABLE
    for name, score in table.items():
        assert score.shape == (120,), name
        assert auc(score[member], score[~member]).low > 0.6, name


def test_the_table_finds_nobody_where_nobody_is():
    near, codes, member = leak(11, copied=False)
    table = score_table(near, codes, member, reference=near, k=5, folds=3, seed=0)

    for name, score in table.items():
        area = auc(score[member], score[~member], cross_fitted=name == "learned")
        assert area.low <= 0.5 <= area.high, name
