"""Sources made by somebody who means harm: what comes of each, and what it may cost.

The figures beside the limits are what the same file cost before there was a limit.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.errors import SourceError
from scanner.images import decode_item, encode_png
from scanner.records import Item, Picture, Reason, Reject
from scanner.sources import open_source
from scanner.sources.embeddings import open_embeddings

PNG = encode_png(np.zeros((12, 12, 3), np.uint8))
MAGIC = struct.pack("<I", 0xCED7230A)


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    yield
    tracemalloc.stop()


def outcome(entry: Item | Reject) -> str:
    return entry.reason.value if isinstance(entry, Reject) else "item"


def tar_member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    header = tarfile.TarInfo(name)
    header.size, header.type = len(data), kind
    return header.tobuf() + data + b"\0" * (-len(data) % 512)


def record(payload: bytes, *, length: int | None = None) -> bytes:
    return MAGIC + struct.pack("<I", len(payload) if length is None else length) + payload + b"\0" * (-len(payload) % 4)


def labelled(data: bytes, *, flag: int = 0) -> bytes:
    return struct.pack("<IfQQ", flag, 3.0, 0, 0) + data


# --- archives that unpack to more than they are -----------------------------------------------------------------------------


def test_tables_of_a_gzipped_tar_are_not_collected(tmp_path: Path) -> None:
    """Forty tables of a megabyte in 180 kB; each used to stay in memory (773 MiB for eight hundred)."""
    tables = b""
    for number in range(40):
        body = b" k%d=" % number + b"A" * 1_000_000 + b"\n"
        tables += tar_member("x", b"%d" % (len(body) + 7) + body, tarfile.XHDTYPE)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(tables + tar_member("a.png", PNG) + bytes(1024), 1))
    del tables
    tracemalloc.start()

    entries = list(open_source(str(path)).entries())

    assert [entry.uri for entry in entries] == [f"{path}!/a.png"]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20


def test_label_files_of_one_key_are_counted(tmp_path: Path) -> None:
    label = json.dumps({"identity": "b" * 900}).encode()
    members = b"".join(tar_member(f"a.{number}.json", label) for number in range(500))
    path = tmp_path / "labels.tar"
    path.write_bytes(members + tar_member("a.png", PNG) + bytes(1024))

    entries = list(open_source(str(path)).entries())

    assert [outcome(entry) for entry in entries] == ["bad_record"] * 436 + ["item"]
    assert entries[0].detail == "one key has more than 64 label files"  # type: ignore[union-attr]


def test_names_of_a_megabyte_are_cut(tmp_path: Path) -> None:
    long = tar_member("././@LongLink", b"a" * 1_000_000 + b".png\0", tarfile.GNUTYPE_LONGNAME)
    path = tmp_path / "long.tar"
    path.write_bytes(long + tar_member("x", PNG) + tar_member("b.png", PNG) + bytes(1024))

    entries = list(open_source(str(path)).entries())

    assert [len(entry.uri) < 5000 for entry in entries] == [True] * len(entries)
    assert entries[-1].uri == f"{path}!/b.png"


def test_an_archive_in_an_archive_stays_closed(tmp_path: Path) -> None:
    inner = gzip.compress(tar_member("a.png", PNG) + bytes(1024))
    path = tmp_path / "outer.tar.gz"
    path.write_bytes(gzip.compress(tar_member("inner.tar.gz", inner) + tar_member("b.png", PNG) + bytes(1024)))

    assert [entry.uri for entry in open_source(str(path)).entries()] == [f"{path}!/b.png"]


def test_a_member_that_unpacks_to_more_than_it_says_is_damaged(tmp_path: Path) -> None:
    """A gigabyte behind a declared kilobyte: not more than the declared size is ever unpacked."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(64 << 20))
        archive.writestr("b.png", PNG)
    data = path.read_bytes().replace(struct.pack("<I", 64 << 20), struct.pack("<I", 1024))
    path.write_bytes(data)
    tracemalloc.start()

    entries = list(open_source(str(path)).entries())

    assert [outcome(entry) for entry in entries] == ["bad_record", "item"]
    assert tracemalloc.get_traced_memory()[1] < 4 << 20


