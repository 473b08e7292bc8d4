import numpy as np
import pytest

from indexes import VectorBatch
from indexes.errors import VectorError
from indexes.vectors import check_unit_rows


def test_unit_rows_are_kept_without_a_copy():
    rows = np.eye(4, dtype=np.float32)

    batch = VectorBatch(rows)

    assert batch.vectors is rows
    assert (len(batch), batch.rows, batch.dim) == (4, 4, 4)
    assert [part.rows for part in batch.batches(3)] == [3, 1]
    assert VectorBatch.concat([batch, batch.take(np.array([2]))]).vectors[4].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, 0.0]], "must be a numpy array, got list"),
        (np.eye(2), "must be float32, got float64"),
        (np.ones(1, np.float32), r"must have the shape \(rows, components\), got \(1,\)"),
        (np.empty((3, 0), np.float32), "must have the shape"),
        (np.asfortranarray(np.eye(3, dtype=np.float32)), "must be C-contiguous"),
    ],
)
def test_another_layout_is_refused(vectors, message):
    with pytest.raises(VectorError, match=message):
        VectorBatch(vectors)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 0.998, 1.002, 1e30])
def test_rows_that_are_not_unit_are_named(value):
    rows = np.zeros((9, 3), np.float32)
    rows[:, 1] = 1
    rows[[2, 7], 1] = value

    with np.errstate(over="ignore"), pytest.raises(VectorError, match=r"row 2 \(norm .*\), row 7 \(norm"):
        VectorBatch(rows)


def test_norms_within_the_tolerance_pass():
    rows = np.array([[0.9991, 0], [1.0009, 0]], np.float32)

    assert VectorBatch(rows).rows == 2


def test_rows_far_down_are_checked_too():
    rows = np.zeros((40_000, 2), np.float16)
    rows[:, 0] = 1
    rows[39_999, 0] = 2

    with pytest.raises(VectorError, match="row 39999"):
        check_unit_rows(rows)
