"""Gates refuse with a reason and a sentence; sharpness and frontality say what they promise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.faces.align import ARCFACE_LANDMARKS_PX
from scanner.faces.quality import Gates, frontality, sharpness
from scanner.records import Quality, Reason
from scanner.world.draw import face_pixels

GOOD = {"detection_score": 0.9, "size_px": 80.0, "sharpness": 50.0, "frontality": 0.8}
STRICT = Gates(size_min_px=20.0, detection_score_min=0.6, sharpness_min=30.0, frontality_min=0.4)


def test_a_good_face_passes():
    assert STRICT.refuse(Quality(**GOOD)) is None


@pytest.mark.parametrize(
    ("name", "value", "reason", "detail"),
    [
        ("size_px", 19.94, Reason.FACE_TOO_SMALL, "19.9 px across, at least 20 asked"),
        ("detection_score", 0.5, Reason.FACE_UNSURE, "0.5 detection score, at least 0.6 asked"),
        ("sharpness", 12.34, Reason.FACE_TOO_BLURRED, "12.3 sharpness, at least 30 asked"),
        ("frontality", 0.0, Reason.FACE_TURNED_AWAY, "0 frontality, at least 0.4 asked"),
    ],
)
def test_each_gate_says_what_it_found_and_what_it_wants(name, value, reason, detail):
    assert STRICT.refuse(Quality(**{**GOOD, name: value})) == (reason, detail)


def test_a_face_at_a_gate_passes():
    assert STRICT.refuse(Quality(detection_score=0.6, size_px=20.0, sharpness=30.0, frontality=0.4)) is None


def test_of_several_gates_the_first_speaks():
    assert STRICT.refuse(Quality(detection_score=0.0, size_px=0.0)) == (
        Reason.FACE_TOO_SMALL, "0 px across, at least 20 asked",
    )  # fmt: skip


def test_by_default_blur_and_pose_are_no_reason():
    assert Gates().refuse(Quality(detection_score=0.5, size_px=16.0, sharpness=0.0, frontality=0.0)) is None


def test_sharpness_falls_with_every_blur():
    crop = face_pixels(5, 1, 0)
    values = [sharpness(crop)] + [sharpness(cv2.GaussianBlur(crop, (0, 0), s)) for s in (1.0, 2.0, 4.0)]

    assert values == sorted(values, reverse=True)
    assert values[0] > 10 * values[-1]


def test_a_plain_crop_has_no_sharpness():
    assert sharpness(np.full((112, 112, 3), 77, np.uint8)) == 0.0


def test_sharpness_is_the_variance_of_the_laplacian():
    spot = np.zeros((5, 5, 3), np.uint8)
    spot[2, 2] = 100

    # Laplacian: -400 in the middle, 100 at its four neighbours, 0 elsewhere; mean 0.
    assert sharpness(spot) == pytest.approx((400**2 + 4 * 100**2) / 25)


def test_frontality_is_one_midway_and_zero_at_an_eye():
    def nose_at(share: float) -> float:
        left, right = np.array([10.0, 20.0]), np.array([50.0, 30.0])
        points = np.array([left, right, left + share * (right - left), [0, 0], [0, 0]])
        return frontality(points)

    assert [nose_at(s) for s in (0.5, 0.25, 0.75, 0.0, 1.0, 1.7)] == pytest.approx([1, 0.5, 0.5, 0, 0, 0])


@given(angle=st.floats(-3, 3), scale=st.floats(0.1, 10), x=st.floats(-100, 100))
def test_frontality_does_not_depend_on_roll_size_and_place(angle, scale, x):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    turned = ARCFACE_LANDMARKS_PX @ np.array([[c, s], [-s, c]]) + x

    assert frontality(turned) == pytest.approx(frontality(ARCFACE_LANDMARKS_PX))
    assert frontality(ARCFACE_LANDMARKS_PX) > 0.98


def test_eyes_in_one_place_are_not_frontal():
    assert frontality(np.zeros((5, 2))) == 0.0
