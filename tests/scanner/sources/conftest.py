"""Twenty drawn pictures, written in every format that a source reads."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

MAGIC = struct.pack("<I", 0xCED7230A)


@dataclass(frozen=True)
class Drawn:
    """One encoded picture: `name` is `PERSON/pic-NN.png`."""

    name: str
    data: bytes
    identity: str


@pytest.fixture(autouse=True)
def _tracing_ends() -> Iterator[None]:
    """A test may start `tracemalloc`; the next one is not slowed by it."""
    yield
    tracemalloc.stop()


def draw(seed: int, *, kind: str = "PNG", side: int = 24) -> bytes:
    """Return noise over a slope, encoded."""
    random = np.random.default_rng(seed)
    slope = np.linspace(0, 200, side)[:, None, None] + np.zeros((1, side, 3))
    pixels = (slope + random.integers(0, 55, (side, side, 3))).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="session")
def pictures() -> list[Drawn]:
    """Four of each of five persons, PNG and JPEG in turn, in the order of their names."""
    drawn = []
    for number in range(20):
        kind = "PNG" if number % 2 else "JPEG"
        suffix = "png" if number % 2 else "jpg"
        person = str(number // 4)
        drawn.append(Drawn(f"{person}/pic-{number:02d}.{suffix}", draw(number, kind=kind), person))
    return drawn


def write_folder(folder: Path, pictures: list[Drawn]) -> str:
    for one in pictures:
        path = folder / "set" / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.data)
    labels = [[one.name, one.identity] for one in pictures]
    (folder / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))
    (folder / "set" / "README.txt").write_text("no image")
    return "set"


def tar_bytes(members: list[tuple[str, bytes]], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def webdataset(pictures: list[Drawn]) -> list[tuple[str, bytes]]:
    """JSON before the image for every third picture, after it for the others."""
    members: list[tuple[str, bytes]] = []
    for number, one in enumerate(pictures):
        image = (one.name, one.data)
        label = (one.name.rpartition(".")[0] + ".json", json.dumps({"identity": one.identity}).encode())
        members += [label, image] if number % 3 == 0 else [image, label]
    return members


def write_tar(folder: Path, pictures: list[Drawn]) -> str:
    (folder / "set.tar").write_bytes(tar_bytes(webdataset(pictures)))
    return "set.tar"


def write_tar_gz(folder: Path, pictures: list[Drawn]) -> str:
    (folder / "set.tar.gz").write_bytes(tar_bytes(webdataset(pictures), "w:gz"))
    return "set.tar.gz"


def write_tar_set(folder: Path, pictures: list[Drawn]) -> str:
    for shard, start in enumerate((0, 7, 14)):
        part = webdataset(pictures[start : start + 7])
        (folder / f"set-{shard:02d}.tar").write_bytes(tar_bytes(part))
    return "set-{00..02}.tar"


def write_zip(folder: Path, pictures: list[Drawn]) -> str:
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for one in pictures:
            archive.writestr(one.name, one.data)
        labels = [[one.name, int(one.identity)] for one in pictures]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return "set.zip"


def write_parquet(folder: Path, pictures: list[Drawn]) -> str:
    table = pa.table({"image": [one.data for one in pictures], "identity": [one.identity for one in pictures]})
    pq.write_table(table, folder / "set.parquet", row_group_size=6)
    return "set.parquet"


def write_parquet_hf(folder: Path, pictures: list[Drawn]) -> str:
    table = pa.table(
        {
            "image": [{"bytes": one.data, "path": one.name} for one in pictures],
            "identity": pa.array([int(one.identity) for one in pictures], pa.int64()),
        }
    )
    pq.write_table(table, folder / "hf.parquet", row_group_size=8)
    return "hf.parquet"


def record(payload: bytes) -> bytes:
    """Frame one record as dmlc does: split where the magic number stands at a multiple of four."""
    cuts = [at for at in range(0, len(payload) - 3, 4) if payload[at : at + 4] == MAGIC]
    starts = [0, *[cut + 4 for cut in cuts]]
    parts = [payload[start:end] for start, end in zip(starts, [*cuts, len(payload)], strict=True)]
    out = b""
    for number, part in enumerate(parts):
        place = 0 if len(parts) == 1 else 1 if number == 0 else 3 if number == len(parts) - 1 else 2
        out += MAGIC + struct.pack("<I", place << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
    return out


def labelled(label: float, data: bytes, key: int = 0) -> bytes:
    return struct.pack("<IfQQ", 0, label, key, 0) + data


def face_records(pictures: list[Drawn]) -> list[bytes]:
    """The face-recognition convention: header, images, one record for each person."""
    persons = sorted({one.identity for one in pictures})
    images = [labelled(float(one.identity), one.data, key) for key, one in enumerate(pictures, 1)]
    end = len(pictures) + 1
    header = struct.pack("<IfQQff", 2, 0.0, 0, 0, end, end + len(persons))
    return [header, *images, *[struct.pack("<IfQQff", 2, 0.0, 0, 0, 1, 2) for _ in persons]]


def write_rec_alone(folder: Path, pictures: list[Drawn]) -> str:
    (folder / "alone.rec").write_bytes(b"".join(map(record, face_records(pictures))))
    return "alone.rec"


def write_rec(folder: Path, pictures: list[Drawn]) -> str:
    offsets, out = [], b""
    for payload in face_records(pictures):
        offsets.append(len(out))
        out += record(payload)
    (folder / "set.rec").write_bytes(out)
    lines = [f"{key}\t{offset}\n" for key, offset in enumerate(offsets)]
    (folder / "set.idx").write_text("".join(lines))
    return "set.rec"


Writer = Callable[[Path, list[Drawn]], str]
WRITERS: dict[str, Writer] = {
    "folder": write_folder,
    "tar": write_tar,
    "tar_gz": write_tar_gz,
    "tar_set": write_tar_set,
    "zip": write_zip,
    "parquet": write_parquet,
    "parquet_hf": write_parquet_hf,
    "rec": write_rec,
    "rec_alone": write_rec_alone,
}


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, Any]]:
    """A bucket `bucket` on a local server."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "KEYID", "secret": "TOPSECRET", "endpoint_url": f"http://{host}:{port}"}
    previous = os.environ.get("AWS_DEFAULT_REGION")
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    s3fs.S3FileSystem(**options).mkdir("bucket")
    yield options
    server.stop()
    if previous is None:
        del os.environ["AWS_DEFAULT_REGION"]
    else:
        os.environ["AWS_DEFAULT_REGION"] = previous


