"""`unit_rows`: unit length, or NaN throughout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scanner.embedders.base import unit_rows


@given(arrays(np.float32, (4, 6), elements=st.floats(width=32)))
def test_every_row_is_of_unit_length_or_nan_throughout(vectors):
    rows = unit_rows(vectors)

    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    bad = np.isnan(rows)
    assert rows.dtype == np.float32
    assert (bad.all(1) == bad.any(1)).all()
    assert np.abs(norms[~bad.any(1)] - 1).max(initial=0) < 1e-6
    usable = np.isfinite(vectors).all(1) & (vectors != 0).any(1)
    assert (bad.all(1) == ~usable).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_length_does_not_matter(scale):
    rows = unit_rows(np.array([[3.0, 4.0]]) * scale)

    assert np.allclose(rows, [[0.6, 0.8]])


def test_bad_rows_leave_good_ones_alone():
    rows = unit_rows(np.array([[np.inf, 1], [0, 0], [np.nan, 0], [0, -2]], np.float32))

    assert np.isnan(rows[:3]).all()
    assert rows[3].tolist() == [0.0, -1.0]
