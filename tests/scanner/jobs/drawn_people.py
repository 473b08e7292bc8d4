"""Drawn people on disk, and the slow twin that says what a scan of them must find."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexes.sealed import open_file
from scanner.images import encode_png
from scanner.jobs.measuring.meter import COSTS_NAME
from scanner.jobs.options import FaceOptions, OpenedRoad, SourceOptions, open_road
from scanner.world.draw import face_pixels

WORLD_SEED = 77
FACES = FaceOptions(embedder="drawn", faces="aligned", workers=2)
BY_FOLDER = SourceOptions(identity_from="folder")


@cache
def crop(number: int, photo: int) -> NDArray[np.uint8]:
    return face_pixels(WORLD_SEED, number, photo)


@cache
def png(number: int, photo: int) -> bytes:
    return encode_png(crop(number, photo))


@cache
def opened() -> OpenedRoad:
    return open_road(FACES)


@cache
def vector(number: int, photo: int) -> NDArray[np.float32]:
    """Return the unit vector of one photo, embedded alone."""
    return opened().road.embedder.embed(crop(number, photo)[None])[0]


def name(number: int) -> str:
    return f"person-{number:03d}"


def write_people(folder: Path, photos: Iterable[tuple[int, int]]) -> Path:
    """Write FOLDER/person-NNN/P.png; a folder source reads them sorted."""
    for number, photo in photos:
        path = folder / name(number) / f"{photo}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number, photo))
    return folder


def write_tar(path: Path, photos: Iterable[tuple[int, int]]) -> Path:
    """Write a WebDataset tar with identities."""
    members = (
        (f"{number:03d}-{photo}.{suffix}", data)
        for number, photo in photos
        for suffix, data in (("png", png(number, photo)), ("json", json.dumps({"identity": name(number)}).encode()))
    )
    return write_members(path, members)


def write_members(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """Write a tar with these members, whatever they are called."""
    with tarfile.open(path, "w") as tar:
        for member_name, data in members:
            member = tarfile.TarInfo(member_name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def photos_of(numbers: Iterable[int], photos: Iterable[int]) -> list[tuple[int, int]]:
    """Return (number, photo) in the order in which a folder source reads them."""
    chosen = list(photos)
    return [(number, photo) for number in numbers for photo in chosen]


def scores_of(queries: Sequence[tuple[int, int]], references: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Return the cosine of every query with every reference, in float64."""
    left = np.array([vector(*photo) for photo in queries], np.float64)
    right = np.array([vector(*photo) for photo in references], np.float64)
    return left @ right.T


def files_of(root: Path, *, but: Sequence[str] = ("lock",)) -> dict[str, bytes]:
    """Return every file below `root`, hidden ones too, by its relative name; but what a job took, which differs.

    Of a sealed file it is what is inside.
    """
    found = {}
    for path in _walk(root):
        if path.is_file() and path.name not in but and not path.name.endswith(COSTS_NAME):
            with open_file(path) as file:
                found[str(path.relative_to(root))] = file.read()
    return found


def _walk(root: Path) -> Iterator[Path]:
    yield from sorted(root.rglob("*"))
