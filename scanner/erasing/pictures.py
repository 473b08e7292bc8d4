"""Pictures that a generator or an inversion made, in tars: those of the erased go, and the rest stays byte for byte."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexes.atomic import atomic_path, encode_json, write_bytes
from indexes.sealed import create, open_file
from scanner import artefacts
from scanner.erasing.known import Known
from scanner.jobs.generating.generated_shards import ROW_GROUP_IMAGES
from scanner.jobs.scanning.evidence import file_sha256
from scanner.records import content_id

_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a tar: its member's name without suffix, the hash of its bytes, the identity beside it."""

    stem: str
    item_id: str
    identity: str | None


def pictures_of(path: Path) -> Iterator[Picture]:
    """Yield the pictures of a tar; raises OSError or tarfile.TarError where it cannot be read."""
    labels: dict[str, str | None] = {}
    found: list[tuple[str, str]] = []
    with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            stem, _, suffix = member.name.rpartition(".")
            data = _read(tar, member)
            if suffix == "json":
                labels[stem] = json.loads(data).get("identity")
            else:
                found.append((stem, content_id(data)))
    yield from (Picture(stem, item, labels.get(stem)) for stem, item in found)


def erased_stems(path: Path, known: Known) -> tuple[set[str], set[str]]:
    """Return the members that go, and the hashes of their pictures: of a reconstruction, another one than the photo's."""
    stems, items = set[str](), set[str]()
    for one in pictures_of(path):
        is_named = one.identity in known.labels or one.stem in known.items or _uris(path, one.stem, known)
        if is_named or one.item_id in known.items:
            stems.add(one.stem)
            items.add(one.item_id)
    return stems, items


def rewrite_tar(path: Path, stems: set[str]) -> None:
    """Write a tar again without some members; without any left, remove it."""
    kept = 0
    with (
        atomic_path(path) as temporary,
        open_file(path) as source,
        create(temporary) as file,
        tarfile.open(fileobj=source, mode="r:") as old,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for member in old:
            if member.name.rpartition(".")[0] not in stems:
                new.addfile(member, io.BytesIO(_read(old, member)))
                kept += 1
    if not kept:
        path.unlink()


def choose_images(table: pa.Table, known: Known) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which rows of a table with a column `image` hold an erased picture."""
    return np.array([content_id(data) in known.items for data in table["image"].to_pylist()], np.bool_)


def rewrite_images(path: Path, known: Known) -> None:
    """Write a Parquet shard of generated pictures again, without the erased."""
    with artefacts.open_artefact(path, "generated") as old, atomic_path(path) as temporary:
        schema = old.schema_arrow
        with pq.ParquetWriter(temporary, schema, compression="none", write_page_checksum=True) as new:
            for batch in old.iter_batches(batch_size=ROW_GROUP_IMAGES):
                table = pa.Table.from_batches([batch])
                kept = table.filter(pa.array(~choose_images(table, known)))
                if kept.num_rows:
                    new.write_table(kept)


def count_again(path: Path, lost: Collection[str]) -> None:
    """Correct what `generated.json` says of the shards that lost pictures; the same again changes nothing."""
    document: dict[str, Any] = artefacts.read_json(path)
    shards = []
    for shard in document.get("shards", ()):
        file = path.parent / shard["name"]
        if shard["name"] in lost and file.is_file():
            images = (
                sum(1 for _ in pictures_of(file))
                if file.suffix == ".tar"
                else artefacts.open_parquet(file).metadata.num_rows
            )
            shard = {**shard, "images": images, "bytes": file.stat().st_size, "sha256": file_sha256(file)}  # noqa: PLW2901
        if file.is_file():
            shards.append(shard)
    if "shards" in document and shards != document["shards"]:
        write_bytes(path, encode_json({**document, "shards": shards}))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.size <= _BYTES_MAX else None
    if file is None:
        raise tarfile.ReadError("a member is no file, or larger than 1 GiB")
    return file.read()


def _uris(path: Path, stem: str, known: Known) -> bool:
    """True when the picture was asked for by its place, from whatever folder the scan was started."""
    ending = f"{path.parent.name}/{path.name}!/{stem}.png"
    return any(uri == ending or uri.endswith(f"/{ending}") for uri in known.uris)
