"""PSNR and SSIM against values by hand and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.errors import UsageError
from scanner.evidence.image_quality import PSNR_MAX_DB, psnr_db, ssim


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((2, 12, 12, 3), np.uint8)
    grey = np.stack([np.full((12, 12, 3), 255, np.uint8), np.full((12, 12, 3), 51, np.uint8)])

    found = psnr_db(black, grey)

    # mean squared errors 1 and 0.04
    np.testing.assert_allclose(found, [0.0, 13.9794], atol=1e-4)


def test_psnr_counts_every_channel() -> None:
    first = np.zeros((1, 4, 4, 3), np.float32)
    second = first.copy()
    second[..., 2] = 0.3

    assert psnr_db(first, second)[0] == pytest.approx(-10 * np.log10(0.09 / 3), abs=1e-5)


def test_identical_images_get_the_ceiling_and_one() -> None:
    images = np.random.default_rng(0).random((3, 16, 16, 3))

    np.testing.assert_array_equal(psnr_db(images, images), [PSNR_MAX_DB] * 3)
    np.testing.assert_allclose(ssim(images, images), 1.0)


def test_ssim_of_two_flat_images_is_its_brightness_term() -> None:
    first, second = np.full((1, 11, 11, 3), 0.25), np.full((1, 11, 11, 3), 0.75)

    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim(first, second)[0] == pytest.approx(expected, abs=1e-9)


def test_ssim_of_one_window_by_hand() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 1, 11, 11, 3))
    taps = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    window = np.outer(taps, taps) / np.outer(taps, taps).sum()
    values = []
    for channel in range(3):
        x, y = first[0, ..., channel], second[0, ..., channel]
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cov = (window * (x - mx) * (y - my)).sum()
        values.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))

    assert ssim(first, second)[0] == pytest.approx(np.mean(values), abs=1e-10)


def test_both_equal_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(2)
    first = rng.integers(0, 256, (3, 24, 31, 3), dtype=np.uint8)
    noise = rng.normal(0, 30, first.shape)
    second = np.clip(first + noise, 0, 255).astype(np.uint8)

    for k in range(3):
        expected = metrics.structural_similarity(
            first[k], second[k], channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert ssim(first, second)[k] == pytest.approx(expected, abs=1e-6)
        assert psnr_db(first, second)[k] == pytest.approx(metrics.peak_signal_noise_ratio(first[k], second[k]))


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    first, second = np.random.default_rng(3).random((2, 5, 16, 16, 3))

    for measure in (psnr_db, ssim):
        together = measure(first, second)
        np.testing.assert_allclose(together, [measure(first[k : k + 1], second[k : k + 1])[0] for k in range(5)])


def test_bytes_and_floats_say_the_same() -> None:
    first, second = np.random.default_rng(4).integers(0, 256, (2, 2, 16, 16, 3), dtype=np.uint8)

    for measure in (psnr_db, ssim):
        np.testing.assert_allclose(measure(first, second), measure(first / 255.0, second / 255.0))


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (np.zeros((1, 12, 12, 3)), np.zeros((1, 12, 13, 3)), "expected the same"),
        (np.zeros((1, 12, 12, 3), np.uint8), np.zeros((1, 12, 12, 3)), "expected the same"),
        (np.zeros((0, 12, 12, 3)), np.zeros((0, 12, 12, 3)), "n of at least 1"),
        (np.zeros((1, 12, 12, 3)), np.full((1, 12, 12, 3), np.nan), "finite"),
        (np.zeros((1, 12, 12, 3)), np.full((1, 12, 12, 3), 2.0), "Clip"),
    ],
)
def test_what_cannot_be_compared_is_refused(first: np.ndarray, second: np.ndarray, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        psnr_db(first, second)


def test_ssim_needs_room_for_its_window() -> None:
    with pytest.raises(UsageError, match="11x11"):
        ssim(np.zeros((1, 10, 20, 3)), np.zeros((1, 10, 20, 3)))
