"""q-values against the step-up procedure written out, and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scanner.evidence.multiple import bh_q_values, by_q_values

p_values = arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-9, 1.0))


def rejected_step_up(p: np.ndarray, level: float) -> np.ndarray:
    """Benjamini and Hochberg's own words: the largest k with p_(k) <= k level / n."""
    ordered = np.sort(p)
    reaching = [k for k in range(1, len(p) + 1) if ordered[k - 1] <= k * level / len(p)]
    return p <= ordered[reaching[-1] - 1] if reaching else np.zeros(len(p), bool)


@given(p_values, st.sampled_from([0.01, 0.05, 0.2]))
def test_q_below_the_level_is_what_the_step_up_procedure_rejects(p, level):
    edge = np.min(np.abs(bh_q_values(p) - level)) < 1e-12

    assert edge or np.array_equal(bh_q_values(p) <= level, rejected_step_up(p, level))


@given(p_values)
def test_q_values_agree_with_scipy(p):
    assert bh_q_values(p) == pytest.approx(stats.false_discovery_control(p, method="bh"))
    assert by_q_values(p) == pytest.approx(stats.false_discovery_control(p, method="by"))


def test_no_tests_give_no_q_values():
    assert bh_q_values(np.empty(0)).shape == (0,)
