from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from scanner.inversion import lbfgs


def descend(f, x, evaluations: int, *, active=None):
    """Run `evaluations` of the batched optimiser; return the lowest value and its point per slot."""
    n, d = x.shape
    state = lbfgs.empty(n, d, device=x.device)
    state = {k: v.to(x.dtype) if v.is_floating_point() else v for k, v in state.items()}
    active = torch.ones(n, dtype=torch.bool) if active is None else active
    best, at = torch.full((n,), torch.inf, dtype=x.dtype), x.clone()
    stuck = torch.zeros(n, dtype=torch.bool)
    for _ in range(evaluations):
        leaf = x.clone().requires_grad_()
        values = f(leaf)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        values = values.detach()
        lower = values < best
        best, at = torch.where(lower, values, best), torch.where(lower[:, None], x, at)
        state, x, now = lbfgs.advance(state, x, values, gradient, active=active & ~stuck)
        stuck = stuck | now
    return best, at


def rosenbrock(x):
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def test_quadratics_of_many_conditions_are_solved_side_by_side() -> None:
    random = torch.Generator().manual_seed(0)
    n, d = 9, 12
    turn = torch.linalg.qr(torch.randn(n, d, d, generator=random, dtype=torch.float64))[0]
    sizes = torch.stack([torch.logspace(0, k / 2, d, dtype=torch.float64) for k in range(n)])
    matrix = turn @ torch.diag_embed(sizes) @ turn.mT
    centre = torch.randn(n, d, generator=random, dtype=torch.float64)

    def f(x):
        gap = x - centre
        return 0.5 * torch.einsum("ni,nij,nj->n", gap, matrix, gap)

    best, at = descend(f, torch.zeros(n, d, dtype=torch.float64), 250)

    torch.testing.assert_close(at[:6], centre[:6], rtol=1e-6, atol=1e-6)
    assert bool((best < 1e-7).all())


def test_it_needs_at_most_twice_the_evaluations_of_scipy_on_rosenbrock() -> None:
    starts = torch.tensor([[-1.2, 1.0], [2.0, 2.0], [0.0, 0.0], [-1.5, -1.0]], dtype=torch.float64)

    def both(x):
        leaf = torch.tensor(x[None]).requires_grad_()
        value = rosenbrock(leaf)
        value.sum().backward()
        return float(value.detach()), leaf.grad[0].numpy()

    theirs = [minimize(both, s, jac=True, method="L-BFGS-B", options={"maxcor": lbfgs.HISTORY}) for s in starts.numpy()]
    best, at = descend(rosenbrock, starts, 2 * max(result.nfev for result in theirs))

    assert bool((best < 1e-8).all()), (best, [result.nfev for result in theirs])
    torch.testing.assert_close(at, torch.ones(4, 2, dtype=torch.float64), rtol=1e-3, atol=1e-3)


def test_a_function_with_kinks_is_minimised() -> None:
    centre = torch.randn(4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = torch.arange(1, 6, dtype=torch.float64)

    best, _ = descend(
        lambda x: ((x - centre).abs() * weights).sum(1) + 0.1 * (x - centre).square().sum(1),
        torch.zeros(4, 5, dtype=torch.float64),
        400,
    )

    assert bool((best < 1e-3).all())


def test_a_step_into_nan_is_a_step_too_far() -> None:
    def f(x):
        inside = (x - 1).square().sum(1)
        return torch.where((x.abs() > 1.5).any(1), torch.nan, inside)

    best, at = descend(f, torch.tensor([[0.0, 0.0], [-1.4, 1.4]], dtype=torch.float64), 60)

    torch.testing.assert_close(at, torch.ones(2, 2, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    assert bool((best < 1e-9).all())


def test_no_slot_feels_its_neighbours() -> None:
    starts = torch.randn(6, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    active = torch.tensor([True, True, False, True, True, True])

    together, points = descend(rosenbrock, starts, 40, active=active)
    alone = [descend(rosenbrock, start[None], 40)[1][0] for start in starts]

    for slot in (0, 1, 3, 4, 5):
        np.testing.assert_array_equal(points[slot].numpy(), alone[slot].numpy())
    torch.testing.assert_close(points[2], starts[2])
    assert together[2] == pytest.approx(float(rosenbrock(starts[2:3])[0]))


def test_at_the_minimum_it_says_that_it_is_stuck() -> None:
    x = torch.full((1, 3), 0.25)
    state = lbfgs.empty(1, 3, device=x.device)
    stuck = torch.zeros(1, dtype=torch.bool)

    evaluations = 0
    while not bool(stuck) and evaluations < 3 * lbfgs.TRIALS_MAX:
        evaluations += 1
        # A plateau in float32: wherever is looked, the value is not lower, and the slope says that it should be.
        state, x, stuck = lbfgs.advance(
            state, x, torch.ones(1), torch.ones(1, 3), active=torch.ones(1, dtype=torch.bool)
        )

    assert bool(stuck)
    assert evaluations <= 2 * lbfgs.TRIALS_MAX
