"""Changes of images: each does what it says, and the generator alone decides."""

from __future__ import annotations

import numpy as np
import torch

from scanner.inversion.features.augment import augment, colour, crop_and_flip, cut_mix


def ramps(count: int = 6) -> torch.Tensor:
    """Images that rise from left to right, each with its own top."""
    across = torch.linspace(0, 1, 16).expand(3, 16, 16)
    return torch.stack([across * (k + 1) / count for k in range(count)])


def test_a_whole_crop_is_the_image_or_its_mirror() -> None:
    images = ramps(20)

    found = crop_and_flip(np.random.default_rng(0), images, smallest=1.0)

    same = (found - images).abs().flatten(1).amax(1) < 1e-5
    mirrored = (found - images.flip(3)).abs().flatten(1).amax(1) < 1e-5
    assert bool((same | mirrored).all())
    assert bool(same.any())
    assert bool(mirrored.any())


def test_a_crop_shows_a_part_larger() -> None:
    images = ramps(40)

    found = crop_and_flip(np.random.default_rng(1), images, smallest=0.5)

    spans = (found.amax((1, 2, 3)) - found.amin((1, 2, 3))) / (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))
    assert float(spans.min()) > 0.4
    assert float(spans.max()) <= 1 + 1e-5
    assert 0.6 < float(spans.mean()) < 0.9


def test_colour_stays_in_range_and_changes_every_image() -> None:
    images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    found = colour(np.random.default_rng(2), images)

    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float((found - images).abs().flatten(1).mean(1).min()) > 0.003


def test_grey_images_without_a_tint_stay_grey() -> None:
    grey = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)

    found = colour(np.random.default_rng(3), grey)

    tinted = (found.amax(1) - found.amin(1)).flatten(1).amax(1) > 1e-6
    assert 8 < int(tinted.sum()) < 24


def test_cut_mix_takes_a_rectangle_of_the_next_image_in_place() -> None:
    images = torch.arange(40.0)[:, None, None, None].expand(-1, 3, 16, 16) / 40

    found = cut_mix(np.random.default_rng(4), images, share=0.5)

    foreign = (found != images)[:, 0]
    for k in range(40):
        assert bool((found[k][:, foreign[k]] == (images[(k - 1) % 40, 0, 0, 0])).all())
        rows, columns = foreign[k].any(1).sum(), foreign[k].any(0).sum()
        assert int(foreign[k].sum()) == int(rows * columns)
    assert 10 < int(foreign.flatten(1).any(1).sum()) < 30


def test_no_share_mixes_nothing() -> None:
    images = ramps()

    assert torch.equal(cut_mix(np.random.default_rng(5), images, share=0.0), images)


def test_the_generator_decides() -> None:
    images = ramps()

    first, again, other = (augment(np.random.default_rng(s), images) for s in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
