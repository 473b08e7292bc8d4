"""Neighbours: choosing photos, putting parts together, and the tiled look-up against a slow one."""

from dataclasses import fields, replace

import numpy as np
import pytest

from scanner.errors import CalibrationError
from scanner.evidence.neighbours import concatenate, neighbours_among


def unit(rng, rows, dim):
    vectors = rng.normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def near():
    rng = np.random.default_rng(1)
    return neighbours_among(unit(rng, 12, 8), unit(rng, 30, 8), k=4, radii=(0.2, 0.5))


def assert_same(left, right):
    for field in fields(left):
        assert np.array_equal(getattr(left, field.name), getattr(right, field.name)), field.name


def test_the_look_up_finds_what_a_slow_one_finds():
    rng = np.random.default_rng(2)
    photos, samples = unit(rng, 600, 16), unit(rng, 70, 16)
    found = neighbours_among(photos, samples, k=5, radii=(0.1, 0.4))

    for i in range(len(photos)):
        scores = [float(np.dot(photos[i].astype(np.float64), s.astype(np.float64))) for s in samples]
        ranked = sorted(range(70), key=lambda j: -np.float32(scores[j]))
        assert found.row[i].tolist() == ranked[:5]
        assert found.score[i] == pytest.approx([scores[j] for j in ranked[:5]], abs=1e-6)
        assert found.within[i].tolist() == [sum(s >= radius for s in scores) for radius in (0.1, 0.4)]
        assert found.mean[i] == pytest.approx(np.mean(scores), abs=1e-6)
        assert found.sd[i] == pytest.approx(np.std(scores), abs=1e-6)
    assert found.samples == 70


def test_a_photo_sees_the_same_wherever_it_stands():
    rng = np.random.default_rng(3)
    photos, samples = unit(rng, 700, 64), unit(rng, 90, 64)
    order = rng.permutation(700)

    moved = neighbours_among(photos[order], samples, k=5, radii=(0.2,))
    assert_same(moved, neighbours_among(photos, samples, k=5, radii=(0.2,)).take(order))


def test_fewer_samples_than_asked_for_leave_gaps():
    rng = np.random.default_rng(4)
    found = neighbours_among(unit(rng, 3, 8), unit(rng, 2, 8), k=4)

    assert np.all(found.score[:, 2:] == -1.0)
    assert np.all(found.row[:, 2:] == -1)
    assert np.all(found.row[:, :2] >= 0)
    assert found.within.shape == (3, 0)


def test_parts_put_together_are_the_whole(near):
    whole = concatenate([near.take(np.arange(5)), near.take(np.arange(5, 12))])

    assert len(whole) == 12
    assert_same(whole, near)


def test_photos_are_taken_in_the_order_asked_for(near):
    taken = near.take(np.array([7, 0, 7]))

    assert len(taken) == 3
    assert np.array_equal(taken.score, near.score[[7, 0, 7]])
    assert np.array_equal(taken.within, near.within[[7, 0, 7]])
    assert np.array_equal(taken.mean, near.mean[[7, 0, 7]])
    assert taken.samples == near.samples == 30


def test_parts_from_other_samples_are_refused(near):
    with pytest.raises(CalibrationError, match="same samples"):
        concatenate([near, replace(near, samples=31)])
    with pytest.raises(CalibrationError, match="same radii"):
        concatenate([near, replace(near, radii=np.array([0.2, 0.6]))])
    with pytest.raises(CalibrationError, match="0 kinds"):
        concatenate([])
