"""Searches: p-values uniform, false discoveries within the rate, whatever clusters, hubs and query quality do."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from scanner.evidence.multiple import bh_q_values
from scanner.evidence.searches import Winners, weigh_searches, weighted_q_values

LEVEL = 0.1


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class World:
    """One run: the arguments of `weigh_searches`, and the truth."""

    best: np.ndarray
    null_best: np.ndarray
    cluster: np.ndarray
    winners: Winners
    leaks: np.ndarray  # of clusters
    leaked: np.ndarray  # identities

    def weigh(self, seed, *, paired_by_winners=False, blocks=1):
        winners = self.winners if paired_by_winners else None
        return weigh_searches(self.best, self.null_best, self.cluster, blocks=blocks, seed=seed, winners=winners)


def world(rng, *, people=150, clusters=150, per=1, leaks=0, hubs=0, offset=0.0, blocks=1, dim=48):
    """Draw galleries, generated identities and their samples anew.

    Args:
        people: null identities, one photo each; the candidates are `blocks` times as many.
        clusters: generated identities, with `per` samples on average (geometric).
        leaks: clusters that are candidates.
        hubs: photos of the pool, on whichever side, that lie near the middle of all faces.
        offset: spread of what a sample adds to all of its scores.
    """
    middle = unit(rng.normal(size=dim)) * np.sqrt(dim)
    pool = unit(rng.normal(size=(people * (blocks + 1), dim)) + 0.15 * middle)
    hub = rng.choice(len(pool), hubs, replace=False)
    pool[hub] = unit(pool[hub] + 1.5 * unit(middle))
    candidates = rng.permutation(len(pool))[: people * blocks]
    is_candidate = np.isin(np.arange(len(pool)), candidates)
    leaked = rng.choice(np.setdiff1d(candidates, hub), leaks, replace=False)
    centres = unit(rng.normal(size=(clusters, dim)) + 0.6 * middle)
    centres[:leaks] = pool[leaked]
    sizes = np.ones(clusters, np.int64) if per == 1 else rng.geometric(1 / per, clusters)
    cluster = np.repeat(np.arange(clusters, dtype=np.int32), sizes)
    samples = unit(centres[cluster] + 0.75 / np.sqrt(dim) * rng.normal(size=(len(cluster), dim)))
    scores = samples @ pool.T + np.float32(offset) * rng.normal(size=(len(cluster), 1)).astype(np.float32)
    one, other = np.where(is_candidate, scores, -9).argmax(1), np.where(is_candidate, -9, scores).argmax(1)
    rows = np.arange(len(cluster))
    winners = Winners(one, other, scores.mean(axis=1))
    return World(scores[rows, one], scores[rows, other], cluster, winners, np.arange(clusters) < leaks, leaked)


def false_and_found(drawn, q, *, by):
    """Return the share of false discoveries, counted by samples' weight, by clusters or by identities; and the power."""
    called = q <= LEVEL
    true = drawn.leaks[drawn.cluster]
    found = len(set(drawn.cluster[called & true].tolist())) / max(1, drawn.leaks.sum())
    if by == "weight":
        weight = called / np.bincount(drawn.cluster)[drawn.cluster]
        return (weight * ~true).sum() / max(weight.sum(), 1e-9), found
    if by == "cluster":
        named = np.unique(drawn.cluster[called])
        return (~drawn.leaks[named]).sum() / max(1, len(named)), found
    named = np.unique(drawn.winners.candidate_identity[called])
    return len(np.setdiff1d(named, drawn.leaked)) / max(1, len(named)), found


def rates(runs, seed, *, blocks=1, **options):
    """Return means, over runs, of (false, found) of q_value, q_paired, and q_paired by winners, and their errors."""
    rng = np.random.default_rng(seed)
    kept = []
    for run in range(runs):
        drawn = world(rng, blocks=blocks, **options)
        plain, fair = drawn.weigh(run, blocks=blocks), drawn.weigh(run, blocks=blocks, paired_by_winners=True)
        kept.append([
            false_and_found(drawn, plain.q_value, by="weight"),
            false_and_found(drawn, plain.q_paired, by="cluster"),
            false_and_found(drawn, fair.q_paired, by="identity"),
        ])  # fmt: skip
    false, found = np.array(kept).transpose(2, 1, 0)
    return false.mean(1), found.mean(1), false.std(1) / np.sqrt(runs)


