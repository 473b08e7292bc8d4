"""Procedural images: what makes them look like photographs, and that the seed alone decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scanner.errors import UsageError
from scanner.inversion.features import procedural
from scanner.inversion.features.procedural import coloured_noise, draw_images

CPU = torch.device("cpu")


def test_images_are_in_range_and_differ() -> None:
    images = draw_images(np.random.default_rng(0), 64, (16, 24), device=CPU)

    assert images.shape == (64, 3, 16, 24)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    flat = images.flatten(1)
    assert float(torch.pdist(flat).min()) > 0.5
    assert float(flat.std(1).min()) > 0.02


def test_the_generator_decides() -> None:
    first, again, other = (draw_images(np.random.default_rng(s), 8, (16, 16), device=CPU) for s in (5, 5, 6))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_noise_falls_off_as_its_slope_says() -> None:
    noise = coloured_noise(np.random.default_rng(1), 200, (64, 64), device=CPU, slopes=(1.0, 1.0))

    power = torch.fft.rfft2(noise.mean(1)).abs().square().mean(0)
    # amplitude 1/f: power a quarter at twice the frequency
    ratios = [float(power[0, 2 * f] / power[0, f]) for f in (4, 8, 12)]
    np.testing.assert_allclose(ratios, 0.25, atol=0.08)
    np.testing.assert_allclose(noise.flatten(1).std(1).numpy(), 1.0, atol=1e-4)
    np.testing.assert_allclose(noise.mean((1, 2, 3)).numpy(), 0.0, atol=1e-4)


def test_later_leaves_hide_earlier_ones() -> None:
    """The vectorised painter against one leaf and one pixel at a time."""
    shape, leaves = (2, 9, 12), 7
    top = procedural._topmost(np.random.default_rng(3), shape, leaves, CPU).numpy()

    expected = _painted_slowly(np.random.default_rng(3), shape, leaves)
    assert np.mean(top == expected) > 0.99  # a pixel's centre may lie on an edge, to rounding
    assert len(np.unique(top)) > 3


def _painted_slowly(rng: np.random.Generator, shape: tuple[int, int, int], leaves: int) -> np.ndarray:
    count, height, width = shape
    none = rng.random((count, 1)) < procedural.NOISE_SHARE
    painted = np.where(none, 0, rng.integers(3, leaves + 1, (count, 1)))
    radius = procedural._power_law(rng, (count, leaves)) * min(height, width)
    flat = np.exp(rng.uniform(np.log(0.25), 0.0, (count, leaves)))
    angle = rng.uniform(0, np.pi, (count, leaves))
    x0, y0 = rng.uniform(0, width, (count, leaves)), rng.uniform(0, height, (count, leaves))
    top = np.zeros(shape, np.uint8)
    for i in range(count):
        for k in range(painted[i, 0]):
            for row in range(height):
                for column in range(width):
                    x, y = column + 0.5 - x0[i, k], row + 0.5 - y0[i, k]
                    c, s = np.cos(angle[i, k]), np.sin(angle[i, k])
                    along = (x * c + y * s) / (radius[i, k] / np.sqrt(flat[i, k]))
                    over = (-x * s + y * c) / (radius[i, k] * np.sqrt(flat[i, k]))
                    inside = max(abs(along), abs(over)) < 1 if k % 3 == 0 else along**2 + over**2 < 1
                    if inside:
                        top[i, row, column] = k + 1
    return top


def test_radii_keep_to_their_law() -> None:
    radii = procedural._power_law(np.random.default_rng(4), (50, 200))

    low, high = procedural.RADIUS
    assert radii.min() >= low - 1e-9
    assert radii.max() <= high + 1e-9
    assert np.median(radii) < 0.2 * (low + high)


def test_no_image_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 of 4x4"):
        draw_images(np.random.default_rng(0), 0, (16, 16), device=CPU)
    with pytest.raises(UsageError, match="2x16"):
        draw_images(np.random.default_rng(0), 1, (2, 16), device=CPU)


@pytest.mark.gpu
def test_a_gpu_paints_the_same_images() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here = draw_images(np.random.default_rng(9), 32, (32, 32), device=CPU)
    there = draw_images(np.random.default_rng(9), 32, (32, 32), device=torch.device("cuda")).cpu()

    # an edge may fall on the other side of a pixel's centre
    assert float(((here - there).abs() > 1e-3).float().mean()) < 1e-3
