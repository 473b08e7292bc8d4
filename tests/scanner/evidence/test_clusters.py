"""Leaders, effective numbers and cluster intervals: against slow twins and known truth."""

import numpy as np
import pytest
from scipy import stats

from scanner.evidence.clusters import cluster_bootstrap, cluster_sizes, lead_clusters


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def faces(rng, samples, identities, noise, dim=32):
    """Samples of generated identities, in random order, and whose they are."""
    codes = rng.integers(identities, size=samples)
    centres = unit(rng.normal(size=(identities, dim)))
    return unit(centres[codes] + noise * rng.normal(size=(samples, dim))), codes


def slow_clusters(vectors, radius):
    """One vector at a time, one leader at a time."""
    leaders, codes = [], []
    for vector in vectors:
        scores = [float((vector.astype(np.float64) * leader).sum()) for leader in leaders]
        if scores and max(scores) >= radius:
            codes.append(scores.index(max(scores)))
        else:
            leaders.append(vector)
            codes.append(len(leaders) - 1)
    return codes


@pytest.mark.parametrize(("identities", "noise"), [(5, 0.1), (60, 0.15), (400, 0.3)])
@pytest.mark.parametrize("radius", [0.2, 0.6, 1.0])
def test_clusters_are_those_of_the_slow_twin_whatever_the_block(identities, noise, radius):
    vectors, _ = faces(np.random.default_rng(identities), 300, identities, noise)
    expected = slow_clusters(vectors, radius)

    for block in (1, 7, 64, 1000):
        assert lead_clusters(vectors, radius=radius, block=block).tolist() == expected


def test_many_leaders_are_searched_in_tiles(monkeypatch):
    vectors, _ = faces(np.random.default_rng(1), 300, 300, 0.3)
    expected = slow_clusters(vectors, 0.3)
    monkeypatch.setattr("scanner.evidence.clusters.TILE", 11)
    monkeypatch.setattr("scanner.evidence.clusters._PAIRS", 5)

    assert lead_clusters(vectors, radius=0.3, block=50).tolist() == expected


def test_a_score_at_the_radius_joins_and_the_older_leader_wins_a_tie():
    # The fourth is as near to the first as to the second, and exactly at the radius of the third.
    vectors = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]], np.float32)

    for block in (1, 2, 3, 4):
        assert lead_clusters(vectors, radius=0.5, block=block).tolist() == [0, 1, 2, 0]
        assert lead_clusters(vectors, radius=np.nextafter(0.5, 1.0), block=block).tolist() == [0, 1, 2, 3]


def test_duplicates_in_many_copies_are_one_cluster():
    vectors = np.repeat(unit(np.random.default_rng(0).normal(size=(3, 64))), 40, axis=0)

    assert lead_clusters(vectors, radius=0.999, block=9).tolist() == np.repeat([0, 1, 2], 40).tolist()


def test_well_separated_identities_are_found_again():
    vectors, truth = faces(np.random.default_rng(3), 2000, 150, 0.05)

    found = lead_clusters(vectors, radius=0.75)

    pairs = set(zip(found.tolist(), truth.tolist(), strict=True))
    assert len(pairs) == len(set(truth.tolist())) == found.max() + 1
    assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1))


def test_no_samples_are_no_clusters():
    assert lead_clusters(np.empty((0, 8), np.float32), radius=0.5).tolist() == []
    assert (cluster_sizes(np.empty(0, np.int32)).clusters, cluster_sizes(np.empty(0, np.int32)).effective_n) == (0, 0.0)


def test_the_effective_number_is_kishs():
    found = cluster_sizes(np.array([7, 7, 7, 2, 9, 9]))

    assert (found.clusters, found.largest) == (3, 3)
    assert found.effective_n == pytest.approx(36 / 14)
    assert cluster_sizes(np.arange(50)).effective_n == pytest.approx(50)
    assert cluster_sizes(np.repeat(np.arange(10), 8)).effective_n == pytest.approx(10)


def test_the_bootstrap_is_that_of_the_slow_twin():
    rng = np.random.default_rng(0)
    cluster = rng.integers(12, size=60)
    values = rng.normal(size=60)
    means = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(cluster == code) for code in rng.integers(12, size=12)])
        means.append(values[rows].mean())

    found = cluster_bootstrap(values, cluster, draws=2500, seed=1)

    trials = cluster_sizes(cluster).effective_n
    tail = stats.norm.cdf(np.sqrt(trials / (trials - 1)) * stats.t.ppf(0.025, trials - 1))
    assert np.array(found) == pytest.approx(np.quantile(means, [tail, 1 - tail]), abs=0.05)
    assert found == cluster_bootstrap(values, cluster, draws=2500, seed=1)


def coverage(by_cluster, binary, clusters, runs=400):
    """Share of intervals that hold the true mean 0.3, for clusters of very unequal sizes."""
    rng = np.random.default_rng(2)
    inside = 0
    for run in range(runs):
        sizes = rng.geometric(0.3, clusters)
        cluster = np.repeat(np.arange(clusters), sizes)
        if binary:
            values = (rng.random(clusters) < 0.3)[cluster]
        else:
            values = 0.3 + rng.normal(size=clusters)[cluster] + 0.5 * rng.normal(size=len(cluster))
        low, high = cluster_bootstrap(values, cluster if by_cluster else np.arange(len(cluster)), draws=250, seed=run)
        inside += low <= 0.3 <= high
    return inside / runs


@pytest.mark.parametrize(("binary", "clusters"), [(False, 40), (True, 90)])
def test_the_cluster_bootstrap_covers_at_its_level_and_the_plain_one_does_not(binary, clusters):
    assert 0.93 <= coverage(by_cluster=True, binary=binary, clusters=clusters) <= 0.97
    assert coverage(by_cluster=False, binary=binary, clusters=clusters, runs=100) < 0.87


def test_one_cluster_alone_says_nothing():
    assert cluster_bootstrap(np.array([0.2, 0.3]), np.array([4, 4]), seed=0) == (-np.inf, np.inf)
