"""`open_finder`: which road for which wish, and what makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from scanner.errors import UsageError
from scanner.faces import Gates, open_finder
from scanner.faces.dlib_faces import DlibFaces
from scanner.faces.given import AlignedCrops, WholePictures
from scanner.sessions import choose_device

CPU = choose_device("cpu")


def refused(*args, **kwargs) -> str:
    with pytest.raises(UsageError) as caught:
        open_finder(*args, device=CPU, **kwargs)
    return str(caught.value)


def test_each_mode_opens_its_finder():
    gates = Gates(size_min_px=3)

    assert open_finder("aligned", crop_size_px=(112, 112), device=CPU, gates=gates) == AlignedCrops(112, gates)
    assert open_finder("whole", crop_size_px=(50, 40), device=CPU) == WholePictures(50, 40, Gates())


@pytest.mark.parametrize(
    ("mode", "select", "fingerprint"),
    [
        ("detect", "central", "dlib-hog-largest-150"),
        ("detect", "all", "dlib-hog-all-150"),
        ("aligned", "central", "dlib-hog-aligned-150"),
    ],
)
def test_dlib_brings_its_own_alignment(mode, select, fingerprint):
    finder = open_finder(mode, crop_size_px=(150, 150), device=CPU, for_dlib=True, select=select)

    assert isinstance(finder, DlibFaces)
    assert finder.fingerprint == fingerprint


def test_a_detector_for_dlib_is_refused():
    assert refused("detect", crop_size_px=(150, 150), for_dlib=True, detector_path=Path("scrfd.onnx")) == (
        "--detector cannot be combined with --embedder dlib: its network needs dlib's own alignment."
    )


@pytest.mark.parametrize("mode", ["detect", "aligned"])
def test_a_network_of_oblong_pictures_takes_no_faces(mode):
    assert refused(mode, crop_size_px=(96, 112)) == (
        "This network takes pictures of 96x112, not square face crops. Use --faces whole."
    )


def test_detection_without_a_detector_says_where_one_comes_from():
    assert refused("detect", crop_size_px=(112, 112)) == (
        "--faces detect needs a face detector, and this embedder brings none. Name an SCRFD file with landmarks "
        "(--detector scrfd_500m_kps.onnx), use a pack (--embedder insightface:PACK), or say --faces aligned "
        "if the pictures are aligned crops already, --faces whole if they are no faces."
    )


def test_landmarks_that_coincide_are_refused():
    """Nothing can be aligned by one point: every crop would be black, and every face the same."""
    assert refused("aligned", crop_size_px=(112, 112), landmarks=((0.5, 0.5),) * 5) == (
        "Eyes, nose and mouth corners lie at five places of a picture, --landmarks names 1; no picture could be aligned by them."
    )
