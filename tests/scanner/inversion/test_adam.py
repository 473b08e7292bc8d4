from __future__ import annotations

import pytest
import torch

from scanner.inversion.adam import adam_step, ramp


def curved(x: torch.Tensor) -> torch.Tensor:
    """One loss per row."""
    return (x**2 * torch.arange(1, x.shape[1] + 1)).sum(1) + torch.sin(3 * x).sum(1)


@pytest.mark.parametrize("is_ramped", [False, True])
def test_slots_that_began_at_different_times_equal_one_torch_adam_each(is_ramped: bool) -> None:
    steps, n, d = 60, 5, 7
    starts = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    expected = []
    for start in starts:
        x = start.clone().requires_grad_()
        adam = torch.optim.Adam([x], lr=0.05)
        for k in range(steps):
            adam.zero_grad()
            curved(x[None]).sum().backward()
            adam.param_groups[0]["lr"] = 0.05 * float(ramp(torch.tensor(k + 1), steps)) if is_ramped else 0.05
            adam.step()
        expected.append(x.detach())

    x, first, second = starts.clone(), torch.zeros(n, d), torch.zeros(n, d)
    step = -torch.arange(n)  # slot i begins i evaluations later
    for _ in range(steps + n):
        step = step + 1
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(curved(leaf).sum(), leaf)
        rate = 0.05 * (ramp(step, steps) if is_ramped else torch.ones(n, dtype=torch.float64))
        moved = adam_step(x, gradient, first, second, step=step.clamp(min=1), rate=rate)
        runs = ((step >= 1) & (step <= steps))[:, None]
        x, first, second = (torch.where(runs, new, old) for new, old in zip(moved, (x, first, second), strict=True))

    torch.testing.assert_close(x, torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_the_rate_rises_over_a_twentieth_and_falls_over_the_last_quarter() -> None:
    rates = ramp(torch.arange(1, 101), 100)

    assert rates[0] == pytest.approx(0.2)
    torch.testing.assert_close(rates[4:76], torch.ones(72, dtype=torch.float64))
    assert bool((rates[76:].diff() < 0).all())
    assert 0 < rates[-1] < 0.01