@pytest.mark.parametrize(
    "options",
    [{}, {"people": 60, "clusters": 300}, {"people": 400, "clusters": 60}, {"per": 4}, {"offset": 0.2}],
    ids=["plain", "small galleries", "large galleries", "clustered", "offset"],
)
def test_p_values_are_uniform_without_a_leak(options):
    rng = np.random.default_rng(0)
    # Within one run all p-values share galleries and null, so each run gives one: a random sample's.
    found = [drawn.weigh(run) for run, drawn in enumerate(world(rng, **options) for _ in range(250))]
    chosen = [rng.integers(len(each.p_value)) for each in found]

    conformal = [each.p_conformal[row] for each, row in zip(found, chosen, strict=True)]
    paired = [each.p_paired[row] for each, row in zip(found, chosen, strict=True)]

    assert stats.kstest(conformal, "uniform").pvalue > 0.01
    # A lost contest has p = 1, a won one is uniform up to 1/2.  It answers for a whole cluster by its largest gap, so with
    # many samples in a cluster it is on the safe side.
    side = "greater" if "per" in options else "two-sided"
    won = [2 * p for p in paired if p < 1]
    assert max(won) <= 1
    assert stats.binomtest(len(won), len(paired)).pvalue > 0.01
    assert stats.kstest(won, "uniform", alternative=side).pvalue > 0.01


def test_a_null_of_every_sample_would_not_have_an_honest_floor():
    drawn = world(np.random.default_rng(0), clusters=30, per=20, leaks=3)

    found = drawn.weigh(0)

    assert (found.clusters, found.floor) == (30, 1 / 31)
    assert found.p_conformal.min() == found.floor
    assert len(drawn.cluster) > 400


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"leaks": 15},
        {"leaks": 60},
        {"leaks": 15, "per": 4},
        {"leaks": 15, "offset": 0.2},
        {"leaks": 20, "people": 60, "clusters": 250},
    ],
    ids=["none", "few", "many", "clustered", "offset", "small galleries"],
)
def test_the_false_discovery_rate_is_held(options):
    false, _, error = rates(100, 1, **options)

    assert np.all(false <= LEVEL + 2 * error)


def test_a_hub_breaks_what_does_not_count_winners_and_only_that():
    false, found, error = rates(200, 2, leaks=15, hubs=1)

    assert np.all(false[:2] > LEVEL + 2 * error[:2])
    assert false[2] <= LEVEL + 2 * error[2]
    assert found[2] > 0.95
    for options in ({"hubs": 1}, {"hubs": 5, "leaks": 15, "per": 3}, {"hubs": 2, "leaks": 60}):
        false, _, error = rates(80, 3, **options)
        assert false[2] <= LEVEL + 2 * error[2]


def test_what_a_sample_does_to_both_sides_cancels_in_the_contest_alone():
    _, clear, _ = rates(30, 4, leaks=15)
    _, blurred, _ = rates(30, 4, leaks=15, offset=0.2)

    assert np.all(clear > 0.95)
    assert blurred[0] < 0.2
    assert np.all(blurred[1:] > 0.95)
    drawn = world(np.random.default_rng(0), leaks=15)
    shift = np.random.default_rng(1).normal(size=len(drawn.cluster)).astype(np.float32)
    moved = replace(drawn, best=drawn.best + shift, null_best=drawn.null_best + shift)
    assert moved.weigh(0).p_paired == pytest.approx(drawn.weigh(0).p_paired, abs=0.02)


def test_genericness_on_one_side_of_the_samples_makes_the_unpaired_p_value_invalid():
    # Half of the generated faces are close to everybody: for them the unpaired p-values are too small.
    rng, p, paired = np.random.default_rng(6), [], []
    for run in range(60):
        drawn = world(rng)
        generic = np.where(drawn.cluster % 2, 0.1, 0.0).astype(np.float32)
        drawn = replace(drawn, best=drawn.best + generic, null_best=drawn.null_best + generic)
        found = drawn.weigh(run)
        p.append((found.p_value[drawn.cluster % 2 == 1] <= 0.1).mean())
        paired.append((found.p_paired[drawn.cluster % 2 == 1] <= 0.1).mean())

    assert np.mean(p) > 0.15
    assert np.mean(paired) <= 0.11


def test_larger_candidate_galleries_pay_for_their_blocks():
    for options in ({}, {"leaks": 45}):
        false, found, error = rates(80, 5, blocks=3, **options)
        assert np.all(false[[0, 2]] <= LEVEL + 2 * error[[0, 2]])
    assert found[2] > 0.9
    rng = np.random.default_rng(7)
    drawn = [world(rng, blocks=3) for _ in range(120)]
    p = np.concatenate([each.weigh(0, blocks=3).p_value for each in drawn])
    assert all((p <= level).mean() <= 1.2 * level for level in (0.05, 0.2))
    assert (np.concatenate([each.weigh(0).p_value for each in drawn]) <= 0.05).mean() > 0.08
    assert np.isnan(drawn[0].weigh(0, blocks=3).p_paired).all()
    assert np.isnan(drawn[0].weigh(0, blocks=3).q_paired).all()


def slow_contest(won, size, units, blocks=1):
    """p and q of each sample, term by term: `units` are (won, size) of what is counted, one's own by sample."""
    lost = [each for each in set(units) if not each[1]]
    p, q = [], []
    for mine, at, unit_ in zip(won, size, units, strict=True):
        rank = (1 + sum(each[2] >= at for each in lost)) / (1 + len(lost))
        p.append(blocks / (blocks + 1) * rank if mine else 1.0)
        best = 1.0
        for cut in {each[2] for each in set(units) if each[2] <= unit_[2]} | {at}:
            if mine and unit_[1] and cut <= at:
                gained = sum(each[1] and each[2] >= cut for each in set(units))
                best = min(best, blocks * (1 + sum(each[2] >= cut for each in lost)) / gained)
        q.append(best)
    return p, q