def test_a_zip_of_members_without_a_name_is_read(tmp_path: Path) -> None:
    """The standard library's `is_dir` raised IndexError."""
    path = tmp_path / "nameless.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x")
        archive.writestr("b.png", PNG)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 46] = 0  # where a name ends for the standard library
    path.write_bytes(data)

    assert [entry.uri for entry in open_source(str(path)).entries()] == [f"{path}!/b.png"]


def test_a_png_of_a_few_bytes_is_no_picture_of_a_terabyte() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    def png(width: int, height: int, pixels: bytes) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")

    vast = decode_item(Item("x", png(2**31 - 1, 2**31 - 1, b"")))
    more_than_it_needs = decode_item(Item("x", png(8, 8, zlib.compress(bytes(200 << 20), 9))))

    assert isinstance(vast, Reject)
    assert vast.reason is Reason.TOO_MANY_PIXELS
    assert isinstance(more_than_it_needs, Picture)
    assert more_than_it_needs.pixels_rgb_u8.shape == (8, 8, 3)


# --- RecordIO ----------------------------------------------------------------------------------------------------------------


def test_a_record_of_a_million_labels_is_not_unpacked(tmp_path: Path) -> None:
    """Each label was a Python number: 667 MiB for a record of 60."""
    path = tmp_path / "labels.rec"
    path.write_bytes(record(labelled(PNG)) + record(labelled(struct.pack("<f", 5.0) * 1_000_000 + PNG, flag=1_000_000)))
    source = open_source(str(path))
    tracemalloc.start()

    entries = list(source.entries())

    assert [(outcome(entry), entry.identity) for entry in entries] == [("item", "3"), ("item", "5")]
    assert tracemalloc.get_traced_memory()[1] < 16 << 20


