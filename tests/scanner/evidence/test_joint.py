"""Joint evidence: exact under the null however the embedders depend on each other, and worth having."""

import numpy as np
import pytest
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.identities import weigh_identities
from scanner.evidence.joint import agreement, joint_conformal_p, weigh_jointly


def draw(rng: np.random.Generator, people: int, correlation: float, spread: tuple[float, ...]) -> np.ndarray:
    """Scores of `people` by embedders that share a part of what they see, skewed as best scores are."""
    shared = rng.gumbel(size=(people, 1))
    own = rng.gumbel(size=(people, len(spread)))
    return (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own) * spread


def slow_conformal_p(scores: np.ndarray, null: np.ndarray, mated: np.ndarray | None) -> list[float]:
    found = []
    for photo in scores.astype(float):
        everybody = np.vstack([null.astype(float), photo])
        spread = everybody.std(axis=0)
        weights = np.ones(3) if mated is None else np.maximum((mated - everybody.mean(axis=0)) / spread, 0.0)
        joint = (everybody / spread * weights).sum(axis=1)
        found.append((1 + int((joint[:-1] >= joint[-1]).sum())) / len(everybody))
    return found


@pytest.mark.parametrize("mated", [None, np.array([4.0, 3.0, -1.0])])
def test_p_values_are_those_of_ranking_the_photo_among_the_null_one_by_one(mated: np.ndarray | None) -> None:
    rng = np.random.default_rng(1)
    scores, null = draw(rng, 60, 0.5, (1.0, 0.2, 3.0)), draw(rng, 150, 0.5, (1.0, 0.2, 3.0))

    found = joint_conformal_p(scores, null, mated=mated)

    assert found.tolist() == slow_conformal_p(scores, null, mated)


