"""Streams: batch i depends on the seed, on i and on its size alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scanner.errors import UsageError
from scanner.inversion.features.stream import LatentStream, MixedStream, PoolStream, ProceduralStream, Stream


def procedural(seed: int) -> Stream:
    return ProceduralStream((16, 16), seed=seed)


def pool(seed: int) -> Stream:
    return PoolStream(torch.rand(10, 3, 16, 16, generator=torch.Generator().manual_seed(0)), seed=seed, name="real")


def mixed(seed: int) -> Stream:
    return MixedStream(procedural(seed), pool(seed), share=0.25)


def draw(seed: int, first: int, count: int) -> NDArray[np.float32]:
    rows = [np.random.default_rng([seed, first + k]).standard_normal(5, np.float32) for k in range(count)]
    return np.stack(rows)


def latents(seed: int) -> Stream:
    return LatentStream(draw, 5, seed=seed)


EVERY = [procedural, pool, mixed, latents]


@pytest.mark.parametrize("make", EVERY)
def test_a_batch_depends_on_seed_and_number_alone(make: Callable[[int], Stream]) -> None:
    stream = make(3)
    fresh = make(3).batch(5, 8)
    for i in (0, 9, 2):
        stream.batch(i, 4)

    assert torch.equal(stream.batch(5, 8), fresh)
    assert not torch.equal(stream.batch(6, 8), fresh)
    assert not torch.equal(make(4).batch(5, 8), fresh)


@pytest.mark.parametrize("make", EVERY)
def test_a_stream_says_what_it_is(make: Callable[[int], Stream]) -> None:
    assert make(1).describe() == make(1).describe()
    assert make(1).describe() != make(2).describe()


@pytest.mark.parametrize("make", [procedural, pool, mixed])
def test_images_are_in_range(make: Callable[[int], Stream]) -> None:
    images = make(0).batch(0, 16)

    assert images.shape == (16, 3, 16, 16)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1


def test_a_mixture_has_its_share_of_the_second() -> None:
    black = PoolStream(torch.zeros(1, 3, 16, 16), name="black", mix=0.0)
    stream = MixedStream(procedural(0), black, share=0.25)

    images = stream.batch(0, 16)

    # augmented, a black image is of one colour still
    flat = images.flatten(2).std(2).amax(1) < 1e-6
    assert flat.tolist() == [False] * 12 + [True] * 4
    assert torch.equal(images[:12], procedural(0).batch(0, 12))


def test_latents_go_on_where_the_last_batch_ended() -> None:
    stream = latents(7)

    found = torch.cat([stream.batch(0, 3), stream.batch(1, 3)])

    assert torch.equal(found, torch.from_numpy(draw(7, 0, 6)))


def test_a_law_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected \(2, 4\)"):
        LatentStream(draw, 4).batch(0, 2)


@pytest.mark.parametrize("bad", [torch.zeros(0, 3, 8, 8), torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8).byte()])
def test_a_pool_without_images_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="RGB images"):
        PoolStream(bad)


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="0 or more"):
        procedural(0).batch(-1, 2)
