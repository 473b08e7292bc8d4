"""Shards of generated images on disk: tar as WebDataset writes it, or Parquet; complete or absent, the same bytes always."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from indexes.atomic import atomic_path
from scanner import artefacts

Form = Literal["tar", "parquet"]
ROW_GROUP_IMAGES: Final = 50
"""Rows of a Parquet shard that a reader has in memory together."""
IMAGES: Final = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("label", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Made:
    """One image: its number, its PNG bytes (None where the generator put out none), its class if there are classes."""

    number: int
    png: bytes | None
    label: int | None = None


class _Writer(Protocol):
    def write(self, image: Made, png: bytes) -> None:
        """Append one image."""
        ...

    def close(self) -> None:
        """End the file."""
        ...


def shard_name(number: int, form: Form) -> str:
    """Return what shard `number` is called."""
    return f"images-{number:06d}.{form}"


def write_shard(path: Path, form: Form, images: Iterable[Made], *, fingerprint: str) -> tuple[int, list[int]]:
    """Write one shard, readable by its owner alone.

    Args:
        path: its final name; an existing file is replaced.
        form: "tar" or "parquet".
        images: in the order of their numbers; read one after the other, never all at once.
        fingerprint: of the generator.

    Returns:
        How many images it holds (with none, there is no file), and the numbers of those that are none.
    """
    bad: list[int] = []
    count = 0
    good = _good(images, bad)
    head = next(good, None)
    if head is None:
        return 0, bad
    with atomic_path(path) as temporary:
        temporary.touch(mode=0o600)
        writer: _Writer = _Tar(temporary) if form == "tar" else _Parquet(temporary, fingerprint)
        try:
            for image, png in chain([head], good):
                writer.write(image, png)
                count += 1
        finally:
            writer.close()
    return count, bad


def _good(images: Iterable[Made], bad: list[int]) -> Iterator[tuple[Made, bytes]]:
    """Yield the images that there are; the numbers of the others go into `bad`."""
    for image in images:
        if image.png is None:
            bad.append(image.number)
        else:
            yield image, image.png


class _Tar:
    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by `close`

    def write(self, image: Made, png: bytes) -> None:
        member = tarfile.TarInfo(f"{image.number:06d}.png")
        member.size, member.mode = len(png), 0o600
        self._tar.addfile(member, io.BytesIO(png))

    def close(self) -> None:
        self._tar.close()


class _Parquet:
    def __init__(self, path: Path, fingerprint: str) -> None:
        self._schema = artefacts.stamped(IMAGES, "generated", fingerprint=fingerprint)
        # Nothing is gained by compressing PNG again.
        self._writer = pq.ParquetWriter(path, self._schema, compression="none", write_page_checksum=True)
        self._rows: list[dict[str, Any]] = []

    def write(self, image: Made, png: bytes) -> None:
        self._rows.append({"image": png, "number": image.number, "label": image.label})
        if len(self._rows) == ROW_GROUP_IMAGES:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows = []
