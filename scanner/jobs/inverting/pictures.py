"""A source's images at the size of a generator: the centre of each, reduced with an area filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner.images import decode_item
from scanner.records import Item, Reason, Reject
from scanner.sources import Source


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """An image whose latent is wanted: `pixels_rgb_u8` is (h, w, 3) uint8 of the generator's size."""

    item_id: str
    uri: str
    identity: str | None
    pixels_rgb_u8: NDArray[np.uint8]


def pictures_of(
    source: Source, *, skip: int, shape_px: tuple[int, int], share: float, seen: set[str]
) -> Iterator[Wanted | Reject]:
    """Yield every entry of a source from place `skip` on; bytes that came before are duplicates.

    Args:
        source: images.
        skip: entries that were done before.
        shape_px: height and width of the generator's images.
        share: see `centred`.
        seen: item ids met before; gets those met here.
    """
    for entry in source.entries(skip=skip):
        yield _one(entry, shape_px, share, seen)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The entries of one shard: pictures and rejects, each in the order of the source."""

    number: int
    wanted: list[Wanted]
    rejects: list[Reject]


def batches_of(
    source: Source, *, first: int, entries: int, shape_px: tuple[int, int], share: float, seen: set[str]
) -> Iterator[Batch]:
    """Yield shards of `entries` entries from number `first` on; the other arguments are those of `pictures_of`."""
    pictures = pictures_of(source, skip=first * entries, shape_px=shape_px, share=share, seen=seen)
    for number in count(first):
        some = list(islice(pictures, entries))
        if not some:
            return
        wanted = [entry for entry in some if isinstance(entry, Wanted)]
        yield Batch(number, wanted, [entry for entry in some if isinstance(entry, Reject)])


def _one(entry: Item | Reject, shape_px: tuple[int, int], share: float, seen: set[str]) -> Wanted | Reject:
    if isinstance(entry, Reject):
        return entry
    item_id = entry.item_id
    if item_id in seen:
        detail = "the same bytes came before under another name"
        return Reject(entry.uri, Reason.DUPLICATE, detail, item_id, entry.identity)
    seen.add(item_id)
    picture = decode_item(entry)
    if isinstance(picture, Reject):
        return picture
    pixels = centred(picture.pixels_rgb_u8, *shape_px, share=share)
    return Wanted(item_id, entry.uri, entry.identity, pixels)


def centred(pixels_rgb_u8: NDArray[np.uint8], height: int, width: int, *, share: float) -> NDArray[np.uint8]:
    """Return the middle of a picture as (height, width, 3) uint8.

    Taken is the largest centred box of that aspect, times `share` (0 to 1]; reduced with an area filter, enlarged
    bilinearly.
    """
    own_height, own_width = pixels_rgb_u8.shape[:2]
    scale = share * min(own_height / height, own_width / width)
    box_height, box_width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (own_height - box_height) // 2, (own_width - box_width) // 2
    box = pixels_rgb_u8[top : top + box_height, left : left + box_width]
    if box.shape[:2] == (height, width):
        return np.ascontiguousarray(box)
    way = cv2.INTER_AREA if box_height > height or box_width > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(box, (width, height), interpolation=way), np.uint8)
