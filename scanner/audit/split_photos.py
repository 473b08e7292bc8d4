"""The photos of a split audit: drawn by lot, two of a person where there are two, as crops that judges and network share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from indexes.atomic import write_json
from scanner import artefacts
from scanner.audit.split_open import Opened
from scanner.errors import NothingScanned
from scanner.images import decode_item
from scanner.jobs.options import cores
from scanner.progress import Progress
from scanner.records import Item, Reason, Reject

PHOTOS_EACH = 2
_AHEAD = 64


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """What is re-created.

    Attributes:
        crops_rgb_u8: (n, height, width, 3) uint8, as the first judge takes them; people side by side.
        person: (n,) int64 code of whose it is; its own where it has no label.
        labels: of each photo, None where there is none.
        counts: what became of the entries: read, chosen, used, and why others were not.
    """

    crops_rgb_u8: NDArray[np.uint8]
    person: NDArray[np.int64]
    labels: tuple[str | None, ...]
    counts: dict[str, int]

    @property
    def people(self) -> int:
        """Number of people."""
        return len(np.unique(self.person))


def read_photos(opened: Opened, work: Path, *, seed: int, progress: Progress) -> Photos:
    """Draw photos, find the face in each, and keep the crops in `work` for whoever resumes.

    Raises:
        NothingScanned: not one photo is left.
    """
    import torch

    from scanner.networks.tensors import read_tensors, write_tensors

    marker, pixels = work / "photos.json", work / "photos.safetensors"
    if not marker.exists():
        photos = _find(opened, seed, progress)
        write_tensors(
            pixels,
            {"crops": torch.from_numpy(photos.crops_rgb_u8), "person": torch.from_numpy(photos.person)},
            private=True,
        )
        write_json(marker, {"labels": list(photos.labels), "counts": photos.counts})
    told, tensors = artefacts.read_json(marker), read_tensors(pixels)
    return Photos(tensors["crops"].numpy(), tensors["person"].numpy(), tuple(told["labels"]), dict(told["counts"]))


def resized(crops_rgb_u8: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Return crops at another width and height: area filter where they shrink, bilinear where they grow."""
    width, height = size_px
    own_height, own_width = crops_rgb_u8.shape[1:3]
    if (own_width, own_height) == size_px:
        return crops_rgb_u8
    way = cv2.INTER_AREA if own_width > width or own_height > height else cv2.INTER_LINEAR
    return np.stack(
        [np.asarray(cv2.resize(crop, (width, height), interpolation=way), np.uint8) for crop in crops_rgb_u8]
    )


def choose(
    identities: Sequence[str | None], *, photos_max: int, seed: int, by_person: bool
) -> tuple[list[int], dict[str, int]]:
    """Draw photos by lot: people with two or more first, two photos each, then people with one.

    Args:
        identities: of each photo.
        photos_max: at most so many.
        seed: draws.
        by_person: False takes labels for classes: every photo is a trial of its own, with a label or without.

    Returns:
        Places of the chosen, people side by side, and how many were left out by reason.
    """
    rng = np.random.default_rng([seed, 0x5B117])
    groups: dict[str, list[int]] = {}
    for place, identity in enumerate(identities):
        if identity is not None or not by_person:
            groups.setdefault(_owner(identity, place, by_person=by_person), []).append(place)
    names = sorted(groups)
    lot = rng.permutation(len(names))
    order = sorted(range(len(names)), key=lambda k: (len(groups[names[k]]) < PHOTOS_EACH, lot[k]))
    chosen: list[int] = []
    for k in order:
        own = groups[names[k]]
        drawn = sorted(int(own[place]) for place in rng.permutation(len(own))[:PHOTOS_EACH])
        if len(chosen) + len(drawn) <= photos_max:
            chosen += drawn
    without = sum(identity is None for identity in identities) if by_person else 0
    return chosen, {"no_identity": without, "not_drawn": len(identities) - without - len(chosen)}


