"""The bed's files: WebDataset tars whose bytes depend on the pictures alone."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.membership.faces import Crowd, person_name

Entry = tuple[str, bytes, str | None]
"""Name without its suffix, encoded picture, identity."""


def encode(pixels_rgb_u8: NDArray[np.uint8], *, suffix: str) -> bytes:
    """Return the picture as "png" (no loss) or "jpg" (quality 90)."""
    buffer = io.BytesIO()
    if suffix == "png":
        Image.fromarray(pixels_rgb_u8).save(buffer, "PNG")
    else:
        Image.fromarray(pixels_rgb_u8).save(buffer, "JPEG", quality=90, subsampling=0, optimize=True)
    return buffer.getvalue()


def write_samples(path: Path, samples: NDArray[np.uint8], *, suffix: str = "png") -> None:
    """Write generated samples (n, side, side, 3), without identities."""
    _write(path, ((f"sample-{row:04d}", encode(x, suffix=suffix), None) for row, x in enumerate(samples)), suffix)


def write_photos(path: Path, *crowds: tuple[Crowd, NDArray[np.uint8]]) -> None:
    """Write crowds, each with its photos (people, photos, side, side, 3), the identity of each photo beside it."""
    _write(
        path,
        (
            (f"{person_name(number)}-{photo:04d}", encode(photos[row, column], suffix="png"), person_name(number))
            for crowd, photos in crowds
            for row, number in enumerate(crowd.numbers)
            for column, photo in enumerate(crowd.photos)
        ),
        "png",
    )


def _write(path: Path, entries: Iterable[Entry], suffix: str) -> None:
    partial = path.with_suffix(".tmp")
    with tarfile.open(partial, "w") as tar:
        for name, data, identity in entries:
            _add(tar, f"{name}.{suffix}", data)
            if identity is not None:
                _add(tar, f"{name}.json", json.dumps({"identity": identity}).encode())
    partial.replace(path)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time 0, nobody's
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
