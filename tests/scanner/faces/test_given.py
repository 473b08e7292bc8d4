"""Finders that detect nothing: aligned crops and whole pictures."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.faces.given import AlignedCrops, WholePictures
from scanner.faces.quality import Gates
from scanner.records import Picture, Reason, Reject


def picture(height: int, width: int, *, value: int | None = None) -> Picture:
    rng = np.random.default_rng(height * 1000 + width)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    return Picture("ab" * 16, "faces/a.png", "person-1", pixels)


def test_a_crop_of_the_right_size_passes_untouched():
    given = picture(112, 112)

    (face,) = AlignedCrops(112, Gates()).find(given).faces

    assert np.array_equal(face.crop_rgb_u8, given.pixels_rgb_u8)
    assert (face.item_id, face.uri, face.identity, face.ordinal) == ("ab" * 16, "faces/a.png", "person-1", 0)
    assert face.face_id == f"{'ab' * 16}:0"
    assert face.box_px == (0.0, 0.0, 112.0, 112.0)
    assert (face.quality.size_px, face.quality.detection_score, face.quality.frontality) == (112.0, 1.0, 1.0)


@pytest.mark.parametrize(("height", "width"), [(250, 112), (112, 126), (101, 112 * 2)])
def test_what_is_not_square_is_no_aligned_crop(height, width):
    found = AlignedCrops(112, Gates()).find(picture(height, width))

    assert found.faces == ()
    assert found.rejects == (
        Reject(
            "faces/a.png",
            Reason.NOT_ALIGNED,
            f"{width}x{height} is not square, so it is no aligned crop; --faces detect finds and aligns faces",
            "ab" * 16,
            "person-1",
        ),
    )


@pytest.mark.parametrize(("height", "width"), [(108, 120), (120, 108), (224, 224), (64, 64)])
def test_nearly_square_pictures_are_brought_to_the_side(height, width):
    (face,) = AlignedCrops(112, Gates()).find(picture(height, width)).faces

    assert face.crop_rgb_u8.shape == (112, 112, 3)
    assert face.box_px == (0.0, 0.0, float(width), float(height))
    assert face.quality.size_px == min(height, width)


def test_whole_pictures_are_squeezed_to_width_and_height():
    (face,) = WholePictures(40, 20, Gates()).find(picture(300, 50)).faces

    assert face.crop_rgb_u8.shape == (20, 40, 3)
    assert face.box_px == (0.0, 0.0, 50.0, 300.0)


def test_shrinking_takes_the_mean_of_what_it_shrinks():
    board = Picture(
        "", "", None, np.repeat((np.indices((336, 336)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    )

    (face,) = WholePictures(112, 112, Gates()).find(board).faces

    assert set(np.unique(face.crop_rgb_u8)) == {113, 142}  # four or five white pixels of nine


def test_a_gate_refuses_given_crops_too():
    found = AlignedCrops(112, Gates(size_min_px=120)).find(picture(112, 112))
    flat = WholePictures(8, 8, Gates(sharpness_min=1)).find(picture(112, 112, value=7))

    assert [(r.reason, r.detail) for r in found.rejects] == [
        (Reason.FACE_TOO_SMALL, "112 px across, at least 120 asked")
    ]
    assert [(r.reason, r.detail) for r in flat.rejects] == [(Reason.FACE_TOO_BLURRED, "0 sharpness, at least 1 asked")]


def test_fingerprints_tell_sizes_and_roads_apart():
    gates = Gates()
    names = [
        AlignedCrops(112, gates).fingerprint,
        AlignedCrops(128, gates).fingerprint,
        WholePictures(112, 112, gates).fingerprint,
        WholePictures(112, 128, gates).fingerprint,
    ]

    assert names == ["aligned-112", "aligned-128", "whole-112x112", "whole-112x128"]
