"""dlib's detector and chips, on drawn and real pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scanner.dlib_files import is_installed
from scanner.errors import ModelError
from scanner.faces.base import Found
from scanner.faces.dlib_faces import DlibFaces
from scanner.faces.quality import Gates
from scanner.records import Picture, Reason, Reject
from scanner.world.draw import face_pixels

needs_dlib = pytest.mark.skipif(not is_installed(), reason="the extra 'dlib' is not installed")


def photo(pixels: np.ndarray) -> Picture:
    return Picture("ef" * 16, "a.jpg", "person-1", pixels)


def boxes(found: Found) -> list[tuple[float, ...]]:
    return [face.box_px for face in found.faces]


@needs_dlib
def test_an_empty_picture_has_no_face():
    found = DlibFaces(Gates()).find(photo(np.full((90, 120, 3), 130, np.uint8)))

    assert found == Found(
        rejects=(Reject("a.jpg", Reason.NO_FACE, "no face seen in 120x90 pixels", "ef" * 16, "person-1"),)
    )


@needs_dlib
def test_an_aligned_crop_becomes_a_chip_without_detection():
    (face,) = DlibFaces(Gates(), aligned=True).find(photo(face_pixels(5, 2, 0))).faces

    assert face.crop_rgb_u8.shape == (150, 150, 3)
    assert face.box_px == pytest.approx((0.06 * 112, 0.18 * 112, 0.94 * 112, 0.98 * 112))
    assert face.quality.detection_score == 1.0
    assert face.quality.size_px == pytest.approx(0.8 * 112)


@needs_dlib
def test_gates_hold_for_dlib_too():
    found = DlibFaces(Gates(size_min_px=100), aligned=True).find(photo(face_pixels(5, 2, 0)))

    assert [(r.reason, r.detail) for r in found.rejects] == [
        (Reason.FACE_TOO_SMALL, "89.6 px across, at least 100 asked")
    ]


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("scanner.dlib_files.find_spec", lambda _name: None)

    with pytest.raises(ModelError) as caught:
        DlibFaces(Gates()).find(photo(np.zeros((9, 9, 3), np.uint8)))
    assert str(caught.value) == (
        "dlib's networks need the 'dlib' extra. Install it with: pip install 'identity-leak-scanner[dlib]'"
    )


@needs_dlib
@pytest.mark.real
def test_a_real_face_is_found_in_picture_coordinates(lfw_photos):
    for pixels in lfw_photos:
        (face,) = DlibFaces(Gates()).find(photo(pixels)).faces
        x0, y0, x1, y1 = face.box_px

        assert face.crop_rgb_u8.shape == (150, 150, 3)
        # These photos are cut so that the face is in the middle.
        assert 60 < x0 < 100
        assert 150 < x1 < 190
        assert 60 < y0 < 100
        assert 150 < y1 < 210
        assert face.quality.size_px == pytest.approx(min(x1 - x0, y1 - y0))
        assert 0.6 < face.quality.detection_score < 1.0


@needs_dlib
@pytest.mark.real
def test_two_faces_side_by_side_are_ranked_by_size(lfw_photos):
    import cv2

    small = cv2.resize(lfw_photos[1], (150, 150))
    both = np.zeros((250, 400, 3), np.uint8)
    both[50:200, :150], both[:, 150:] = small, lfw_photos[0]

    one, two = (DlibFaces(Gates(), all_faces=many).find(photo(both)) for many in (False, True))

    assert [face.ordinal for face in two.faces] == [0, 1]
    assert boxes(one) == boxes(two)[:1]
    assert boxes(two)[0][0] > 150 > boxes(two)[1][2]


@needs_dlib
@pytest.mark.real
def test_threads_find_what_one_thread_finds(lfw_photos):
    finder = DlibFaces(Gates())
    alone = [finder.find(photo(pixels)) for pixels in lfw_photos]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(finder.find, [photo(pixels) for pixels in lfw_photos * 2]))

    for found, wanted in zip(together, alone * 2, strict=True):
        assert boxes(found) == boxes(wanted)
        assert np.array_equal(found.faces[0].crop_rgb_u8, wanted.faces[0].crop_rgb_u8)
