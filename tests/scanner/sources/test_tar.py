"""Tars that are cut, hostile or merely odd."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from scanner.errors import SourceError
from scanner.records import Item, Reason, Reject
from scanner.sources import open_source

Outcome = tuple[str, str, str | None]


def outcomes(path: Path, **options: Any) -> list[Outcome]:
    """Return (member, reason, identity) of every entry."""
    return [
        (entry.uri.partition("!/")[2], "" if isinstance(entry, Item) else entry.reason.value, entry.identity)
        for entry in open_source(str(path), **options).entries()
    ]


def write(path: Path, *members: tuple[str | tarfile.TarInfo, bytes], end: bool = True, **how: Any) -> Path:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **how) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) or info.size
            tar.addfile(info, io.BytesIO(data))
        length = tar.offset
    path.write_bytes(out.getvalue() if end else out.getvalue()[:length])
    return path


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def test_links_devices_and_unsafe_names_are_rejects(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.tar",
        ("./a/1.png", b"good"),
        special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard.png", tarfile.LNKTYPE, "a/1.png"),
        special("null.png", tarfile.CHRTYPE),
        special("folder", tarfile.DIRTYPE),
        ("../up.png", b"bad"),
        ("/etc/abs.png", b"bad"),
        ("a/../../up.png", b"bad"),
        ("C:\\win.png", b"bad"),
        ("bell\a.png", b"bad"),
        ("notes.txt", b"no image"),
        ("._1.png", b"what macOS leaves behind"),
        ("empty.png", b""),
        ("2.png", b"good"),
    )

    assert [(name, reason) for name, reason, _ in outcomes(path)] == [
        ("a/1.png", ""),
        ("link.png", "not_a_file"),
        ("hard.png", "not_a_file"),
        ("null.png", "not_a_file"),
        ("../up.png", "unsafe_name"),
        ("etc/abs.png", "unsafe_name"),
        ("a/../../up.png", "unsafe_name"),
        ("C:\\win.png", "unsafe_name"),
        ("bell\\x07.png", "unsafe_name"),
        ("empty.png", "empty_file"),
        ("2.png", ""),
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_with_long_and_foreign_names(tmp_path: Path, form: int) -> None:
    names = ["a" * 90 + "/" + "b" * 60 + ".png", "ünï.png"]
    if form != tarfile.USTAR_FORMAT:
        names.append("x/" * 300 + "deep.png")

    path = write(tmp_path / "set.tar", *[(name, b"image") for name in names], format=form)

    assert [name for name, _, _ in outcomes(path)] == names


def test_labels_come_before_after_or_not_at_all(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.tar",
        ("1.json", b'{"identity": "anna"}'),
        ("1.jpg", b"image"),
        ("2.jpg", b"image"),
        ("2.json", b'{"identity": 7}'),
        ("3.jpg", b"image"),
        ("4.jpg", b"image"),
        ("4.seg.png", b"image"),
        ("4.cls", b"5\n"),
        ("5.jpg", b"image"),
        ("5.json", b'{"identity": ["a"]}'),
        ("6.7.jpg", b"image"),
        ("6.7.json", b'{"identity": "dots"}'),
    )

    assert [(name, identity) for name, _, identity in outcomes(path)] == [
        ("1.jpg", "anna"),
        ("2.jpg", "7"),
        ("3.jpg", None),
        ("4.jpg", "5"),
        ("4.seg.png", "5"),
        ("5.jpg", None),
        ("6.7.jpg", "dots"),
    ]


@pytest.mark.parametrize("label", [b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"identity": "%s"}' % (b"x" * 1001)])
def test_broken_label_is_a_reject_and_its_image_is_kept(tmp_path: Path, label: bytes) -> None:
    path = write(tmp_path / "set.tar", ("1.jpg", b"image"), ("1.json", label), ("2.jpg", b"image"))

    assert outcomes(path) == [("1.jpg", "", None), ("1.json", "bad_record", None), ("2.jpg", "", None)]


def test_many_images_of_one_key_wait_for_no_label_for_ever(tmp_path: Path) -> None:
    members = [(f"frame.{number:03d}.jpg", b"image") for number in range(100)]
    path = write(tmp_path / "set.tar", *members, ("frame.099.json", b'{"identity": "last"}'))

    found = outcomes(path)

    assert [name for name, _, _ in found] == [name for name, _ in members]
    assert [identity for _, _, identity in found] == [None] * 99 + ["last"]


@pytest.mark.parametrize("packed", [False, True])
def test_everything_before_a_cut_is_delivered(tmp_path: Path, tools: dict[str, Any], packed: bool) -> None:
    members = [(f"{number}.png", bytes([number]) * 700) for number in range(4)]
    whole = tools["tar_bytes"](members)[: 4 * 1536]
    path = tmp_path / "set.tar"

    for length in range(1537, len(whole), 97):
        cut = whole[:length]
        path.write_bytes(gzip.compress(cut)[:-8] if packed else cut)
        source = open_source(str(path))
        entries = list(source.entries())

        *items, last = entries
        complete = sum(length >= start * 1536 + 1212 for start in range(4))
        assert [item.data for item in items if isinstance(item, Item)] == [data for _, data in members[:complete]]
        assert isinstance(last, Reject)
        assert (last.reason, last.uri) == (Reason.ARCHIVE_CUT, str(path))
        for skip in range(len(entries) + 1):
            assert list(source.entries(skip=skip)) == entries[skip:]


def test_missing_end_mark_is_a_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "set.tar", ("1.png", b"image"), end=False)

    *_, last = open_source(str(path)).entries()

    assert last == Reject(
        str(path),
        Reason.ARCHIVE_CUT,
        "the archive ends, or can no longer be read, without its end mark (at byte 1024)",
    )


def test_damaged_header_ends_what_can_be_read(tmp_path: Path, tools: dict[str, Any]) -> None:
    data = bytearray(tools["tar_bytes"]([("1.png", b"image"), ("2.png", b"image"), ("3.png", b"image")]))
    data[1024 + 150] ^= 0xFF
    (tmp_path / "set.tar").write_bytes(data)

    first, last = open_source(str(tmp_path / "set.tar")).entries()

    assert isinstance(first, Item)
    assert isinstance(last, Reject)
    assert last.detail == "the archive ends, or can no longer be read, at a damaged header (at byte 1536)"


def test_archives_one_behind_the_other_are_read_on(tmp_path: Path, tools: dict[str, Any]) -> None:
    one, two = tools["tar_bytes"]([("1.png", b"image")]), tools["tar_bytes"]([("2.png", b"image")])
    (tmp_path / "set.tar").write_bytes(one + two)
    (tmp_path / "rest.tar").write_bytes(one + b"what the tape held before" * 100)

    assert [name for name, _, _ in outcomes(tmp_path / "set.tar")] == ["1.png", "2.png"]
    assert outcomes(tmp_path / "rest.tar") == [("1.png", "", None)]


def test_sparse_files_are_rejects(tmp_path: Path) -> None:
    gnu = tarfile.TarInfo("gnu.png")
    gnu.type = tarfile.GNUTYPE_SPARSE
    pax = tarfile.TarInfo("pax.png")
    pax.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "999999999999"}

    path = write(tmp_path / "set.tar", (gnu, b"data"), (pax, b"data"), ("1.png", b"image"))

    assert outcomes(path) == [("gnu.png", "not_a_file", None), ("pax.png", "not_a_file", None), ("1.png", "", None)]


def test_packed_bombs_take_no_memory(tmp_path: Path) -> None:
    """A long name of 1 GiB, and an image of 200 MB, each a few hundred kilobytes when packed."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    large = tarfile.TarInfo("large.png")
    large.size = 200_000_000
    first = tarfile.TarInfo("1.png")
    head = first.tobuf()
    (tmp_path / "name.tgz").write_bytes(gzip.compress(head + name.tobuf() + bytes(30 << 20)))
    (tmp_path / "large.tgz").write_bytes(gzip.compress(large.tobuf() + bytes(200_000_000) + head + bytes(1024), 1))
    tracemalloc.start()

    named, largest = outcomes(tmp_path / "name.tgz"), outcomes(tmp_path / "large.tgz")

    assert named == [("1.png", "empty_file", None), ("", "archive_cut", None)]
    assert largest == [("large.png", "too_large_file", None), ("1.png", "empty_file", None)]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is no tar archive, nor a gzipped one"),
        (b"x" * 4096, "is no tar archive, nor a gzipped one"),
        (b"\x1f\x8b" + b"x" * 4096, "is no tar archive, nor a gzipped one"),
    ],
)
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "set.tar"
    path.write_bytes(data)

    with pytest.raises(SourceError) as caught:
        open_source(str(path))

    assert str(caught.value) == f"{path} {what}.  Check the file, or name the source by its right suffix."


def test_skipped_images_are_not_read(tmp_path: Path, tools: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.tar"
    path.write_bytes(tools["tar_bytes"]([(f"{number}.png", bytes(100_000)) for number in range(50)]))
    source = open_source(str(path))
    from scanner.sources.location import GuardedFile

    read: list[int] = []
    real_read = GuardedFile.read
    monkeypatch.setattr(GuardedFile, "read", lambda self, size=-1: (read.append(size), real_read(self, size))[1])

    assert len(list(source.entries(skip=49))) == 1
    assert sum(read) < 200_000


@pytest.mark.real
@pytest.mark.parametrize(("name", "count"), [("faces/lfw-dev-00.tar", 1685), ("images/cifar10-test-1000.tar", 1000)])
def test_real_archives(name: str, count: int) -> None:
    from scanner.images import decode_item
    from scanner.records import Picture

    path = Path(__file__).parents[3].parent / "shared" / "real" / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the checkout")
    source = open_source(str(path))

    entries = list(source.entries())

    assert len(entries) == count
    assert all(isinstance(entry, Item) and isinstance(decode_item(entry), Picture) for entry in entries[::10])
    assert list(source.entries(skip=count - 3)) == entries[-3:]
    assert (entries[0].identity is None) == name.startswith("images")