def test_many_damaged_records_are_passed_quickly(tmp_path: Path) -> None:
    """To find the next record a megabyte was read for each of them: 25 s for a megabyte of eight bytes each."""
    path = tmp_path / "damaged.rec"
    path.write_bytes(record(labelled(PNG)) + (MAGIC + struct.pack("<I", 1 << 29)) * 2000 + bytes(4 << 20))
    read = 0

    class Counting(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    from scanner.sources.recordio_frames import FrameReader, RecordDamagedError

    with Counting(io.FileIO(path)) as file:
        frames = FrameReader(file, path.stat().st_size)
        frames.read_record(1 << 20)
        for _ in range(1000):
            with pytest.raises(RecordDamagedError):
                frames.read_record(1 << 20)
            frames.resync()

    assert read < 5 << 20


@pytest.mark.parametrize("length", [(1 << 29) - 1, 1 << 28])
def test_a_record_longer_than_its_file_is_a_cut(tmp_path: Path, length: int) -> None:
    path = tmp_path / "long.rec"
    path.write_bytes(record(labelled(PNG)) + record(labelled(PNG), length=length))

    assert [outcome(entry) for entry in open_source(str(path)).entries()] == ["item", "archive_cut"]


@pytest.mark.parametrize("line", ["1\t-8", "1\t99999999999999999999999", "1\t18446744073709551615"])
def test_an_index_that_leads_out_of_its_file_is_a_cut(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.rec").write_bytes(record(labelled(PNG)))
    (tmp_path / "train.idx").write_text(line)

    assert [outcome(entry) for entry in open_source(str(tmp_path / "train.rec")).entries()] == ["archive_cut"]


# --- Parquet -----------------------------------------------------------------------------------------------------------------


def test_a_dictionary_of_one_large_value_is_not_multiplied(tmp_path: Path) -> None:
    """2 kB that stand for 64 values of 8 MiB: all of a block were in memory at once."""
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([bytes(8 << 20)]))
    schema = pa.schema([("image", values.type)])
    path = tmp_path / "bomb.parquet"
    with pq.ParquetWriter(
        path, schema, compression="zstd", store_schema=False, dictionary_pagesize_limit=1 << 30
    ) as writer:
        writer.write_table(pa.table({"image": values}, schema=schema))
    assert path.stat().st_size < 4000
    before = pa.total_allocated_bytes()
    most = 0

    for entry in open_source(str(path)).entries():
        assert isinstance(entry, Item)
        assert len(entry.data) == 8 << 20
        most = max(most, pa.total_allocated_bytes() - before)

    assert most < 64 << 20


def test_more_rows_than_bytes_are_refused(tmp_path: Path) -> None:
    """Each of the rows became a reject of its own: a footer can claim any number of them."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"image": pa.nulls(2_000_000, pa.binary())}), path, row_group_size=2_000_000)
    size = path.stat().st_size

    with pytest.raises(SourceError, match=rf"its footer tells of 2000000 rows, and all of it has {size} bytes"):
        open_source(str(path))

    empty = pa.FixedSizeListArray.from_arrays(pa.nulls(400_000, pa.float32()), 2)
    pq.write_table(pa.table({"embedding": empty}), path, row_group_size=200_000)
    with pytest.raises(SourceError, match="its footer tells of 200000 rows"):
        open_embeddings(str(path))


def test_names_that_are_no_text_are_rejects_or_refused(tmp_path: Path) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.eye(4, dtype=np.float32).reshape(-1)), 4)
    broken = pa.Array.from_buffers(pa.string(), 4, pa.array([b"a", b"\xff", b"c", b"d"]).buffers())
    pq.write_table(pa.table({"embedding": vectors, "identity": broken}), tmp_path / "v.parquet")
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    pq.write_table(pa.table({"id": broken}), tmp_path / "v.ids.parquet")

    (block,) = open_embeddings(str(tmp_path / "v.parquet")).batches()
    assert [reject.detail for reject in block.rejects] == [f"row {n}: row group 0 cannot be read" for n in range(4)]
    (tmp_path / "v.parquet").unlink()
    with pytest.raises(SourceError, match=r"v\.ids\.parquet names rows by what is no text"):
        open_embeddings(str(tmp_path / "v.npy"))


@pytest.mark.parametrize("header", ["{'descr': '<i8', 'fortran_order': False, 'shape': (((((", "(" * 3000, "-" * 9000])
def test_ids_whose_header_is_no_literal_are_refused(tmp_path: Path, header: str) -> None:
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    (tmp_path / "v.ids.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode())

    with pytest.raises(SourceError, match=r"v\.ids\.npy is no array of ids"):
        open_embeddings(str(tmp_path / "v.npy"))


# --- folders -----------------------------------------------------------------------------------------------------------------


NAMES = [
    "a\nb.png",
    "\x1b[2J\x1b]0;owned\x07.png",
    "evil\u202egnp.png",
    "..png.png",
    "c\x9b31m.png",
    " .png",
    "-rf.png",
]


def test_names_that_a_terminal_would_obey_are_written_out(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [[name, f"\x1b[1m{name}"] for name in NAMES]}))

    entries = list(open_source(str(tmp_path)).entries())

    assert sorted(entry.uri for entry in entries) == sorted(
        f"{tmp_path}/{name}"
        for name in (
            r"a\nb.png", r"\x1b[2J\x1b]0;owned\x07.png", r"evil\u202egnp.png", "..png.png", r"c\x9b31m.png", " .png", "-rf.png"
        )
    )  # fmt: skip
    assert all(entry.identity is not None and entry.identity.isprintable() for entry in entries)
    assert all(decode_item(entry) for entry in entries if isinstance(entry, Item))


def test_pipes_devices_and_loops_do_not_hang(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(PNG)
    os.mkfifo(tmp_path / "set" / "pipe.png")
    (tmp_path / "set" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "set" / "self.png").symlink_to("self.png")
    (tmp_path / "set" / "up").symlink_to("..")
    (tmp_path / "set" / "here").symlink_to(".")

    entries = {entry.uri.rpartition("/")[2]: outcome(entry) for entry in open_source(str(tmp_path / "set")).entries()}

    others = dict.fromkeys(("pipe.png", "zero.png", "self.png", "up", "here"), "not_a_file")
    assert entries == {"a.png": "item", **others}


def test_a_file_that_becomes_something_else_while_it_is_read(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.png").write_bytes(PNG)
    source = open_source(str(tmp_path), bytes_max=1000)

    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")  # opening it would wait for a writer
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").write_bytes(PNG * 100)
    (tmp_path / "d.png").write_bytes(b"")
    (tmp_path / "e.png").write_bytes(PNG[:20])
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(source.entries()), daemon=True)
    reader.start()
    reader.join(20)

    assert [outcome(entry) for entry in found] == ["unreadable", "unreadable", "too_large_file", "empty_file", "item"]
    cut = decode_item(found[-1])
    assert isinstance(cut, Reject)
    assert cut.reason is Reason.TRUNCATED
