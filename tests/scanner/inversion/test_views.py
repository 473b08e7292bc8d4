from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from scanner.faces.align import ARCFACE_LANDMARKS_PX, align, similarity
from scanner.inversion.views import resized, warped


def smooth_pictures(n: int, height: int, width: int) -> torch.Tensor:
    noise = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    images = smooth_pictures(2, 20, 16)

    assert resized(images, 20, 16) is images


def test_enlarging_equals_opencv() -> None:
    images = smooth_pictures(1, 20, 16)

    ours = resized(images, 45, 33)[0].permute(1, 2, 0).numpy()

    theirs = cv2.resize(images[0].permute(1, 2, 0).numpy(), (33, 45), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_reducing_does_not_alias() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)

    assert float((resized(stripes, 15, 15) - 0.5).abs().max()) < 0.1


@pytest.mark.parametrize("side", [40, 112, 230, 500])
def test_the_warp_of_landmarks_is_that_of_the_alignment(side: int) -> None:
    image = smooth_pictures(1, side, side)
    shares = np.array([(0.31, 0.43), (0.66, 0.41), (0.49, 0.62), (0.36, 0.78), (0.64, 0.77)])
    places = shares * side - 0.5
    matrix = torch.from_numpy(similarity(places, ARCFACE_LANDMARKS_PX * (56 / 112)))

    ours = warped(image, matrix, 56, 56)[0].permute(1, 2, 0).numpy()

    pixels = np.rint(image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    theirs = align(pixels, places, side_px=56).astype(np.float32) / 255
    assert np.abs(ours - theirs).max() < 0.03


def test_the_warp_lets_gradients_through() -> None:
    image = smooth_pictures(1, 30, 30).requires_grad_()
    matrix = torch.tensor([[1.2, 0.1, -3.0], [-0.1, 1.2, 2.0]])

    warped(image, matrix, 16, 16).sum().backward()

    assert float(image.grad.abs().sum()) > 0
