"""How small a leak would have been seen: the fast road against planting real vectors, and what must hold of it."""

import time

import numpy as np
import pytest

from scanner.errors import CalibrationError
from scanner.evidence.identities import weigh_identities
from scanner.evidence.multiple import bh_q_values
from scanner.evidence.power import _cut, fading_leaks, power_of

DIM = 24
LEAKS = (2, 10, 40)
CANDIDATES = 200


def photos_of(rng, centres, noise=0.11):
    """One more photo of each person."""
    photos = centres + noise * rng.normal(size=centres.shape)
    return (photos / np.linalg.norm(photos, axis=1, keepdims=True)).astype(np.float32)


def people(rng, count):
    return photos_of(rng, np.zeros((count, DIM)), 1.0)


def null_of(rng, samples, count):
    """Statistics of null people, and their mated scores."""
    centres = people(rng, count)
    first, second = photos_of(rng, centres), photos_of(rng, centres)
    return (first @ samples.T).max(1), np.einsum("ij,ij->i", first, second)


def plant_and_scan(rng, leaks, null_people):
    """The slow twin: vectors, planted copies, `weigh_identities`; how many of the leaked are named."""
    centres = people(rng, CANDIDATES)
    samples = np.concatenate([people(rng, 150), photos_of(rng, centres[:leaks])])
    null, _ = null_of(rng, samples, null_people)
    best = (photos_of(rng, centres) @ samples.T).max(1)
    found = weigh_identities(best, np.arange(CANDIDATES), null, np.arange(null_people), seed=0)
    return np.count_nonzero(found.q_bh[:leaks] <= 0.05)


@pytest.mark.parametrize("null_people", [400, 1200])
def test_it_agrees_with_planting_vectors(null_people):
    rng = np.random.default_rng(3)
    runs = 60
    detected, named = np.zeros(len(LEAKS)), np.zeros(len(LEAKS))
    for place, leaks in enumerate(LEAKS):
        hits = np.array([plant_and_scan(rng, leaks, null_people) for _ in range(runs)])
        detected[place], named[place] = np.mean(hits > 0), np.mean(hits) / leaks
    said = []
    for seed in range(25):  # nulls of one kind differ: one alone is off by up to 0.3
        null, mated = null_of(rng, people(rng, 150), null_people)
        rates = [leaks / CANDIDATES for leaks in LEAKS]
        said.append(power_of(null, mated, candidates=CANDIDATES, rates=rates, draws=40, seed=seed))
    asked = [[power.rates.index(leaks / CANDIDATES) for leaks in LEAKS] for power in said]
    said_detected = np.mean([[p.detected[i].value for i in rows] for p, rows in zip(said, asked, strict=True)], 0)
    said_named = np.mean([[p.named[i] for i in rows] for p, rows in zip(said, asked, strict=True)], 0)

    assert (np.diff(named) > 0.02).any()  # the case is neither hopeless nor trivial
    assert np.abs(detected - said_detected).max() <= 0.17  # 2.6 standard errors of 60 runs
    assert np.abs(named - said_named).max() <= 0.08


def test_the_cut_is_that_of_benjamini_hochberg():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = np.round(rng.random(50) ** rng.uniform(1, 6), 3)

        assert ((p <= _cut(p, 0.1)) == (bh_q_values(p) <= 0.1)).all()


def test_equal_seeds_give_equal_figures_and_more_leaks_are_seen_more_often():
    rng = np.random.default_rng(1)
    null, mated = null_of(rng, people(rng, 200), 1500)

    power = power_of(null, mated, candidates=1000, seed=5)
    values = [d.value for d in power.detected]

    assert power == power_of(null, mated, candidates=1000, seed=5)
    assert values == sorted(values)
    assert power.smallest is not None
    assert power.smallest_low <= power.smallest <= power.smallest_high
    assert all(d.low <= d.value <= d.high for d in power.detected)


def test_a_blurred_leak_is_seen_less_and_a_leak_like_a_stranger_not_at_all():
    rng = np.random.default_rng(2)
    null, mated = null_of(rng, people(rng, 200), 1500)

    shares = [power.named[-1] for power in fading_leaks(null, mated, candidates=500, draws=50, seed=0)]
    stranger = power_of(null, mated, candidates=500, draws=50, attenuation=0.0, seed=0)

    assert shares[0] > shares[1] > shares[2] >= max(stranger.named)


def test_strangers_are_named_no_more_often_than_the_level_and_each_photo_costs():
    rng = np.random.default_rng(4)
    null, mated = null_of(rng, people(rng, 200), 1500)

    nothing = power_of(null, null, candidates=300, attenuation=0.0, rates=[1.0], draws=400, seed=0)
    one, five = (power_of(null, mated, candidates=300, photos=m, rates=[0.1], draws=50, seed=0) for m in (1, 5))

    assert nothing.detected[0].value < 0.2  # a leak is the larger of two null draws, so a little above 0.05
    assert one.named[0] > five.named[0]


def test_rates_are_whole_identities():
    rng = np.random.default_rng(6)
    null, mated = null_of(rng, people(rng, 50), 200)

    power = power_of(null, mated, candidates=7, draws=20, seed=0)

    assert {1 / 7, 1.0} <= set(power.rates)
    assert all((rate * 7).is_integer() for rate in power.rates)
    assert power.null_identities == 200


def test_what_is_called_detected_is_detected_and_one_person_fewer_is_not():
    rng = np.random.default_rng(9)
    null, mated = null_of(rng, people(rng, 50), 130)  # no tail: 40 candidates need several together

    power = power_of(null, mated, candidates=40, draws=60, seed=0)

    at = {round(rate * 40): d.value for rate, d in zip(power.rates, power.detected, strict=True)}
    smallest = round(power.smallest * 40)
    assert at[smallest] >= 0.8
    assert at[smallest - 1] < 0.8
    assert smallest >= 7  # 40 / (0.05 x 131)


def test_it_is_quick_at_the_size_of_a_real_run():
    rng = np.random.default_rng(7)
    null, mated = null_of(rng, people(rng, 100), 5000)
    started = time.process_time()

    power_of(null, mated, candidates=5000, seed=0)

    assert time.process_time() - started < 4.0


def test_too_little_to_go_by_is_refused():
    null, mated = np.linspace(0, 0.5, 200).astype(np.float32), np.full(30, 0.7, np.float32)

    with pytest.raises(CalibrationError, match="The null has 99 identities"):
        power_of(null[:99], mated, candidates=5, seed=0)
    with pytest.raises(CalibrationError, match="19 people with a second photo; at least 20"):
        power_of(null, mated[:19], candidates=5, seed=0)
    with pytest.raises(CalibrationError, match="0 candidate identities"):
        power_of(null, mated, candidates=0, seed=0)