def test_the_size_of_a_tile_changes_no_p_value(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    scores, null = draw(rng, 50, 0.5, (1.0, 2.0)), draw(rng, 120, 0.5, (1.0, 2.0))
    whole = joint_conformal_p(scores, null)

    monkeypatch.setattr("scanner.evidence.joint._TILE_SCORES", 7 * 120)

    assert joint_conformal_p(scores, null).tolist() == whole.tolist()


def test_a_photo_that_is_a_null_photo_ties_with_it() -> None:
    null = draw(np.random.default_rng(3), 100, 0.3, (1.0, 0.3, 0.7))

    found = joint_conformal_p(null, null)

    assert found.min() == 2 / 101  # the best one of the null, at or above itself


@pytest.mark.parametrize("mated", [None, np.array([4.0, 0.2])])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_p_values_are_uniform_under_the_null_however_the_embedders_depend(
    correlation: float, mated: np.ndarray | None
) -> None:
    rng = np.random.default_rng(4)
    runs = []
    for _ in range(400):
        scores, null = draw(rng, 1, correlation, (1.0, 0.1)), draw(rng, 149, correlation, (1.0, 0.1))
        runs.append(float(joint_conformal_p(scores, null, mated=mated)[0]))

    smoothed = np.array(runs) - rng.random(len(runs)) / 150  # p-values are multiples of 1/150

    assert stats.kstest(smoothed, "uniform").pvalue > 0.01
    assert stats.binomtest(int((np.array(runs) <= 1 / 150).sum()), len(runs), 1 / 150).pvalue > 0.01


def test_identities_with_several_photos_are_not_named_more_often_than_the_level() -> None:
    rng = np.random.default_rng(5)
    p_values = []
    for run in range(200):
        person = rng.gumbel(size=(20, 1, 1))  # photos of one person look alike, to both embedders
        scores = (person + 0.5 * rng.gumbel(size=(20, 4, 1)) + 0.5 * rng.gumbel(size=(20, 4, 2))).reshape(-1, 2)
        null = rng.gumbel(size=(200, 1)) + 0.5 * rng.gumbel(size=(200, 1)) + 0.5 * rng.gumbel(size=(200, 2))
        codes = np.repeat(np.arange(20), 4)
        found = weigh_jointly(scores, codes, null, np.arange(200), seed=run)
        p_values.append(found.p_conformal)

    share = (np.concatenate(p_values) <= 0.05).mean()

    assert share <= 0.05


def power(scores: np.ndarray, null: np.ndarray, members: np.ndarray, mated: np.ndarray | None = None) -> float:
    """Return the share of members that are named at a false discovery rate of 0.05."""
    found = weigh_jointly(scores, np.arange(len(scores)), null, np.arange(len(null)), mated=mated, seed=0)
    return float((found.q_bh[members] <= 0.05).mean())


def simulate(rng: np.random.Generator, lift: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    members = np.arange(100) < 20
    spread = tuple(1.0 for _ in lift)
    scores = draw(rng, 100, 0.3, spread) + np.outer(members, lift)
    return scores, draw(rng, 2000, 0.3, spread), members


def test_two_embedders_name_more_members_than_the_better_one() -> None:
    rng = np.random.default_rng(6)
    together, alone = [], []
    for _ in range(30):
        scores, null, members = simulate(rng, (5.0, 5.0))
        together.append(power(scores, null, members))
        alone.append([power(scores[:, [e]], null[:, [e]], members) for e in range(2)])

    assert np.mean(together) >= np.mean(alone, axis=0).max() + 0.1


def test_an_embedder_of_pure_noise_takes_power_but_does_not_destroy_it() -> None:
    rng = np.random.default_rng(7)
    with_noise, noise_alone = [], []
    for _ in range(30):
        scores, null, members = simulate(rng, (10.0, 0.0))
        with_noise.append(power(scores, null, members))
        noise_alone.append(power(scores[:, [1]], null[:, [1]], members))

    assert np.mean(noise_alone) <= 0.05
    assert np.mean(with_noise) >= 0.7


def test_a_better_embedder_weighs_more_so_that_a_worse_one_takes_nothing_away() -> None:
    rng = np.random.default_rng(17)
    found: dict[str, list[float]] = {"alone": [], "equal": [], "weighed": []}
    for _ in range(30):
        scores, null, members = simulate(rng, (7.0, 3.0, 0.0))
        mated = 0.58 + np.array([7.0, 3.0, 0.0])  # a Gumbel's mean, and what members have more
        found["alone"].append(power(scores[:, [0]], null[:, [0]], members))
        found["equal"].append(power(scores, null, members))
        found["weighed"].append(power(scores, null, members, mated))

    means = {name: np.mean(values) for name, values in found.items()}
    assert means["weighed"] >= means["alone"]
    assert means["weighed"] >= means["equal"] + 0.1


def test_weights_are_how_far_mated_scores_lie_above_the_null() -> None:
    null = draw(np.random.default_rng(18), 3000, 0.0, (1.0, 0.5, 2.0))

    found = weigh_jointly(
        null[:5], np.arange(5), null, np.arange(3000), mated=null.mean(0) + null.std(0) * [3, 1, -2], seed=0
    )
    equal = weigh_jointly(null[:5], np.arange(5), null, np.arange(3000), mated=null.mean(0) - 1, seed=0)

    assert found.weights.tolist() == pytest.approx([0.75, 0.25, 0.0])
    assert equal.weights.tolist() == pytest.approx([1 / 3] * 3)


def test_false_discoveries_stay_below_the_level() -> None:
    rng = np.random.default_rng(8)
    shares = []
    for _ in range(100):
        scores, null, members = simulate(rng, (6.0, 6.0, 6.0))
        found = weigh_jointly(scores, np.arange(100), null, np.arange(2000), seed=0)
        named = found.q_bh <= 0.1
        shares.append((named & ~members).sum() / max(1, named.sum()))

    assert np.mean(shares) <= 0.1 * 0.8 + 3 * np.std(shares) / 10  # 80 of 100 are no members


def test_one_embedder_alone_is_weighed_as_ever() -> None:
    rng = np.random.default_rng(9)
    scores, null = draw(rng, 80, 0.0, (0.1,)).astype(np.float32), draw(rng, 1500, 0.0, (0.1,)).astype(np.float32)
    codes = np.arange(80) // 2

    found = weigh_jointly(scores, codes, null, np.arange(1500), seed=0)

    alone = weigh_identities(scores[:, 0], codes, null[:, 0], np.arange(1500), seed=0)
    assert found.p_conformal.tolist() == alone.p_conformal.tolist()
    assert found.p_value == pytest.approx(alone.p_value, rel=0.05)  # the tail is fitted to other units
    assert found.correlation.tolist() == [[1.0]]


def test_the_correlation_of_the_embedders_is_shown() -> None:
    rng = np.random.default_rng(10)
    null = draw(rng, 5000, 0.64, (1.0, 5.0))

    found = weigh_jointly(null[:10], np.arange(10), null, np.arange(5000), seed=0)

    assert found.correlation[0, 1] == pytest.approx(0.64, abs=0.05)


def test_embedders_that_name_an_identity_alone_are_counted() -> None:
    q_values = np.array([[0.01, 0.04], [0.05, 0.9], [0.2, 0.3]])

    assert agreement(q_values, level=0.05).tolist() == [2, 1, 0]


def test_an_embedder_that_gives_everybody_one_score_is_refused() -> None:
    null = draw(np.random.default_rng(11), 200, 0.0, (1.0, 1.0))
    null[:, 1] = 0.3

    with pytest.raises(CalibrationError, match="Embedder 2 gives all 200 null identities one score"):
        weigh_jointly(null[:5], np.arange(5), null, np.arange(200), seed=0)


def test_a_null_that_is_too_small_is_refused() -> None:
    null = draw(np.random.default_rng(12), 99, 0.0, (1.0, 1.0))

    with pytest.raises(CalibrationError, match="The null has 99 identities"):
        weigh_jointly(null[:5], np.arange(5), null, np.arange(99), seed=0)