@pytest.mark.parametrize("per", [1, 3])
def test_the_contest_is_that_of_the_slow_twin(per):
    drawn = world(np.random.default_rng(8), clusters=60, per=per, leaks=8)
    won = drawn.best > drawn.null_best
    size = np.abs(drawn.best.astype(np.float64) - drawn.null_best)
    chief = [max(np.flatnonzero(drawn.cluster == code), key=lambda row: size[row]) for code in drawn.cluster]

    found = drawn.weigh(0)

    p, q = slow_contest(won, size, [(drawn.cluster[row], bool(won[row]), size[row]) for row in chief])
    assert found.p_paired == pytest.approx(p)
    assert found.q_paired == pytest.approx(q)
    assert (found.q_paired < 1).any()


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_contest_by_winners_is_that_of_the_slow_twin(blocks):
    drawn = world(np.random.default_rng(8), people=80, clusters=90, per=3, leaks=20, hubs=1, blocks=blocks)
    won = drawn.best > drawn.null_best
    size = np.maximum(drawn.best, drawn.null_best).astype(np.float64) - drawn.winners.usual
    who = np.where(won, drawn.winners.candidate_identity, drawn.winners.null_identity)  # one pool: codes are apart
    speakers = [max(np.flatnonzero(drawn.cluster == code), key=lambda row: size[row]) for code in range(90)]
    chief = {person: max((row for row in speakers if who[row] == person), key=lambda row: size[row])
             for person in who[speakers]}  # fmt: skip
    units = {person: (person, bool(won[row]), size[row]) for person, row in chief.items()}

    found = drawn.weigh(0, paired_by_winners=True, blocks=blocks)

    lost = [unit_ for unit_ in units.values() if not unit_[1]]
    gained = [unit_ for unit_ in units.values() if unit_[1]]
    for row in range(len(size)):
        rank = (1 + sum(each[2] >= size[row] for each in lost)) / (1 + len(lost))
        assert found.p_paired[row] == pytest.approx(blocks / (blocks + 1) * rank if won[row] else 1.0)
        q = 1.0
        if won[row] and who[row] in units:
            at = min(size[row], units[who[row]][2])
            for cut in [each[2] for each in units.values() if each[2] <= at] + [at]:
                decoys, called = sum(each[2] >= cut for each in lost), sum(each[2] >= cut for each in gained)
                q = min(q, blocks * (1 + decoys) / called)
        assert found.q_paired[row] == pytest.approx(q)
    assert (found.q_paired < 0.5).any()
    assert len(units) < 90


def test_many_samples_of_one_identity_count_once():
    drawn = world(np.random.default_rng(9), leaks=10)
    times = np.where(np.arange(150) < 5, 60, 1)
    rows = np.repeat(np.arange(150), times)
    winners = Winners(
        drawn.winners.candidate_identity[rows], drawn.winners.null_identity[rows], drawn.winners.usual[rows]
    )
    copied = replace(drawn, best=drawn.best[rows], null_best=drawn.null_best[rows], cluster=rows, winners=winners)

    for by_winners in (False, True):
        once, often = drawn.weigh(0, paired_by_winners=by_winners), copied.weigh(0, paired_by_winners=by_winners)
        assert often.clusters == once.clusters
        for name in ("p_conformal", "p_paired", "q_value", "q_paired"):
            assert getattr(often, name) == pytest.approx(getattr(once, name)[rows]), name


def test_weighted_q_values_are_benjamini_hochbergs_when_all_weigh_the_same():
    p = np.random.default_rng(0).random(300) ** 3

    assert weighted_q_values(p, np.full(300, 0.25)) == pytest.approx(bh_q_values(p))
    assert weighted_q_values(np.array([0.01, 0.04, 0.5]), np.array([1.0, 2.0, 1.0])) == pytest.approx(
        [0.04, 4 * 0.04 / 3, 0.5]
    )


def test_the_tail_reaches_below_the_floor_and_is_refused_when_there_is_too_little():
    drawn = world(np.random.default_rng(10), clusters=1200, leaks=20)
    large, small = drawn.weigh(0), world(np.random.default_rng(10), leaks=20).weigh(0)

    assert large.tail.refused == ""
    assert large.p_value[:20].max() < large.floor
    assert small.tail.refused != ""
    assert small.p_value.tolist() == small.p_conformal.tolist()


def test_the_same_seed_gives_the_same_values_and_no_samples_give_none():
    drawn = world(np.random.default_rng(11), per=3, leaks=5)
    empty = weigh_searches(np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, np.int32), seed=0)

    assert drawn.weigh(3).p_value.tobytes() == drawn.weigh(3).p_value.tobytes()
    assert (len(empty.p_value), len(empty.q_paired), empty.clusters, empty.floor) == (0, 0, 0, 1.0)
