"""The perceptual hash keeps to the picture: near-copies stay within the bound, other photos of the person do not."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from scanner.faces.copy_hash import NEAR_COPY_BITS, are_near_copies, crop_hash, differing_bits, mirrored
from scanner.world.draw import face_pixels

PEOPLE, PHOTOS = 60, 3


@cache
def crops() -> list[NDArray[np.uint8]]:
    return [face_pixels(77, number, photo) for number in range(PEOPLE) for photo in range(PHOTOS)]


def bits(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.array([np.frombuffer(crop_hash(picture), np.uint8) for picture in pictures])


def again(change: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    return bits([np.asarray(change(Image.fromarray(crop)).convert("RGB")) for crop in crops()])


def compressed(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "compressed": compressed,
    "half size": lambda image: image.resize((56, 56), Image.Resampling.LANCZOS),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_changed_copy_is_a_near_copy(change: str) -> None:
    share = are_near_copies(bits(crops()), again(CHANGES[change])).mean()

    assert share >= 0.97


def test_other_photos_of_a_person_and_strangers_are_not() -> None:
    hashes = bits(crops())
    left, right = np.triu_indices(len(hashes), 1)
    near = are_near_copies(hashes[left], hashes[right])
    same = left // PHOTOS == right // PHOTOS

    assert near[same].mean() <= 0.1
    assert near[~same].mean() <= 0.002


def test_bits_are_counted_as_the_library_counts_them() -> None:
    pictures = crops()[:12]
    library = [imagehash.phash(Image.fromarray(picture)) for picture in pictures]
    hashes = bits(pictures)

    found = differing_bits(hashes, hashes[0])

    assert found.tolist() == [one - library[0] for one in library]
    assert [str(one) for one in library] == [crop_hash(picture).hex() for picture in pictures]


def test_the_bound_is_inclusive_and_counts_the_mirror() -> None:
    zero = np.zeros((1, 8), np.uint8)
    at, over = zero.copy(), zero.copy()
    at[0, 0] = 0b11111111
    over[0, :2] = 0b11111111, 0b00000001

    assert NEAR_COPY_BITS == 8
    assert [are_near_copies(zero, one)[0] for one in (at, over)] == [True, False]
    assert are_near_copies(mirrored(zero), over.copy() * 0)[0]
    assert mirrored(mirrored(at)).tolist() == at.tolist()


def test_a_picture_of_one_colour_has_a_hash() -> None:
    assert len(crop_hash(np.full((112, 112, 3), 90, np.uint8))) == 8
    assert len(crop_hash(np.zeros((1, 1, 3), np.uint8))) == 8
