"""How close a re-created image is to the original, in pixels: PSNR and SSIM, one number an image.

PSNR is 10 log10(peak^2 / mean squared error) over all pixels and channels.  SSIM is that of Wang, Bovik, Sheikh and
Simoncelli 2004 ("Image quality assessment: from error visibility to structural similarity"): a Gaussian window of 11
pixels and deviation 1.5, constants 0.01 and 0.03, averaged over the places where the whole window lies inside, and over
the three channels; the same as scikit-image's `structural_similarity` with `gaussian_weights=True`, `sigma=1.5` and
`use_sample_covariance=False`.  Neither says whether a person can be recognised.

    psnr_db(originals, recreated).mean()        # both uint8 (n, h, w, 3), or both floats in 0..1
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scanner.errors import UsageError

PSNR_MAX_DB = 100.0
"""What identical images get: an infinite value would swallow every mean that it enters."""

WINDOW = 11
SIGMA = 1.5
_SHAPE = "(n, height, width, 3)"
_AXES, _CHANNELS = 4, 3
_ROUNDING = 1e-6


def psnr_db(originals: NDArray[Any], recreated: NDArray[Any]) -> NDArray[np.float64]:
    """Return the peak signal-to-noise ratio of each pair in decibels, float64 (n,), at most `PSNR_MAX_DB`.

    Args:
        originals: uint8 (n, h, w, 3), or floats in 0..1.
        recreated: same shape and kind.

    Raises:
        UsageError: other shapes or kinds, or values that are not finite.
    """
    first, second = _pairs(originals, recreated)
    error = np.square(first - second).mean(axis=(1, 2, 3))
    return np.asarray(-10 * np.log10(np.maximum(error, 10 ** (-PSNR_MAX_DB / 10))))


def ssim(originals: NDArray[Any], recreated: NDArray[Any]) -> NDArray[np.float64]:
    """Return the structural similarity of each pair, float64 (n,), in -1..1 (1: identical).

    Args:
        originals: uint8 (n, h, w, 3), or floats in 0..1; sides of at least 11 pixels.
        recreated: same shape and kind.

    Raises:
        UsageError: other shapes or kinds, values that are not finite, or images smaller than the window.
    """
    first, second = _pairs(originals, recreated)
    if min(first.shape[1:3]) < WINDOW:
        raise UsageError(
            f"SSIM: images of {first.shape[1]}x{first.shape[2]} pixels, the window needs {WINDOW}x{WINDOW}.\n"
            "Use PSNR for images that small."
        )
    mean_1, mean_2 = _windowed(first), _windowed(second)
    variance_1 = _windowed(first * first) - mean_1 * mean_1
    variance_2 = _windowed(second * second) - mean_2 * mean_2
    covariance = _windowed(first * second) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    bottom = (mean_1 * mean_1 + mean_2 * mean_2 + c1) * (variance_1 + variance_2 + c2)
    return np.asarray((top / bottom).mean(axis=(1, 2, 3)))


def _windowed(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Gaussian-weighted means over all windows inside, (n, h - 10, w - 10, 3)."""
    edge = WINDOW // 2
    taps = np.exp(-0.5 * np.square(np.arange(-edge, edge + 1) / SIGMA))
    taps /= taps.sum()
    smooth = ndimage.correlate1d(ndimage.correlate1d(images, taps, axis=1), taps, axis=2)
    return np.asarray(smooth[:, edge:-edge, edge:-edge])


def _pairs(originals: NDArray[Any], recreated: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as float64 in 0..1."""
    alike = originals.shape == recreated.shape and originals.dtype == recreated.dtype
    if not alike or originals.ndim != _AXES or originals.shape[3] != _CHANNELS or originals.shape[0] == 0:
        raise UsageError(
            f"image quality: got {originals.dtype} {originals.shape} and {recreated.dtype} {recreated.shape}, "
            f"expected the same {_SHAPE} with n of at least 1, both uint8 or both floats in 0..1.\n"
            "Bring both to one size and one kind first."
        )
    peak = 255.0 if originals.dtype == np.uint8 else 1.0
    first, second = originals.astype(np.float64) / peak, recreated.astype(np.float64) / peak
    low, high = np.minimum(first.min(), second.min()), np.maximum(first.max(), second.max())  # these keep NaN
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise UsageError(
            f"image quality: values from {low:g} to {high:g} of kind {originals.dtype}, expected 0..255 (uint8) or "
            "finite floats in 0..1.\nClip the images first."
        )
    return first, second
