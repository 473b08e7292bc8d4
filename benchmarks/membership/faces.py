"""Photos of drawn people for the membership test bed: who is in training, who is not, and never both.

Every photo is one person's number and one photo's number of one world, drawn at 112 pixels and brought to the
generators' resolution.  Members and non-members go through the same reduction as the training photos, so that
nothing but membership tells them apart.

    crowd = Crowd(first=0, people=20, photos=range(8))
    photos = draw_crowd(crowd, Path("/tmp/bed-faces"))       # uint8 (20, 8, SIDE_PX, SIDE_PX, 3)
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner.world.draw import face_pixels

WORLD_SEED = 909
"""The recogniser was trained on world 1, watched on 3, tested on 2, 4 and 5; the demo's people are of world 2026."""
SIDE_PX = 40
"""At 40 pixels the recogniser accepts 99 % of mated pairs at a false match rate of 1e-3, as it does at 112."""

TRAINING_PHOTOS = range(8)
HELD_OUT_PHOTOS = range(1000, 1004)

# first person numbers; the ranges never touch
MEMBERS = 0
DIVERSE = 1_000  # person 1000 is the over-represented one
CROWD = 2_000
OTHERS = 10_000
NON_MEMBERS = 20_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """People `first` .. `first + people - 1` of the bed's world, each with the photos of these numbers."""

    first: int
    people: int
    photos: range

    @property
    def numbers(self) -> range:
        """The people's numbers."""
        return range(self.first, self.first + self.people)


def person_name(number: int) -> str:
    """Return the identity as labels write it."""
    return f"person-{number:05d}"


def reduce_photo(pixels_rgb_u8: NDArray[np.uint8], side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """Bring an aligned crop to the generators' resolution by averaging over areas."""
    reduced = cv2.resize(pixels_rgb_u8, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.uint8)


def grey_photo(pixels_rgb_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the other style of the domain-shifted generator: grey, at half the contrast."""
    luma = pixels_rgb_u8.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    flat = np.rint(64.0 + 0.5 * luma).astype(np.uint8)
    return np.repeat(flat[..., None], 3, axis=-1)


def draw_crowd(crowd: Crowd, cache: Path) -> NDArray[np.uint8]:
    """Draw a crowd, or read it where it was drawn before.

    Args:
        crowd: who, and which photos of them.
        cache: folder outside the repository; the file's name holds everything that its pictures depend on.

    Returns:
        uint8 RGB (people, photos, SIDE_PX, SIDE_PX, 3).
    """
    cache.mkdir(parents=True, exist_ok=True)
    photos = f"{crowd.photos.start}-{crowd.photos.stop}"
    name = f"{drawing_fingerprint()}-{crowd.first}-{crowd.people}-{photos}-{SIDE_PX}px.npy"
    path = cache / name
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False), np.uint8)
    shape = (crowd.people, len(crowd.photos), SIDE_PX, SIDE_PX, 3)
    drawn = np.empty(shape, np.uint8)
    for row, number in enumerate(crowd.numbers):
        for column, photo in enumerate(crowd.photos):
            drawn[row, column] = reduce_photo(face_pixels(WORLD_SEED, number, photo))
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        np.save(file, drawn, allow_pickle=False)
    partial.replace(path)
    return drawn


def drawing_fingerprint() -> str:
    """Return 12 hex digits that change when the pictures do."""
    digest = hashlib.sha256()
    for number in range(4):
        digest.update(face_pixels(WORLD_SEED, number, 0).tobytes())
    return digest.hexdigest()[:12]
