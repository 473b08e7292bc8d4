"""Does a generator prefer candidates: p uniform whatever hubs and clusters do, intervals that hold the truth."""

import numpy as np
import pytest
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.population import lottery, weigh_population


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def world(rng, *, people=150, clusters=150, per=1, leaking=0.0, hubs=0, blocks=1, dim=32):
    """Draw galleries, generated identities and samples anew; each cluster is a candidate's with chance `leaking`."""
    middle = unit(rng.normal(size=dim)) * np.sqrt(dim)
    pool = unit(rng.normal(size=(people * (blocks + 1), dim)) + 0.15 * middle)
    hub = rng.choice(len(pool), hubs, replace=False)
    pool[hub] = unit(pool[hub] + 1.5 * unit(middle))
    is_candidate = rng.permutation(len(pool)) < people * blocks
    centres = unit(rng.normal(size=(clusters, dim)) + 0.6 * middle)
    leaks = np.flatnonzero(rng.random(clusters) < leaking)
    centres[leaks] = pool[rng.permutation(np.setdiff1d(np.flatnonzero(is_candidate), hub))[: len(leaks)]]
    sizes = np.ones(clusters, np.int64) if per == 1 else rng.geometric(1 / per, clusters)
    cluster = np.repeat(np.arange(clusters, dtype=np.int32), sizes)
    scores = unit(centres[cluster] + 0.6 / np.sqrt(dim) * rng.normal(size=(len(cluster), dim))) @ pool.T
    one, other = np.where(is_candidate, scores, -9).argmax(1), np.where(is_candidate, -9, scores).argmax(1)
    rows = np.arange(len(cluster))
    sizes = {"candidates": people * blocks, "nulls": people}
    return (scores[rows, one], one, scores[rows, other], other, cluster), sizes


def won_by(rng, *, people=5000, clusters=150, per=1, leaking=0.0, hubs=0, blocks=1):
    """Draw who wins, without drawing faces: large galleries at no cost.  A hub wins a tenth of what is no leak."""
    pool = people * (blocks + 1)
    is_candidate = rng.permutation(pool) < people * blocks
    popularity = rng.gamma(1.0, size=pool)
    popularity[:hubs] = popularity.sum() / 9
    winner = rng.choice(pool, size=clusters, p=popularity / popularity.sum())
    leaks = rng.random(clusters) < leaking
    winner[leaks] = rng.choice(np.flatnonzero(is_candidate[hubs:]) + hubs, size=leaks.sum(), replace=False)
    cluster = np.repeat(np.arange(clusters), rng.geometric(1 / per, clusters))
    best = rng.random((2, len(cluster))).astype(np.float32)  # the others, who do not matter
    side = np.where(is_candidate[winner], 0, 1)
    first = np.unique(cluster, return_index=True)[1]
    identity = rng.integers(pool, size=(2, len(cluster)))
    best[side, first] = 2.0
    identity[side, first] = winner
    return (best[0], identity[0], best[1], identity[1], cluster), {"candidates": people * blocks, "nulls": people}


def weigh_many(runs, seed, *, draw=world, draws=499, **options):
    rng = np.random.default_rng(seed)
    drawn = [draw(rng, **options) for _ in range(runs)]
    return [weigh_population(*args, **sizes, draws=draws, seed=run) for run, (args, sizes) in enumerate(drawn)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"people": 60, "clusters": 300},
        {"people": 400, "clusters": 60},
        {"per": 4},
        {"hubs": 1},
        {"hubs": 6, "per": 3},
        {"blocks": 3},
    ],
    ids=["plain", "small galleries", "large galleries", "clustered", "a hub", "hubs, clustered", "unequal sizes"],
)
def test_p_values_are_uniform_without_a_leak(options):
    p = [found.p_value for found in weigh_many(220, 1, **options)]

    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_plain_sign_test_is_fooled_by_a_hub():
    found = weigh_many(150, 2, hubs=1)

    plain = [stats.binomtest(each.won, each.clusters, alternative="greater").pvalue for each in found]

    assert np.mean(np.array(plain) <= 0.05) > 0.12
    assert np.mean([each.p_value <= 0.05 for each in found]) < 0.09


def test_leaks_are_seen():
    assert np.mean([found.p_value <= 0.05 for found in weigh_many(40, 3, leaking=0.4)]) > 0.9


@pytest.mark.parametrize(
    ("options", "leaking"),
    [({}, 0.0), ({}, 0.3), ({"per": 3}, 0.6), ({"hubs": 1}, 0.3), ({"blocks": 3}, 0.3)],
    ids=["none", "some", "many, clustered", "a hub", "unequal sizes"],
)
def test_the_intervals_cover_at_their_level(options, leaking):
    # Galleries much larger than the number of winners: in small ones the intervals are too long, see below.
    found = weigh_many(400, 4, draw=won_by, draws=9, leaking=leaking, **options)
    chance = options.get("blocks", 1) / (options.get("blocks", 1) + 1)
    truth = leaking + (1 - leaking) * chance

    share = np.mean([each.share_interval[0] <= truth <= each.share_interval[1] for each in found])
    inside = np.mean([each.leaking_interval[0] <= leaking <= each.leaking_interval[1] for each in found])

    assert 0.93 <= share <= 0.97
    assert inside == pytest.approx(share, abs=0.015) if leaking else inside >= share
    assert np.mean([each.share for each in found]) == pytest.approx(truth, abs=0.015)


