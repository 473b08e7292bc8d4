"""Zips that are cut, hostile or merely odd."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from scanner.errors import SourceError
from scanner.records import Item
from scanner.sources import open_source


def write(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def outcomes(path: Path, **options: Any) -> list[tuple[str, str, str]]:
    return [
        (entry.uri.partition("!/")[2], *(("", "") if isinstance(entry, Item) else (entry.reason.value, entry.detail)))
        for entry in open_source(str(path), **options).entries()
    ]


def patched(path: Path, name: str, *, local: tuple[int, bytes] | None, central: tuple[int, bytes] | None) -> None:
    """Overwrite header fields of one member: (offset in the header, bytes)."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        info = archive.getinfo(name)
        central_at = data.index(b"PK\1\2", archive.start_dir)
        while data[central_at + 46 :][: len(name)] != name.encode():
            central_at = data.index(b"PK\1\2", central_at + 4)
    for start, patch in ((info.header_offset, local), (central_at, central)):
        if patch:
            data[start + patch[0] : start + patch[0] + len(patch[1])] = patch[1]
    path.write_bytes(data)


def test_bad_members_are_rejects_between_good_ones(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write(
        tmp_path / "set.zip",
        ("1.png", b"good"),
        ("secret.png", b"data"),
        ("../up.png", b"data"),
        ("/abs.png", b"data"),
        ("a\\..\\up.png", b"data"),
        (link, b"/etc/passwd"),
        ("__MACOSX/._1.png", b"no image"),
        ("notes.txt", b"no image"),
        ("empty.png", b""),
        ("large.png", b"x" * 5000),
        ("method.png", b"data"),
        ("crc.png", b"data"),
        ("2.png", b"good"),
    )
    patched(path, "secret.png", local=(6, b"\1\0"), central=(8, b"\1\0"))
    patched(path, "method.png", local=(8, b"\x0e\0"), central=(10, b"\x0e\0"))
    patched(path, "crc.png", local=None, central=(16, b"\0\0\0\0"))

    assert outcomes(path, bytes_max=4000) == [
        ("1.png", "", ""),
        ("secret.png", "unreadable", "the member is encrypted"),
        ("../up.png", "unsafe_name", "a name that leads out of the archive or cannot be printed"),
        ("abs.png", "unsafe_name", "a name that leads out of the archive or cannot be printed"),
        ("a\\..\\up.png", "unsafe_name", "a name that leads out of the archive or cannot be printed"),
        ("link.png", "not_a_file", "a link"),
        ("empty.png", "empty_file", "not a single byte"),
        ("large.png", "too_large_file", "5000 bytes, at most 4000 are read"),
        ("method.png", "unreadable", "compression method 14 is not read; store or deflate"),
        ("crc.png", "bad_record", "the member is damaged (BadZipFile)"),
        ("2.png", "", ""),
    ]


def test_member_that_lies_about_its_size_is_read_no_further(tmp_path: Path) -> None:
    path = write(tmp_path / "set.zip", ("1.png", bytes(300 << 20)), ("2.png", b"good"), method=zipfile.ZIP_DEFLATED)
    patched(path, "1.png", local=(22, struct.pack("<I", 1000)), central=(24, struct.pack("<I", 1000)))
    tracemalloc.start()

    found = outcomes(path)

    assert found == [("1.png", "bad_record", "the member is damaged (BadZipFile)"), ("2.png", "", "")]
    assert tracemalloc.get_traced_memory()[1] < 4 << 20


def test_labels_of_every_kind(tmp_path: Path) -> None:
    labels = b'{"labels": [["a/1.png", 3], ["2.png", [0, 1]], ["3.png", "anna"]]}'
    path = write(tmp_path / "set.zip", *[(name, b"x") for name in ("a/1.png", "2.png", "3.png", "4.png")])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("dataset.json", labels)

    assert [entry.identity for entry in open_source(str(path)).entries()] == ["3", "[0,1]", "anna", None]
    assert [entry.identity for entry in open_source(str(path), identity_from="folder").entries()] == [
        "a",
        None,
        None,
        None,
    ]


def test_labels_of_null_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "set.zip", ("1.png", b"x"), ("dataset.json", b'{"labels": null}'))

    assert [entry.identity for entry in open_source(str(path)).entries()] == [None]


def test_broken_labels_stop_before_any_work(tmp_path: Path) -> None:
    path = write(tmp_path / "set.zip", ("1.png", b"x"), ("dataset.json", b'{"labels": [["a"]]}'))

    with pytest.raises(SourceError) as caught:
        open_source(str(path))

    assert str(caught.value) == (
        f'The labels of {path}!/dataset.json cannot be read: dataset.json should be {{"labels": [[name, label], ...]}}.'
        "  Mend it, or take no identities from it (identity_from 'nothing' or 'folder')."
    )


def test_cut_zip_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "set.zip", ("1.png", b"x" * 1000))
    path.write_bytes(path.read_bytes()[:900])

    with pytest.raises(SourceError) as caught:
        open_source(str(path))

    assert str(caught.value) == (
        f"{path} is no zip archive, or it is cut: the directory that should stand at its end cannot be read.  "
        "Fetch it again, or name the source by its right suffix."
    )
