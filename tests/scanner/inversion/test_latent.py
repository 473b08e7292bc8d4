"""Many images at once give what one image at a time gives; nobody's failure is a neighbour's."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from small_generators import Affine, Bent, Broken, OutOfMemoryAbove, generator_of, samples
from torch import nn

from scanner.errors import ModelError, UsageError
from scanner.inversion.adam import ramp
from scanner.inversion.latent import Account, LatentPlan, invert_latents

QUICK = LatentPlan(restarts=3, steps_max=80, draws=0, tolerance=1e-3, slots=4)


def plan(**changes) -> LatentPlan:
    return replace(QUICK, **changes)


def invert(generator, images, wanted: LatentPlan, **more):
    return list(invert_latents(generator, iter(images), plan=wanted, **more))


@pytest.fixture(scope="module")
def bent():
    return generator_of(Bent(), 4)


def test_latents_of_the_generators_own_images_are_found() -> None:
    generator = generator_of(Affine(), 6)
    z, images = samples(generator, 11)

    found = invert(generator, images, plan(tolerance=1e-5))

    assert [one.number for one in found] == list(range(11))
    assert {one.status for one in found} == {"converged"}
    torch.testing.assert_close(torch.stack([one.latent for one in found]), z, rtol=1e-3, atol=1e-3)
    for one, image in zip(found, images, strict=True):
        error = float((one.image01 - image).norm() / image.norm())
        assert one.relative_error == pytest.approx(error, rel=1e-3, abs=1e-7)
        assert error <= 1e-5
        assert one.pixel_mse == pytest.approx(float((one.image01 - image).square().mean()), rel=1e-3, abs=1e-12)


def test_it_equals_torch_adam_on_one_image_at_a_time(bent) -> None:
    """The slow, obvious twin: a loop over images, torch.optim.Adam, the same starts and the same schedule."""
    _, images = samples(bent, 6)
    wanted = plan(method="adam", restarts=1, steps_max=40, tolerance=0.0, patience=1000)

    found = invert(bent, images, wanted)

    for one, image in zip(found, images, strict=True):
        start = bent.law.draw(wanted.seed, (1 << 40) + one.number * 1024, 1).values
        z = torch.from_numpy(start).requires_grad_()
        adam = torch.optim.Adam([z], lr=wanted.rate)
        best, at = math.inf, z
        for step in range(1, 41):
            adam.param_groups[0]["lr"] = wanted.rate * float(ramp(torch.tensor(step), 40))
            loss = (bent.unclipped(z)[0] - image).square().mean()
            if float(loss.detach()) < best:
                best, at = float(loss.detach()), z.detach().clone()
            adam.zero_grad()
            loss.backward()
            adam.step()
        assert one.loss == pytest.approx(best, rel=1e-4)
        torch.testing.assert_close(one.latent, at[0], rtol=1e-3, atol=1e-4)
        assert (one.steps, one.status, one.restarts) == (40, "steps_max", 1)


@pytest.mark.parametrize("method", ["lbfgs", "adam", "adam+lbfgs"])
def test_neither_slots_nor_neighbours_nor_order_change_a_result(bent, method: str) -> None:
    _, images = samples(bent, 9)
    wanted = plan(method=method, adam_steps=10, restarts=2, draws=16)
    expected = invert(bent, images, plan(method=method, adam_steps=10, restarts=2, draws=16, slots=1))

    wide = invert(bent, images, plan(method=method, adam_steps=10, restarts=2, draws=16, slots=16))
    order = list(range(9))
    random.Random(3).shuffle(order)
    shuffled = dict(zip(order, invert(bent, images[order], wanted), strict=True))

    for i, one in enumerate(expected):
        for other in (wide[i], shuffled[i]):
            assert other.status == one.status
            # Trajectories through kinks drift apart in the last digits; where they end does not.
            torch.testing.assert_close(other.image01, one.image01, rtol=0, atol=2e-3)
            assert other.loss == pytest.approx(one.loss, rel=0.05, abs=1e-7)


def test_the_same_call_gives_the_same_bits(bent) -> None:
    _, images = samples(bent, 7)

    first, second = invert(bent, images, QUICK), invert(bent, images, QUICK)

    assert [one.latent.numpy().tobytes() for one in first] == [one.latent.numpy().tobytes() for one in second]
    assert [one.image01.numpy().tobytes() for one in first] == [one.image01.numpy().tobytes() for one in second]
    assert [(o.loss, o.steps, o.restarts) for o in first] == [(o.loss, o.steps, o.restarts) for o in second]


def test_the_draws_of_a_restart_depend_on_the_number_of_the_image(bent) -> None:
    _, images = samples(bent, 5)
    whole = invert(bent, images, plan(restarts=1))

    tail = invert(bent, images[2:], plan(restarts=1), first=2)

    assert [one.number for one in tail] == [2, 3, 4]
    for one, other in zip(whole[2:], tail, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=0.05, abs=1e-7)


def test_more_restarts_never_give_a_worse_image(bent) -> None:
    _, images = samples(bent, 12)
    one = invert(bent, images, plan(restarts=1, steps_max=8))

    four = invert(bent, images, plan(restarts=4, steps_max=8))

    assert all(b.loss <= a.loss * (1 + 1e-3) + 1e-9 for a, b in zip(one, four, strict=True))
    assert sum(b.status == "converged" for b in four) > sum(a.status == "converged" for a in one)
    for found in four:
        assert found.restarts == 4 or found.status == "converged"


def test_an_image_that_cannot_be_made_stalls_and_says_so(bent) -> None:
    checks = torch.zeros(3, 8, 8)
    checks[:, ::2, ::2] = 1

    (found,) = invert(bent, [checks], plan(restarts=2, steps_max=500))

    assert found.status == "stalled"
    assert found.steps < 1000
    assert found.relative_error > 0.5


def test_nan_in_an_image_or_from_the_generator_fails_that_image_alone() -> None:
    generator = generator_of(Broken(limit=0.5), 6)
    whole = generator_of(Affine(), 6)
    z, images = samples(whole, 20)
    images[3, 0, 0, 0] = math.nan
    wanted = plan(restarts=1, tolerance=1e-4)

    found = invert(generator, images, wanted)

    begun_wrong = {i for i in range(20) if generator.law.draw(0, (1 << 40) + i * 1024, 1).values[0, 0] > 0.5}
    assert {one.number for one in found if one.status == "failed"} == begun_wrong | {3}
    assert 3 < len(begun_wrong) < 17
    for one in found:
        if one.status == "failed":
            assert bool(torch.isnan(one.latent).all())
            assert math.isnan(one.loss)
        elif z[one.number, 0] < 0.45:  # its latent is one that the generator can be asked for
            assert one.status == "converged", one.number


def test_a_black_image_has_no_relative_error_but_fails_nobody(bent) -> None:
    _, images = samples(bent, 3)
    images[1] = 0.0

    found = invert(bent, images, QUICK)

    assert [one.number for one in found] == [0, 1, 2]
    assert found[1].status in ("stalled", "steps_max")


def test_images_are_pulled_no_faster_than_slots_allow(bent) -> None:
    _, images = samples(bent, 60)
    pulled = 0

    def stream():
        nonlocal pulled
        for image in images:
            pulled += 1
            yield image

    results = invert_latents(bent, stream(), plan=plan(slots=2, restarts=1))
    first = next(results)

    assert first.number == 0
    assert pulled <= 2 * 8 + 2
    assert [one.number for one in results] == list(range(1, 60))


def test_the_device_stays_full_until_the_images_run_out(bent) -> None:
    _, images = samples(bent, 64)
    account = Account()

    found = invert(bent, images, plan(slots=8, restarts=2), account=account)

    assert account.slots == 8
    assert account.worked == sum(one.steps for one in found)
    assert account.worked <= account.places <= 8 * account.evaluations
    assert account.utilisation > 0.85


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost() -> None:
    sizes: list[int] = []
    inner = Bent()
    small = generator_of(OutOfMemoryAbove(inner, 3, sizes.append), 4)
    _, images = samples(generator_of(inner, 4), 9)
    account = Account()

    found = invert(small, images, plan(slots=8), account=account)

    expected = invert(generator_of(inner, 4), images, plan(slots=8))
    assert account.out_of_memory == 2
    assert max(sizes[sizes.index(2) :]) <= 3 or sizes.count(8) <= 2
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.05, abs=1e-7)


def test_no_room_for_one_image_is_a_sentence() -> None:
    generator = generator_of(OutOfMemoryAbove(Bent(), 0), 4)

    with pytest.raises(ModelError, match="Not even one image fits"):
        invert(generator, torch.rand(2, 3, 8, 8), QUICK)


def test_a_generator_without_gradients_is_refused_before_any_work() -> None:
    generator = generator_of(Affine(), 6, differentiable=False)

    with pytest.raises(UsageError, match=r"No gradient reaches the latents of small.*sampling only"):
        invert_latents(generator, iter([]), plan=QUICK)


def test_an_image_of_another_size_is_refused(bent) -> None:
    with pytest.raises(UsageError, match=r"Image 1 is \(3, 9, 8\), and small makes \(3, 8, 8\)"):
        invert(bent, [torch.rand(3, 8, 8), torch.rand(3, 9, 8)], QUICK)


def test_no_image_gives_no_result(bent) -> None:
    assert invert(bent, [], QUICK) == []


def test_a_generator_with_a_fixed_batch_of_one_is_inverted_one_by_one() -> None:
    sizes: list[int] = []
    generator = generator_of(OutOfMemoryAbove(Bent(), 1, sizes.append), 4, batch_max=1)
    _, images = samples(generator, 3)

    found = invert(generator, images, plan(draws=8))

    assert set(sizes) == {1}
    assert [one.number for one in found] == [0, 1, 2]


def test_classes_are_drawn_with_the_starts_and_reported() -> None:
    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Affine()

        def forward(self, z, labels):
            return self.inner(z) + 0.2 * (labels == 1).to(z.dtype)[:, None, None, None]

    generator = generator_of(Conditional(), 6, classes=2)
    z = torch.from_numpy(generator.law.draw(9, 0, 6).values)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    images = generator.images(z, labels)

    found = invert(generator, images, plan(restarts=8, tolerance=1e-4))

    assert [one.label for one in found if one.status == "converged"] == [
        int(labels[one.number]) for one in found if one.status == "converged"
    ]
    assert sum(one.status == "converged" for one in found) >= 5


def test_wrong_plans_are_refused_all_at_once() -> None:
    with pytest.raises(UsageError, match=r"restarts is 0.*steps_max is 0.*gain is 1"):
        LatentPlan(restarts=0, steps_max=0, gain=1.0)


@pytest.mark.gpu
def test_cuda_finds_what_the_cpu_finds() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cpu, cuda = generator_of(Bent(), 4), generator_of(Bent(), 4, device="cuda")
    _, images = samples(cpu, 40)
    wanted = plan(restarts=6, slots=None, draws=64)

    on_cpu, on_cuda = invert(cpu, images, wanted), invert(cuda, images, wanted)

    agree = sum(abs(a.relative_error - b.relative_error) < 0.01 for a, b in zip(on_cpu, on_cuda, strict=True))
    assert agree >= 38
