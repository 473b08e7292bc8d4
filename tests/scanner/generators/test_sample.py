"""Sampling: the same bytes for image i whatever was asked for, whatever memory there was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from scanner.errors import ModelError
from scanner.generators import LatentLaw, sample, sample_blocks
from scanner.generators.sample import block_images, to_u8


class Poisoned(nn.Module):
    """NaN where the latent's first number is above 1, an infinity where its second is."""

    def __init__(self, waves: nn.Module) -> None:
        super().__init__()
        self.waves = waves

    def forward(self, z):
        images = self.waves(z).clone()
        images[:, 0, 0, 0] += torch.where(z[:, 0] > 1.0, torch.nan, 0.0)
        images[:, 0, 1, 1] += torch.where(z[:, 1] > 1.0, torch.inf, 0.0)
        return images


class Small(nn.Module):
    """Runs out of memory where more than `most` latents come at once; remembers what it was asked."""

    def __init__(self, waves: nn.Module, most: int) -> None:
        super().__init__()
        self.waves, self.most, self.asked = waves, most, []

    def forward(self, z):
        self.asked.append(len(z))
        if len(z) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return self.waves(z)


def all_images(generator, *, seed=1, first=0, count=100):
    return np.concatenate([images for _, images in sample(generator, seed=seed, first=first, count=count)])


@given(st.integers(0, 200), st.lists(st.integers(0, 70), min_size=1, max_size=4), st.integers(0, 3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_image_does_not_depend_on_what_else_is_asked_for(opened, waves, first, pieces, seed) -> None:
    generator = opened(waves())
    whole = np.concatenate([block.images_rgb_u8 for block in sample_blocks(generator, seed=seed, first=0, count=480)])

    at = first
    for count in pieces:
        blocks = list(sample_blocks(generator, seed=seed, first=at, count=count))
        found = [image for block in blocks for image in block.images_rgb_u8]
        numbers = [block.first + row for block in blocks for row in range(len(block.images_rgb_u8))]
        assert numbers == list(range(at, at + count))
        assert b"".join(image.tobytes() for image in found) == whole[at : at + count].tobytes()
        at += count


def test_images_are_those_of_a_plain_loop(opened, waves) -> None:
    module = waves()
    law = LatentLaw(4)

    images = all_images(opened(module), first=3, count=70)

    with torch.no_grad():
        for row, image in enumerate(images):
            one = module(torch.from_numpy(law.draw(1, 3 + row, 1).values))[0].permute(1, 2, 0) * 255
            assert np.abs(image - one.numpy()).max() <= 0.5 + 1e-3


def test_seeds_give_other_images(opened, waves) -> None:
    generator = opened(waves())

    assert (all_images(generator, seed=1) != all_images(generator, seed=2)).mean() > 0.9


def test_bad_images_are_counted_and_leave_the_others_alone(opened, waves) -> None:
    law = LatentLaw(4)
    good = all_images(opened(waves()), count=130)

    generator = opened(Poisoned(waves()))
    blocks = list(sample_blocks(generator, seed=1, first=0, count=130))
    runs = list(sample(generator, seed=1, first=0, count=130))

    values = law.draw(1, 0, 130).values
    expected = (values[:, 0] <= 1.0) & (values[:, 1] <= 1.0)
    finite = np.concatenate([block.finite for block in blocks])
    np.testing.assert_array_equal(finite, expected)
    assert 10 < (~finite).sum() < 100
    numbers = [number for start, images in runs for number in range(start, start + len(images))]
    assert numbers == np.flatnonzero(expected).tolist()
    np.testing.assert_array_equal(np.concatenate([images for _, images in runs]), good[expected])


@pytest.mark.parametrize("most", [1, 5, 33])
def test_less_memory_means_smaller_pieces_and_the_same_images(opened, waves, most) -> None:
    enough = all_images(opened(waves()), count=150)
    module = Small(waves(), 1000)
    generator = opened(module)
    module.most, module.asked = most, []
    notes: list[str] = []

    blocks = list(sample_blocks(generator, seed=1, first=0, count=150, note=notes.append))

    images = np.concatenate([block.images_rgb_u8 for block in blocks])
    assert np.abs(images.astype(int) - enough).max() <= 1
    fits = max(n for n in (1, 2, 4, 8, 16, 32) if n <= most)
    assert max(module.asked[module.asked.index(fits) :]) == fits  # what fitted once is kept
    assert len(notes) == {1: 6, 5: 4, 33: 1}[most]
    assert f"goes on with {fits} images at a time" in notes[-1]


def test_not_even_one_image_fits(opened, waves) -> None:
    module = Small(waves(), 1000)
    generator = opened(module)
    module.most = 0

    with pytest.raises(ModelError, match="Not even one image of waves"):
        all_images(generator)


def test_other_failures_are_not_taken_for_missing_memory(opened, waves) -> None:
    generator = opened(waves())
    generator.module.inner.forward = None
    generator.module.inner.matrix.data = torch.zeros(5, 1)
    generator.module.inner.forward = type(generator.module.inner).forward.__get__(generator.module.inner)

    with pytest.raises(RuntimeError, match="mat1"):
        all_images(generator)


def test_one_thread_or_two_make_the_same_images(opened, waves) -> None:
    generator = opened(waves(16), law=LatentLaw(16))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = all_images(generator)
        torch.set_num_threads(2)
        np.testing.assert_array_equal(all_images(generator), alone)
    finally:
        torch.set_num_threads(threads)


def test_values_are_rounded_to_the_nearest() -> None:
    values = np.array([0.0, 0.4 / 255, 0.6 / 255, 127.4 / 255, 127.6 / 255, 1.0], np.float32)

    found = to_u8(np.broadcast_to(values, (1, 3, 1, 6)))

    assert found.shape == (1, 1, 6, 3)
    assert found[0, 0, :, 1].tolist() == [0, 0, 1, 127, 128, 255]


@pytest.mark.parametrize(("side", "images"), [(8, 64), (128, 64), (129, 63), (256, 16), (1024, 1), (4096, 1)])
def test_large_images_come_in_small_blocks(side, images) -> None:
    class Sized:
        shape_px = (side, side)

    assert block_images(Sized()) == images
