"""RecordIO files with damaged, cut, split and odd records."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from scanner.errors import SourceError, UsageError
from scanner.records import Item
from scanner.sources import open_source

MAGIC = struct.pack("<I", 0xCED7230A)


def write(path: Path, payloads: list[bytes], tools: dict[str, Any], *, index: bool = False) -> Path:
    offsets, out = [], b""
    for payload in payloads:
        offsets.append(len(out))
        out += tools["record"](payload)
    path.write_bytes(out)
    if index:
        lines = "".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets))
        path.with_suffix(".idx").write_text(lines)
    return path


def outcomes(path: Path, **options: Any) -> list[tuple[str, str, str | None]]:
    """Return (record, reason, identity) and check that skipping is slicing."""
    source = open_source(str(path), **options)
    entries = list(source.entries())
    for skip in range(len(entries) + 2):
        assert list(source.entries(skip=skip)) == entries[skip:]
    assert source.count() in {None, len(entries)}
    return [
        (entry.uri.partition("!/")[2], "" if isinstance(entry, Item) else entry.reason.value, entry.identity)
        for entry in entries
    ]


@pytest.fixture(params=[False, True], ids=["alone", "indexed"])
def index(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_records_of_every_kind(tmp_path: Path, tools: dict[str, Any], index: bool) -> None:
    labels = struct.pack("<IfQQfff", 3, 0.0, 0, 0, 9.0, 1.0, 2.0) + b"image"
    payloads = [
        tools["labelled"](5.0, b"image"),
        tools["labelled"](0.5, b"image"),
        tools["labelled"](6.0, b""),
        b"short",
        labels,
        struct.pack("<IfQQ", 1000, 0.0, 0, 0) + b"too few labels",
        tools["labelled"](7.0, b"x" * 200),
        tools["labelled"](8.0, b"image"),
    ]

    found = outcomes(write(tmp_path / "set.rec", payloads, tools, index=index), bytes_max=100)

    assert found == [
        ("record-0", "", "5"),
        ("record-1", "", "0.5"),
        ("record-2", "empty_file", "6"),
        ("record-3", "bad_record", None),
        ("record-4", "", "9"),
        ("record-5", "bad_record", None),
        ("record-6", "too_large_file", None),
        ("record-7", "", "8"),
    ]


def test_parts_are_joined_again(tmp_path: Path, tools: dict[str, Any], index: bool) -> None:
    image = b"abcd" + MAGIC + b"efgh" + MAGIC + MAGIC + b"i" + MAGIC
    payloads = [tools["labelled"](1.0, image), tools["labelled"](2.0, MAGIC), tools["labelled"](3.0, b"plain")]
    path = write(tmp_path / "set.rec", payloads, tools, index=index)

    entries = list(open_source(str(path)).entries())

    assert [entry.data for entry in entries if isinstance(entry, Item)] == [image, MAGIC, b"plain"]
    assert [identity for _, _, identity in outcomes(path)] == ["1", "2", "3"]


def test_damaged_record_costs_itself_and_no_other(tmp_path: Path, tools: dict[str, Any], index: bool) -> None:
    payloads = [tools["labelled"](float(number), bytes([number]) * 50) for number in range(1, 6)]
    path = write(tmp_path / "set.rec", payloads, tools, index=index)
    data = bytearray(path.read_bytes())
    size = len(data) // 5
    data[size] ^= 1
    data[3 * size + 7] |= 2 << 5
    path.write_bytes(data)

    found = outcomes(path)

    assert [(reason, identity) for _, reason, identity in found] == [
        ("", "1"),
        ("bad_record", None),
        ("", "3"),
        ("bad_record", None),
        ("", "5"),
    ]


def test_record_without_its_last_part_costs_no_other(tmp_path: Path, tools: dict[str, Any], index: bool) -> None:
    split = tools["record"](tools["labelled"](1.0, b"abcd" + MAGIC + b"efgh"))
    whole = tools["record"](tools["labelled"](2.0, b"image"))
    path = tmp_path / "set.rec"
    path.write_bytes(whole + split[:-12] + whole)
    if index:
        offsets = (0, len(whole), len(whole) + len(split) - 12)
        path.with_suffix(".idx").write_text("".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets)))

    assert [(reason, identity) for _, reason, identity in outcomes(path)] == [
        ("", "2"),
        ("bad_record", None),
        ("", "2"),
    ]


def test_cut_file_gives_what_is_whole(tmp_path: Path, tools: dict[str, Any], index: bool) -> None:
    payloads = [tools["labelled"](float(number), b"x" * 48) for number in range(1, 5)]
    path = write(tmp_path / "set.rec", payloads, tools, index=index)
    path.write_bytes(path.read_bytes()[:-100])

    reasons = [reason for _, reason, _ in outcomes(path)]

    # With an index it is known how many records are lost, without one it is not.
    assert reasons == (["", "", "archive_cut", "archive_cut"] if index else ["", "", "archive_cut"])


@pytest.mark.parametrize("data", [b"", b"abc", b"<html>not found</html>", MAGIC + b"\xff" * 100, MAGIC + b"\0\1\0\0"])
def test_file_that_does_not_begin_with_a_record_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "set.rec"
    path.write_bytes(data)

    with pytest.raises(SourceError) as caught:
        open_source(str(path))

    assert str(caught.value).startswith(f"{path} is no RecordIO file: ")
    assert str(caught.value).endswith(".  Check the file, or name the source by its right suffix.")


def test_broken_index_is_refused(tmp_path: Path, tools: dict[str, Any]) -> None:
    path = write(tmp_path / "set.rec", [tools["labelled"](1.0, b"image")], tools)
    path.with_suffix(".idx").write_text("0\t0\nnonsense\n")

    with pytest.raises(SourceError) as caught:
        open_source(str(path))

    assert str(caught.value) == (
        f"{path.with_suffix('.idx')} is no index: every line should be KEY, tab, OFFSET.  "
        "Mend it, or remove it to read without."
    )


def test_records_have_no_folders(tmp_path: Path, tools: dict[str, Any]) -> None:
    path = write(tmp_path / "set.rec", [tools["labelled"](1.0, b"image")], tools)

    with pytest.raises(UsageError) as caught:
        open_source(str(path), identity_from="name")

    assert str(caught.value) == f"Records of {path} have no folders or names; their identity is their label."