def _owner(identity: str | None, place: int, *, by_person: bool) -> str:
    """Return whose photo it is: the label's person, or somebody of its own."""
    return identity if identity is not None and by_person else f"\0{place}"


def _find(opened: Opened, seed: int, progress: Progress) -> Photos:
    """Read the source twice: once for the labels, once for the pixels of what was drawn."""
    identities, places, reasons = _labels(opened)
    by_person = bool(opened.judges)
    chosen, left_out = choose(identities, photos_max=opened.section.max_photos, seed=seed, by_person=by_person)
    wanted = {places[k]: rank for rank, k in enumerate(chosen)}
    progress.stage("photos", total=len(wanted), unit="photos")
    crops: dict[int, NDArray[np.uint8]] = {}
    for rank, found in _crops(opened, wanted):
        progress.advance(1)
        if isinstance(found, Reason):
            reasons[found.value] += 1
        else:
            crops[rank] = found
    if not crops:
        told = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "no label at all"
        raise NothingScanned(
            f"Nothing to re-create: no usable photo in {opened.source.uri} ({told}). Look at the pictures, their labels, and at "
            '[embedder] faces ("detect", "aligned" or "whole").'
        )
    ranks = sorted(crops)
    labels = tuple(identities[chosen[rank]] for rank in ranks)
    names = [_owner(label, rank, by_person=by_person) for label, rank in zip(labels, ranks, strict=True)]
    person = np.unique(names, return_inverse=True)[1].astype(np.int64)
    counts = {
        "entries": len(identities) + sum(reasons.values()) - (len(chosen) - len(crops)), "used": len(crops), **left_out,
        **dict(sorted(reasons.items())),
    }  # fmt: skip
    return Photos(np.stack([crops[rank] for rank in ranks]), person, labels, counts)


def _labels(opened: Opened) -> tuple[list[str | None], list[int], Counter[str]]:
    """Return the identity of every image that is there once, its place in the source, and rejects by reason."""
    identities: list[str | None] = []
    places: list[int] = []
    reasons: Counter[str] = Counter()
    seen: set[str] = set()
    for place, entry in enumerate(opened.source.entries()):
        if isinstance(entry, Reject):
            reasons[entry.reason.value] += 1
        elif entry.item_id in seen:
            reasons[Reason.DUPLICATE.value] += 1
        else:
            seen.add(entry.item_id)
            identities.append(entry.identity)
            places.append(place)
    return identities, places, reasons


def _crops(opened: Opened, wanted: dict[int, int]) -> Iterator[tuple[int, NDArray[np.uint8] | Reason]]:
    """Yield the crop of every wanted photo, or why there is none."""

    def one(item: Item) -> NDArray[np.uint8] | Reason:
        picture = decode_item(item)
        if isinstance(picture, Reject):
            return picture.reason
        found = opened.finder.find(picture)
        return found.faces[0].crop_rgb_u8 if found.faces else found.rejects[0].reason

    with ThreadPoolExecutor(cores()) as pool:
        ranks: list[int] = []
        items: list[Item] = []
        for place, entry in enumerate(opened.source.entries()):
            if place in wanted and not isinstance(entry, Reject):
                ranks.append(wanted[place])
                items.append(entry)
            if len(items) == _AHEAD:
                yield from zip(ranks, pool.map(one, items), strict=True)
                ranks, items = [], []
        yield from zip(ranks, pool.map(one, items), strict=True)


def describe(photos: Photos) -> dict[str, Any]:
    """Return what the report says of the photos."""
    each = np.bincount(photos.person)
    return {
        "photos": len(photos.person),
        "people": photos.people,
        "people_with_two": int((each >= PHOTOS_EACH).sum()),
        "crop_px": [int(side) for side in photos.crops_rgb_u8.shape[2:0:-1]],
        "counts": photos.counts,
    }
