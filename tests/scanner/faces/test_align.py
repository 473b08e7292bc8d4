"""Alignment: the transform is exact, the crop lies on the template, and large faces do not alias."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform

from scanner.faces.align import ARCFACE_LANDMARKS_PX, align, similarity
from scanner.world.draw import TEMPLATE_112_PX, draw_face, draw_identity, draw_nuisance, draw_photo

shifts = st.floats(-500, 500)


def turned(scale: float, angle: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    """Return a similarity as (2, 3)."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def moved(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def blobs(landmarks_px: NDArray[np.float64], side_px: int, *, sigma_px: float) -> NDArray[np.uint8]:
    """Return a dark picture with a soft white spot at every landmark."""
    y, x = np.mgrid[:side_px, :side_px]
    light = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma_px**2)) for a, b in landmarks_px)
    return np.repeat((np.asarray(light) * 200).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def spots(crop: NDArray[np.uint8], around_px: NDArray[np.float64], *, reach: int = 6) -> NDArray[np.float64]:
    """Return the centre of light near each point."""
    found = []
    for a, b in around_px.round().astype(int):
        window = np.s_[b - reach : b + reach + 1, a - reach : a + reach + 1]
        y, x = np.mgrid[window]
        light = crop[..., 0][window].astype(float)
        found.append(((light * x).sum() / light.sum(), (light * y).sum() / light.sum()))
    return np.array(found)


@given(scale=st.floats(0.02, 50), angle=st.floats(-np.pi, np.pi), shift=st.tuples(shifts, shifts))
def test_similarity_recovers_any_scale_rotation_and_shift(scale, angle, shift):
    truth = turned(scale, angle, shift)

    found = similarity(ARCFACE_LANDMARKS_PX, moved(truth, ARCFACE_LANDMARKS_PX))

    assert np.allclose(found, truth, rtol=1e-9, atol=1e-7)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_similarity_of_noisy_landmarks_is_scikit_images(seed):
    rng = np.random.default_rng(seed)
    truth = turned(rng.uniform(0.1, 4), rng.uniform(-3, 3), (rng.uniform(-99, 99), 7.0))
    target = moved(truth, ARCFACE_LANDMARKS_PX) + rng.normal(0, 6, (5, 2))

    twin = SimilarityTransform.from_estimate(ARCFACE_LANDMARKS_PX, target)

    assert np.allclose(similarity(ARCFACE_LANDMARKS_PX, target), twin.params[:2], atol=1e-9)


def test_a_mirrored_face_is_turned_never_mirrored():
    mirrored = ARCFACE_LANDMARKS_PX * [-1, 1]

    assert np.linalg.det(similarity(mirrored, ARCFACE_LANDMARKS_PX)[:, :2]) > 0


def test_landmarks_in_float32_give_the_transform_in_float64():
    assert similarity(ARCFACE_LANDMARKS_PX.astype(np.float32), ARCFACE_LANDMARKS_PX).dtype == np.float64


def test_the_drawn_world_stands_on_the_same_template():
    assert np.allclose(TEMPLATE_112_PX, ARCFACE_LANDMARKS_PX, atol=1e-3)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.9, 2.1, 4.0, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_landmarks_land_on_the_template_at_every_size_of_face(scale, angle):
    side = round(150 * scale) + 40
    matrix = turned(scale, angle, (20 + 60 * scale * angle, 20.0))
    landmarks = moved(matrix, ARCFACE_LANDMARKS_PX)

    crop = align(blobs(landmarks, side, sigma_px=2 * scale), landmarks, side_px=112)

    # A half pixel lost where a large picture is shrunk first would show as 0.25 to 0.5.
    assert np.abs(spots(crop, ARCFACE_LANDMARKS_PX) - ARCFACE_LANDMARKS_PX).max() < 0.06


def test_the_template_grows_with_the_crop():
    landmarks = ARCFACE_LANDMARKS_PX * 1.5 + 9

    crop = align(blobs(landmarks, 200, sigma_px=3), landmarks, side_px=224)

    assert crop.shape == (224, 224, 3)
    found = spots(crop, ARCFACE_LANDMARKS_PX * 2, reach=14)
    assert np.abs(found - ARCFACE_LANDMARKS_PX * 2).max() < 0.06


@pytest.mark.parametrize("size_px", [160, 400])
@pytest.mark.parametrize("person", [0, 1, 2])
def test_an_aligned_photo_is_the_crop_that_the_drawn_world_draws(person, size_px):
    photo = replace(
        draw_nuisance(np.random.default_rng(person), hard=0.3),
        slip_x_px=0.0,
        slip_y_px=0.0,
        slip_scale=0.0,
        slip_roll=0.0,
    )
    identity = draw_identity(5, person)
    picture, landmarks = draw_photo(identity, photo, size_px=size_px)
    wanted = draw_face(identity, photo)[16:-16, 16:-16].astype(float)

    crop = align(picture, landmarks, side_px=112).astype(float)

    off = {
        (x, y): np.abs(np.roll(crop, (y, x), (0, 1))[16:-16, 16:-16] - wanted).mean()
        for x in (-1, 0, 1)
        for y in (-1, 0, 1)
    }
    assert min(off, key=lambda step: off[step]) == (0, 0)
    assert off[0, 0] < 6.0


def test_a_checkerboard_finer_than_the_crop_comes_out_grey():
    board = np.repeat(((np.indices((900, 900)).sum(0) % 2) * 255).astype(np.uint8)[..., None], 3, 2)

    crop = align(board, ARCFACE_LANDMARKS_PX * 7.3 + 20, side_px=112)[5:-5, 5:-5]
    aliased = cv2.warpAffine(board, similarity(ARCFACE_LANDMARKS_PX * 7.3 + 20, ARCFACE_LANDMARKS_PX), (112, 112))

    assert (crop.min(), crop.max()) >= (110, 110)
    assert crop.max() <= 145
    assert aliased.std() > 10 * crop.std()  # what the shrinking prevents


def test_what_lies_beyond_the_picture_is_black():
    white = np.full((60, 60, 3), 255, np.uint8)

    crop = align(white, ARCFACE_LANDMARKS_PX - 40, side_px=112)

    assert (crop[:30, :30] == 0).all()
    assert (crop[60:90, 60:90] == 255).all()


def test_the_picture_is_not_written_to():
    picture = np.full((500, 500, 3), 9, np.uint8)
    picture.flags.writeable = False

    align(picture, ARCFACE_LANDMARKS_PX * 4, side_px=112)
    align(picture, ARCFACE_LANDMARKS_PX, side_px=112)