def test_two_hubs_that_win_a_tenth_each_shorten_the_interval_a_little():
    found = weigh_many(400, 8, draw=won_by, draws=9, leaking=0.3, hubs=2)
    inside = [each.share_interval[0] <= 0.65 <= each.share_interval[1] for each in found]
    width = np.mean([each.share_interval[1] - each.share_interval[0] for each in found])
    plain = [0.5 * 3.92 * np.sqrt(each.share * (1 - each.share) / each.clusters) for each in found]

    assert np.mean(inside) >= 0.9
    assert np.mean([abs(each.share - 0.65) <= half for each, half in zip(found, plain, strict=True)]) < 0.85
    assert width > 2.2 * np.mean(plain)


def test_in_small_galleries_the_intervals_are_on_the_safe_side():
    found = weigh_many(200, 5, draws=9, people=40, clusters=150, leaking=0.1)

    assert np.mean([each.leaking_interval[0] <= 0.1 <= each.leaking_interval[1] for each in found]) >= 0.95


def test_the_lottery_is_that_of_the_slow_twin():
    rng = np.random.default_rng(0)
    times = np.array([1, 1, 1, 2, 2, 5, 9])
    labels = np.array([True] * 8 + [False] * 12)
    slow = [times[rng.permutation(labels)[:7]].sum() for _ in range(20_000)]

    fast = lottery(times, candidates=8, nulls=12, draws=20_000, rng=np.random.default_rng(1))

    assert stats.ks_2samp(slow, fast).pvalue > 0.01
    assert fast.mean() == pytest.approx(21 * 8 / 20, abs=0.1)
    assert lottery(times, candidates=8, nulls=0, draws=5, rng=rng).tolist() == [21] * 5


def test_who_wins_a_cluster_is_its_closest_photo():
    best = np.array([0.3, 0.9, 0.5, 0.4, 0.7], np.float32)
    null = np.array([0.8, 0.1, 0.6, 0.4, 0.2], np.float32)
    cluster = np.array([4, 4, 2, 7, 9])

    found = weigh_population(best, np.array([5, 6, 7, 5, 6]), null, np.array([0, 1, 2, 3, 4]), cluster,
                             candidates=20, nulls=20, draws=2000, seed=0)  # fmt: skip

    assert (found.clusters, found.won, found.lost, found.tied) == (4, 2, 1, 1)
    assert found.share == 0.625
    assert found.leaking == 0.25
    assert found.winners in {2, 3}  # identity 6 won two clusters; the winner of the tie is drawn
    assert found.p_value > 0.2


def test_one_hub_that_wins_everything_proves_nothing():
    n = 200
    args = (np.full(n, 0.9, np.float32), np.zeros(n, np.int64), np.full(n, 0.1, np.float32), np.arange(n), np.arange(n))

    found = weigh_population(*args, candidates=500, nulls=500, draws=999, seed=0)

    assert found.p_value > 0.4
    assert found.share_interval == (0.0, 1.0)
    assert found.leaking_interval == (0.0, 1.0)


@pytest.mark.parametrize("won", [True, False])
def test_winners_that_all_win_alike_are_not_taken_for_certainty(won):
    """A bootstrap of equal values has no width: 15 wins of 15 do not say that nothing is ever lost."""
    best = np.array([0.9, 0.1] if won else [0.1, 0.9], np.float32).repeat(15).reshape(2, 15)

    found = weigh_population(
        best[0], np.arange(15), best[1], np.arange(15), np.arange(15), candidates=60, nulls=60, seed=0
    )

    most = 0.025 ** (1 / 15)
    assert found.share == won
    assert found.share_interval == pytest.approx((most, 1.0) if won else (0.0, 1.0 - most))
    assert found.leaking_interval == pytest.approx((2 * most - 1, 1.0) if won else (0.0, 0.0))


def test_p_values_have_a_floor_and_seeds_repeat():
    n = 200
    args = (np.full(n, 0.9, np.float32), np.arange(n), np.full(n, 0.1, np.float32), np.arange(n), np.arange(n))

    found = weigh_population(*args, candidates=500, nulls=500, draws=999, seed=0)

    assert found.p_value == 1 / 1000
    assert found == weigh_population(*args, candidates=500, nulls=500, draws=999, seed=0)


def test_sizes_that_cannot_be_are_refused():
    args, sizes = world(np.random.default_rng(0))

    with pytest.raises(CalibrationError, match="candidate identities are closest to a sample"):
        weigh_population(*args, **{**sizes, "candidates": 5}, seed=0)
    with pytest.raises(CalibrationError, match="the null galleries are said to hold 0"):
        weigh_population(*args, **{**sizes, "nulls": 0}, seed=0)