@pytest.fixture
def tools() -> dict[str, Any]:
    """The writers above for tests that build something of their own."""
    return {
        "draw": draw,
        "tar_bytes": tar_bytes,
        "webdataset": webdataset,
        "record": record,
        "labelled": labelled,
        "face_records": face_records,
        "writers": WRITERS,
    }


@pytest.fixture(params=list(WRITERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def write(
    kind: str, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[list[Drawn]], tuple[str, dict[str, Any]]]:
    """Write pictures in this format at this place; returns what to name and the storage options."""
    import fsspec

    def write_there(pictures: list[Drawn]) -> tuple[str, dict[str, Any]]:
        name = WRITERS[kind](tmp_path, pictures)
        if place == "local":
            return str(tmp_path / name), {}
        options = request.getfixturevalue("s3_options") if place == "s3" else {}
        root = f"s3://bucket/{kind}" if place == "s3" else f"memory://{kind}"
        system, path = fsspec.core.url_to_fs(root, **options)
        if system.exists(path):
            system.rm(path, recursive=True)
        for file in sorted(tmp_path.rglob("*")):
            if file.is_file():
                system.pipe_file(f"{path}/{file.relative_to(tmp_path).as_posix()}", file.read_bytes())
        return f"{root}/{name}", options

    return write_there
