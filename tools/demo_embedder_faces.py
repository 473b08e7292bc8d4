"""Drawn crops for training and testing the demo embedder, kept on disk in blocks.

Each block file holds the photos of `BLOCK` people and is written whole or not at all,
so an interrupted drawing goes on where it stopped. The folder name holds a fingerprint
of the drawing itself: if the pictures change, old blocks are not found.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from scanner.world.draw import face_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BLOCK = 50
SIDE_PX = 56  # the network halves its 112 px input first, so the cache holds halves


@dataclass(frozen=True, slots=True)
class Crowd:
    """A set of drawn photos: people `first` .. `first + people`, each `photos` times."""

    world_seed: int
    people: int
    photos: int
    first: int = 0


def drawing_fingerprint() -> str:
    """Hash a few drawn crops: 12 hex digits that change when the pictures do."""
    digest = hashlib.sha256()
    for number in range(12):
        digest.update(face_pixels(0, number, 0).tobytes())
    return digest.hexdigest()[:12]


def halve(crops_rgb_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average 2 x 2 pixels: uint8 (n, 112, 112, 3) to (n, 56, 56, 3)."""
    n, high, wide, channels = crops_rgb_u8.shape
    quads = crops_rgb_u8.reshape(n, high // 2, 2, wide // 2, 2, channels)
    summed = quads.astype(np.uint16).sum(axis=(2, 4))
    halved: NDArray[np.uint8] = ((summed + 2) // 4).astype(np.uint8)
    return halved


def read_crowd(crowd: Crowd, cache: Path, *, processes: int = 2) -> NDArray[np.uint8]:
    """Read a crowd from the cache, drawing what is missing.

    Returns:
        uint8 RGB (people, photos, 56, 56, 3).
    """
    folder = cache / f"{drawing_fingerprint()}-world{crowd.world_seed}-{crowd.photos}photos"
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(crowd.first, crowd.first + crowd.people, BLOCK)
    last = crowd.first + crowd.people
    jobs = [
        (
            crowd.world_seed,
            start,
            min(start + BLOCK, last),
            crowd.photos,
            _block(folder, start, min(start + BLOCK, last)),
        )
        for start in starts
    ]
    missing = [job for job in jobs if not job[4].exists()]
    if missing:
        _draw_missing(missing, processes)
    return np.concatenate([np.load(path, allow_pickle=False) for *_, path in jobs])


def _block(folder: Path, start: int, stop: int) -> Path:
    return folder / f"people-{start:06d}-{stop:06d}.npy"


def _draw_missing(jobs: list[tuple[int, int, int, int, Path]], processes: int) -> None:
    began = time.monotonic()
    if processes == 1 or len(jobs) == 1:
        for job in jobs:
            _draw_block(job)
        return
    # spawn, not fork: a forked child inherits half-alive OpenCV and torch threads
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(_draw_block, jobs), start=1):
            if done % 20 == 0 or done == len(jobs):
                spent = time.monotonic() - began
                print(f"drawn {done}/{len(jobs)} blocks in {spent:.0f} s", file=sys.stderr)


def _draw_block(job: tuple[int, int, int, int, Path]) -> None:
    world_seed, start, stop, photos, path = job
    cv2.setNumThreads(1)
    crops = np.empty((stop - start, photos, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    for place, number in enumerate(range(start, stop)):
        full = np.stack([face_pixels(world_seed, number, photo) for photo in range(photos)])
        crops[place] = halve(full)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    with partial.open("wb") as file:
        np.save(file, crops, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
