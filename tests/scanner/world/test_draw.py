"""The drawn people: same numbers, same bytes; landmarks where they are said to be."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from scanner.world.curves import fit_similarity, similarity, smooth, transform
from scanner.world.draw import (
    TEMPLATE_112_PX,
    Cover,
    draw_face,
    draw_identity,
    draw_nuisance,
    draw_photo,
    face_pixels,
)
from scanner.world.hair import STYLES
from scanner.world.identity import Beard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanner.world.nuisance import Nuisance


def _digest(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _studio(seed: int = 0) -> Nuisance:
    """A photo without chance: no pose, no grain, no landmark error."""
    return draw_nuisance(np.random.default_rng(seed), hard=0.0)


def test_the_same_numbers_give_the_same_bytes():
    first = [_digest(face_pixels(7, number, photo)) for number in range(6) for photo in range(2)]
    again = [_digest(face_pixels(7, number, photo)) for number in range(6) for photo in range(2)]

    assert first == again
    assert len(set(first)) == 12


def test_a_picture_does_not_depend_on_what_was_drawn_before():
    forwards = {n: _digest(face_pixels(7, n, 0)) for n in range(8)}
    backwards = {n: _digest(face_pixels(7, n, 0)) for n in reversed(range(8))}

    assert forwards == backwards


def test_a_person_stays_the_same_and_worlds_share_nobody():
    assert draw_identity(1, 5) == draw_identity(1, 5)
    assert draw_identity(1, 5) != draw_identity(2, 5)
    assert draw_identity(1, 5) != draw_identity(1, 6)


@pytest.mark.parametrize("size_px", [64, 112, 113, 200])
def test_a_crop_has_the_asked_size(size_px: int):
    crop = face_pixels(7, 0, 0, size_px=size_px)

    assert crop.shape == (size_px, size_px, 3)
    assert crop.dtype == np.uint8
    assert crop.flags.c_contiguous


def test_sizes_show_the_same_picture():
    person, photo = draw_identity(7, 3), _studio()
    small = draw_face(person, photo, size_px=112).astype(float)
    large = draw_face(person, photo, size_px=224)
    shrunk = cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA).astype(float)

    assert np.abs(small - shrunk).mean() < 3.0


def test_landmarks_of_a_photo_map_onto_the_template():
    misses = []
    for number in range(60):
        photo = draw_nuisance(np.random.default_rng([3, number]))
        _, landmarks_px = draw_photo(draw_identity(7, number), photo)
        aligned = transform(fit_similarity(landmarks_px, TEMPLATE_112_PX), landmarks_px)
        misses.append(np.linalg.norm(aligned - TEMPLATE_112_PX, axis=1))

    assert np.mean(misses) < 3.0
    assert np.max(misses) < 12.0


@pytest.mark.parametrize("number", range(4))
def test_aligning_a_photo_by_its_landmarks_gives_the_crop(number: int):
    person = draw_identity(7, number)
    photo = replace(_studio(number), roll=0.3, yaw=0.25, pitch=-0.1, place_x=0.05, zoom=1.1)
    image, landmarks_px = draw_photo(person, photo, size_px=320)
    crop = draw_face(person, photo)

    warp = fit_similarity(landmarks_px, TEMPLATE_112_PX)
    aligned = cv2.warpAffine(image, warp, (112, 112), flags=cv2.INTER_AREA)
    middle = np.s_[30:100, 25:87]

    # The lamp lights the picture, not the head, so brightness may differ a little.
    assert np.abs(aligned[middle].astype(float) - crop[middle]).mean() < 8.0
    shifted = np.roll(aligned, 4, axis=0)[middle].astype(float)
    assert np.abs(shifted - crop[middle]).mean() > np.abs(aligned[middle].astype(float) - crop[middle]).mean()


def test_a_photo_holds_its_landmarks_in_the_order_of_the_template():
    for number in range(40):
        image, landmarks_px = draw_photo(draw_identity(7, number), draw_nuisance(np.random.default_rng(number)))
        left_eye, right_eye, nose, left_corner, right_corner = landmarks_px

        assert image.shape == (160, 160, 3)
        assert landmarks_px.dtype == np.float32
        assert landmarks_px.min() > 0
        assert landmarks_px.max() < 160
        assert left_eye[0] < right_eye[0]
        assert left_corner[0] < right_corner[0]
        assert max(left_eye[1], right_eye[1]) < max(left_corner[1], right_corner[1])
        assert np.isfinite(nose).all()


def test_every_haircut_beard_pair_of_glasses_and_cover_shows():
    person = replace(draw_identity(7, 0), hair_style=0, beard=Beard.NONE)
    photo = replace(_studio(), cover=Cover.NONE, glasses=0)
    plain = draw_face(person, photo)
    variants = [draw_face(replace(person, hair_style=style), photo) for style in range(1, len(STYLES))]
    variants += [draw_face(replace(person, beard=beard), photo) for beard in Beard if beard is not Beard.NONE]
    variants += [draw_face(person, replace(photo, glasses=kind)) for kind in (1, 2, 3)]
    variants += [draw_face(person, replace(photo, cover=cover)) for cover in Cover if cover is not Cover.NONE]

    assert all((variant != plain).any() for variant in variants)
    assert len({_digest(variant) for variant in variants}) == len(variants)


def test_pixels_do_not_tell_people_apart_in_everyday_photos():
    crops = np.stack([[face_pixels(7, n, p, size_px=28) for p in range(2)] for n in range(60)]).astype(float)
    flat = crops.reshape(120, -1)
    gaps = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    own = gaps.argmin(axis=1) == (np.arange(120) ^ 1)

    assert own.mean() < 0.6


def test_a_similarity_is_found_from_its_points():
    known = similarity(1.7, 0.4, (12.0, -3.0))

    found = fit_similarity(TEMPLATE_112_PX, transform(known, TEMPLATE_112_PX))

    np.testing.assert_allclose(found, known, atol=1e-3)


@pytest.mark.parametrize("closed", [True, False])
def test_a_smooth_curve_passes_through_its_control_points(closed: bool):
    control = np.array([(0, 0), (3, 1), (4, 5), (-1, 2)], dtype=np.float32)

    curve = smooth(control, closed=closed, steps=5)

    np.testing.assert_allclose(curve[::5], control, atol=1e-5)
