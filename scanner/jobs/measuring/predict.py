"""What the stages of a job will take on a machine whose rates are known: names of stages → seconds.

A stage without rates, or one that nobody has a formula for, is not predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from scanner import costs
from scanner.costs import Cost
from scanner.errors import ScannerError
from scanner.images import decode_item
from scanner.jobs.measuring.profile import Profile
from scanner.jobs.options import SourceOptions, cores
from scanner.rates import Networks
from scanner.records import Item, Reject
from scanner.search import Gallery
from scanner.sources import Source

LOOKED_AT = 16
_TAR_BLOCK_BYTES = 512
_TAR_FILE_BYTES = _TAR_BLOCK_BYTES + _TAR_BLOCK_BYTES // 2
"""A file's header, and what fills up its last block on average."""
GENERATED = "generated:"
"""A generator has no first pictures that cost nothing to look at."""

Seconds = Callable[[int], float]
"""Items of a stage → its seconds."""


@dataclass(frozen=True, slots=True)
class PictureSize:
    """A usual picture of a source: mean 10^6 pixels, mean longer side, and bytes in an archive with its label."""

    megapixels: float
    side_px: float
    stored_bytes: float


def picture_size(source: Source) -> PictureSize | None:
    """Decode the first `LOOKED_AT` pictures of a source for their size; None where none of them can be decoded."""
    shapes, stored = [], []
    for entry in islice(source.entries(), LOOKED_AT):
        picture = decode_item(entry) if isinstance(entry, Item) else entry
        if isinstance(entry, Item) and not isinstance(picture, Reject):
            shapes.append(picture.pixels_rgb_u8.shape[:2])
            labelled = entry.identity is not None
            stored.append(len(entry.data) + _TAR_FILE_BYTES + labelled * (_TAR_FILE_BYTES + _TAR_BLOCK_BYTES // 2))
    if not shapes:
        return None
    sides = np.array(shapes, np.float64)
    return PictureSize(float(sides.prod(1).mean() * 1e-6), float(sides.max(1).mean()), float(np.mean(stored)))


def images_of(source: Source, size: PictureSize | None) -> tuple[int | None, bool]:
    """Return how many images a source has, and whether that was counted.

    A tar does not know: its bytes over those of its first pictures are a guess.  None where there is nothing to go by.
    """
    images = source.count()
    held = 0 if size is None else int(source.describe().get("bytes", 0))
    if images is not None or size is None or not held:
        return images, True
    return max(1, round(held / size.stored_bytes)), False


def detector_of(road: Mapping[str, Any]) -> str | None:
    """Return the detector that a road's description names; None where faces are given."""
    faces = road.get("faces") or {}
    return None if faces.get("mode") != "detect" else faces.get("detector")


def networks_of(profile: Profile, road: Mapping[str, Any]) -> Networks | None:
    """Return the rates of a road's networks, if they were measured."""
    faces = road.get("faces") or {}
    detector = detector_of(road)
    if faces.get("mode") == "detect" and detector is None:
        return None  # dlib's own detector looks at a size of its own
    return profile.networks_of(str(road["embedder"]["fingerprint"]), detector)


def faces_seconds(
    profile: Profile | None, road: Mapping[str, Any], specs: Sequence[str], sources: SourceOptions
) -> tuple[dict[str, Seconds], PictureSize | None]:
    """Return the stage "faces" of images that walk a road, and the size of its pictures if it was looked at.

    Args:
        profile: the machine's; None predicts nothing.
        road: `Intake.description`, or `OpenedRoad.description`.
        specs: the sources; their first pictures are looked at for their size.
        sources: how they are read.
    """
    networks = None if profile is None else networks_of(profile, road)
    if profile is None or networks is None or any(spec.startswith(GENERATED) for spec in specs):
        return {}, None
    try:
        size = picture_size(sources.open(specs))
    except (ScannerError, OSError):
        return {}, None  # it could be read a moment ago; a prediction is no reason to fail
    if size is None:
        return {}, None
    machine = profile.rates()
    each_ms = costs.image_ms(machine, networks, megapixels=size.megapixels, side_px=size.side_px)
    return {"faces": lambda images: images * each_ms * 1e-3 / machine.cores}, size


def faces_memory_bytes(size: PictureSize | None, images: int) -> int | None:
    """Return the peak memory of embedding `images` pictures of this size on this machine; None where it is not known."""
    return None if size is None else costs.embedding_memory_bytes(images, cores=cores(), megapixels=size.megapixels)


def join_cost(profile: Profile, galleries: Sequence[Gallery], queries: int) -> Cost:
    """Return what searching `queries` in all galleries takes, each by the engine chosen for it."""
    machine, total = profile.rates(), Cost(0.0)
    for gallery in galleries:
        index = gallery.index
        value_bytes = np.dtype(index.manifest.dtype).itemsize
        if gallery.engine.name == "compressed" and index.codec is not None and machine.int8_gop_s is not None:
            cost = costs.compressed_join(
                machine, queries, index.rows, index.dim, code_bytes=index.codec.code_bytes, value_bytes=value_bytes
            )
        else:
            cost = costs.exact_join(machine, queries, index.rows, index.dim, value_bytes=value_bytes)
        total = total.then(cost)
    return total


def writing_seconds(profile: Profile | None) -> dict[str, Seconds]:
    """Return the stage "writing": the rows of finished shards, written as one table."""
    if profile is None:
        return {}
    machine = profile.rates()
    return {"writing": lambda rows: costs.writing_s(machine, rows)}


def index_cost(
    profile: Profile | None, rows: int, dim: int, *, dtype: str, coded: bool, crops: bool, fitted: bool = False
) -> Cost | None:
    """Return what making an index of `rows` faces takes, once their vectors are there; `fitted`: its codec is there."""
    if profile is None:
        return None
    machine = replace(profile.rates(), codec_fit_s=0.0) if fitted else profile.rates()
    return costs.build(
        machine, rows, dim, value_bytes=np.dtype(dtype).itemsize,
        code_bytes=costs.code_bytes_of(dim) if coded else None, crops=crops,
    )  # fmt: skip
