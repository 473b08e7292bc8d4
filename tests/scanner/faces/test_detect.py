"""From detections to faces: who is taken, who is left out and why; with a detector that sees what it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scanner.faces.align import ARCFACE_LANDMARKS_PX, align
from scanner.faces.detect import DetectedFaces, LookPlan
from scanner.faces.quality import Gates
from scanner.faces.scrfd import Detections
from scanner.records import Picture, Reason, Reject

PIXELS = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
PHOTO = Picture("cd" * 16, "photo.jpg", None, PIXELS)


class SeesWhatItIsTold:
    """Reports the given boxes (x0, y0, side) at the look with number `at`; remembers how it looked."""

    sha256 = "f" * 64

    def __init__(self, *boxes: tuple[float, float, float], at: int = 0, scores: tuple[float, ...] = ()) -> None:
        self.boxes, self.at, self.scores = boxes, at, scores
        self.looks: list[tuple[int, float, float]] = []

    def look(self, _pixels: Any, *, canvas_px: int, score_min: float, border: float = 0.0) -> Detections:
        self.looks.append((canvas_px, border, score_min))
        boxes = self.boxes if len(self.looks) > self.at else ()
        sides = np.array([side for _, _, side in boxes], np.float32).reshape(-1, 1, 1)
        corners = np.array([(x, y) for x, y, _ in boxes], np.float32).reshape(-1, 1, 2)
        marks = ARCFACE_LANDMARKS_PX.astype(np.float32) / 112 * sides + corners
        box = np.concatenate([corners[:, 0], corners[:, 0] + sides[:, 0]], 1).reshape(-1, 4)
        scores = self.scores or (0.9,) * len(boxes)
        return Detections(box, marks.reshape(-1, 5, 2), np.array(scores[: len(boxes)], np.float32))


def finder(detector: SeesWhatItIsTold, **settings: Any) -> DetectedFaces:
    return DetectedFaces(detector, 112, **settings)  # type: ignore[arg-type]


SMALL_MIDDLE, LARGE_MIDDLE, LARGEST_CORNER = (275.0, 175.0, 50.0), (250.0, 150.0, 90.0), (0.0, 0.0, 100.0)


def test_the_face_comes_with_its_crop_its_box_and_its_quality():
    seen = SeesWhatItIsTold(LARGE_MIDDLE).look(PIXELS, canvas_px=600, score_min=0.5)

    (face,) = finder(SeesWhatItIsTold(LARGE_MIDDLE)).find(PHOTO).faces

    assert face.box_px == (250.0, 150.0, 340.0, 240.0)
    assert (face.item_id, face.uri, face.identity, face.ordinal) == ("cd" * 16, "photo.jpg", None, 0)
    assert np.array_equal(face.crop_rgb_u8, align(PIXELS, seen.landmarks_px[0], side_px=112))
    assert face.quality.size_px == 90.0
    assert face.quality.detection_score == pytest.approx(0.9)
    assert face.quality.sharpness > 100
    assert face.quality.frontality > 0.98


@pytest.mark.parametrize(
    ("select", "taken"),
    [("largest", [LARGEST_CORNER]), ("central", [LARGE_MIDDLE]), ("all", [LARGEST_CORNER, LARGE_MIDDLE, SMALL_MIDDLE])],
)
def test_selection_takes_the_largest_the_central_or_all_largest_first(select, taken):
    found = finder(SeesWhatItIsTold(SMALL_MIDDLE, LARGEST_CORNER, LARGE_MIDDLE), select=select).find(PHOTO)

    assert [(f.box_px[0], f.box_px[1], f.quality.size_px) for f in found.faces] == taken
    assert [f.ordinal for f in found.faces] == list(range(len(taken)))
    assert found.rejects == ()


def test_equal_faces_keep_the_detectors_order():
    left, right = (200.0, 150.0, 60.0), (340.0, 150.0, 60.0)

    found = finder(SeesWhatItIsTold(right, left), select="central").find(PHOTO)

    assert found.faces[0].box_px[0] == 340.0


def test_faces_beyond_the_limit_are_counted_in_a_reject():
    boxes = [(10.0 * n, 0.0, 20.0 + n) for n in range(5)]

    found = finder(SeesWhatItIsTold(*boxes), select="all", faces_max=3).find(PHOTO)

    assert [f.quality.size_px for f in found.faces] == [24.0, 23.0, 22.0]
    assert found.rejects == (
        Reject("photo.jpg", Reason.TOO_MANY_FACES, "2 faces beyond the 3 largest", "cd" * 16, None),
    )


def test_a_face_that_fails_a_gate_leaves_a_reject_and_ordinals_stay_dense():
    gates = Gates(size_min_px=40.0)
    found = finder(SeesWhatItIsTold(LARGE_MIDDLE, (0.0, 0.0, 30.0), SMALL_MIDDLE), select="all", gates=gates).find(
        PHOTO
    )

    assert [(f.ordinal, f.quality.size_px) for f in found.faces] == [(0, 90.0), (1, 50.0)]
    assert found.rejects == (
        Reject("photo.jpg", Reason.FACE_TOO_SMALL, "30 px across, at least 40 asked", "cd" * 16, None),
    )


def test_a_picture_without_a_face_says_so():
    found = finder(SeesWhatItIsTold()).find(replace(PHOTO, identity="somebody"))

    assert found.faces == ()
    assert found.rejects == (
        Reject("photo.jpg", Reason.NO_FACE, "no face seen in 600x400 pixels", "cd" * 16, "somebody"),
    )


def test_a_picture_is_looked_at_until_a_face_is_seen():
    for at in range(4):
        detector = SeesWhatItIsTold(LARGE_MIDDLE, at=at)

        assert len(finder(detector).find(PHOTO).faces) == 1
        assert detector.looks == [(600, 0.0, 0.5), (600, 0.3, 0.5), (640, 0.0, 0.5), (320, 0.8, 0.5)][: at + 1]


@pytest.mark.parametrize(
    ("side", "attempts"),
    [
        (36, ((320, 0.0), (320, 0.3), (640, 0.0), (320, 0.8))),
        (500, ((500, 0.0), (500, 0.3), (640, 0.0), (320, 0.8))),
        (640, ((640, 0.0), (640, 0.3), (640, 0.0), (320, 0.8))),
        (4000, ((640, 0.0), (640, 0.3), (1280, 0.0), (320, 0.8))),
    ],
)
def test_the_plan_looks_small_pictures_up_and_large_ones_down(side, attempts):
    assert LookPlan().attempts(side) == attempts


def test_the_gates_least_score_is_what_the_detector_is_asked():
    detector = SeesWhatItIsTold(LARGE_MIDDLE)

    finder(detector, gates=Gates(detection_score_min=0.31)).find(PHOTO)

    assert detector.looks == [(600, 0.0, 0.31)]


def test_a_score_above_one_is_brought_to_one():
    (face,) = finder(SeesWhatItIsTold(LARGE_MIDDLE, scores=(1.0000001,))).find(PHOTO).faces

    assert face.quality.detection_score == 1.0


def test_every_setting_that_changes_a_crop_changes_the_fingerprint():
    detector = SeesWhatItIsTold()
    other = SeesWhatItIsTold()
    other.sha256 = "e" * 64
    changed = [
        finder(other), DetectedFaces(detector, 128), finder(detector, select="all"), finder(detector, faces_max=9),  # type: ignore[arg-type]
        finder(detector, gates=Gates(size_min_px=17)), finder(detector, plan=LookPlan(canvas_min_px=352)),
    ]  # fmt: skip

    names = [finder(detector).fingerprint] + [f.fingerprint for f in changed]

    assert len(set(names)) == len(names)
    assert finder(SeesWhatItIsTold()).fingerprint == names[0]
    assert len(names[0]) == 16
