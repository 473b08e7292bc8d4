"""The nouns that travel along the road: item, reject, picture, face, counts.

Values only: frozen, without behaviour that touches disks, networks or models.  Arrays carry their
layout in their name (`pixels_rgb_u8`, `box_px`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

ITEM_ID_HEX = 32
"""Length of an item id: the first 128 bits of the SHA-256 of the item's bytes."""


class Reason(Enum):
    """Why an item, or a face of it, was left out.  The value is what stands in `rejects.parquet`."""

    UNREADABLE = "unreadable"
    EMPTY_FILE = "empty_file"
    TOO_LARGE_FILE = "too_large_file"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    ARCHIVE_CUT = "archive_cut"
    UNSAFE_NAME = "unsafe_name"
    NOT_A_FILE = "not_a_file"
    BAD_RECORD = "bad_record"
    QUARANTINED = "quarantined"
    ERASED = "erased"
    DUPLICATE = "duplicate"
    NOT_ALIGNED = "not_aligned"
    NO_FACE = "no_face"
    TOO_MANY_FACES = "too_many_faces"
    FACE_TOO_SMALL = "face_too_small"
    FACE_TOO_BLURRED = "face_too_blurred"
    FACE_TURNED_AWAY = "face_turned_away"
    FACE_UNSURE = "face_unsure"
    BAD_EMBEDDING = "bad_embedding"
    NOT_FINITE = "not_finite"


@dataclass(frozen=True, slots=True)
class Item:
    """One encoded image as a source hands it over.

    `identity` is the opaque label of the data set that the user brought, or None.
    """

    uri: str
    data: bytes
    identity: str | None = None

    @property
    def item_id(self) -> str:
        """Hash of the content: the same image twice is one item."""
        return content_id(self.data)


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that a source, a decoder or a face finder left out, and why.

    `item_id` is "" when not a byte of it could be read.  `detail` is one sentence for people; it never
    holds pixels, vectors or names.
    """

    uri: str
    reason: Reason
    detail: str = ""
    item_id: str = ""
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded item: `pixels_rgb_u8` is (height, width, 3), uint8, upright, RGB."""

    item_id: str
    uri: str
    identity: str | None
    pixels_rgb_u8: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Quality:
    """What is known about how good a crop is.

    `detection_score` in [0, 1]; `size_px` the shorter side of the face's box; `sharpness` the variance
    of the Laplacian of the crop's luminance; `frontality` in [0, 1], 1 = nose midway between the eyes.
    """

    detection_score: float = 1.0
    size_px: float = 0.0
    sharpness: float = 0.0
    frontality: float = 1.0


@dataclass(frozen=True, slots=True)
class Face:
    """One crop of an item, ready for an embedder.

    `crop_rgb_u8` is (height, width, 3), uint8, RGB.  `box_px` is x0, y0, x1, y1 in the upright picture.
    `crop_hash` is `faces.copy_hash.crop_hash` of the crop, filled in on the road; None where there never was one.
    """

    item_id: str
    uri: str
    identity: str | None
    ordinal: int
    crop_rgb_u8: NDArray[np.uint8]
    box_px: tuple[float, float, float, float]
    quality: Quality
    crop_hash: bytes | None = None

    @property
    def face_id(self) -> str:
        """`item_id:ordinal`."""
        return f"{self.item_id}:{self.ordinal}"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of every entry of a source: `entries == items + duplicates + rejected`.

    `items` were embedded, with `faces` faces in all; `faces_rejected` counts faces left out of items
    that were kept all the same.  `reasons` counts every reject, whole items and single faces.
    """

    entries: int = 0
    items: int = 0
    duplicates: int = 0
    rejected: int = 0
    faces: int = 0
    faces_rejected: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        """Add up two shards."""
        names = sorted({*self.reasons, *other.reasons})
        return Counts(
            entries=self.entries + other.entries,
            items=self.items + other.items,
            duplicates=self.duplicates + other.duplicates,
            rejected=self.rejected + other.rejected,
            faces=self.faces + other.faces,
            faces_rejected=self.faces_rejected + other.faces_rejected,
            reasons={n: self.reasons.get(n, 0) + other.reasons.get(n, 0) for n in names},
        )

    @property
    def add_up(self) -> bool:
        """True when every entry has exactly one outcome and every reject a reason."""
        whole = self.entries == self.items + self.duplicates + self.rejected
        return whole and sum(self.reasons.values()) == self.duplicates + self.rejected + self.faces_rejected


def content_id(data: bytes) -> str:
    """Return the item id of encoded bytes: 32 hex digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:ITEM_ID_HEX]
