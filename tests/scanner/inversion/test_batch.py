from __future__ import annotations

import pytest
import torch
from small_generators import Affine, Bent, generator_of

from scanner.errors import ModelError
from scanner.inversion.batch import CPU_SLOTS_MAX, bytes_kept, doubled, find_slots
from scanner.inversion.latent import LatentPlan, objective_of

SHAPE = (3, 8, 8)
CPU = torch.device("cpu")


def no_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def test_a_batch_is_doubled_until_it_stops_paying() -> None:
    tried = []

    def rate(n: int) -> float:
        tried.append(n)
        return 1000 * min(n, 13) / 13

    assert doubled(rate, most=4096) == 16
    assert tried == [1, 2, 4, 8, 16, 32]


def test_a_batch_is_doubled_until_memory_ends() -> None:
    assert doubled(lambda n: no_memory() if n > 100 else float(n), most=4096) == 64


def test_a_batch_is_doubled_up_to_the_most() -> None:
    assert doubled(float, most=32) == 32


def test_memory_that_ends_at_one_image_is_a_sentence() -> None:
    with pytest.raises(ModelError, match="Not even one image fits into the device's memory"):
        doubled(lambda _: no_memory(), most=64)


def test_another_failure_is_not_taken_for_the_end_of_memory() -> None:
    def rate(_: int) -> float:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        doubled(rate, most=64)


def test_the_bytes_an_image_keeps_are_those_of_its_activations() -> None:
    objective = objective_of(generator_of(Bent(), 4), LatentPlan(channels_last=False))

    found = bytes_kept(objective, SHAPE, CPU)

    # The sigmoid's output, and error terms, of 3 x 8 x 8 floats each: a few of these, and little beside them.
    assert 3 * 64 * 4 <= found <= 12 * 3 * 64 * 4


def test_on_a_cpu_the_number_of_slots_follows_from_the_images_bytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objective_of(generator_of(Affine(), 6), LatentPlan())
    each = bytes_kept(objective, SHAPE, CPU)

    assert find_slots(objective, SHAPE, device=CPU) == CPU_SLOTS_MAX
    for room, slots in ((each, 1), (5 * each, 4), (16 * each, 16), (each // 2, 1)):
        monkeypatch.setattr("scanner.inversion.batch.CPU_BYTES", room)
        assert find_slots(objective, SHAPE, device=CPU) == slots
