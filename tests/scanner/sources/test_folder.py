"""A folder with everything that can be wrong in one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scanner.errors import SourceError
from scanner.records import Item, Reject
from scanner.sources import open_source
from scanner.sources.folder import FolderSource


@pytest.fixture
def folder(tmp_path: Path, tools: dict[str, Any]) -> Path:
    """Two good pictures with everything else between them."""
    inside = tmp_path / "set"
    (inside / "b").mkdir(parents=True)
    (inside / "a.png").write_bytes(tools["draw"](1))
    (inside / "b" / "z.PNG").write_bytes(tools["draw"](2))
    return inside


def outcome(entry: Item | Reject) -> tuple[str, str, str]:
    """Return the last part of the uri, the reason and the detail."""
    name = entry.uri.rpartition("/set/")[2]
    return (name, "", "") if isinstance(entry, Item) else (name, entry.reason.value, entry.detail)


def test_bad_files_are_rejects_between_good_ones(folder: Path, tmp_path: Path, tools: dict[str, Any]) -> None:
    (tmp_path / "outside.png").write_bytes(tools["draw"](3))
    (folder / "b" / "empty.jpg").touch()
    (folder / "b" / "large.jpg").write_bytes(b"x" * 9000)
    (folder / "b" / "notes.txt").write_text("no image")
    (folder / "._a.png").write_bytes(b"what macOS leaves behind")
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "out.png").symlink_to(tmp_path / "outside.png")
    (folder / "lost.png").symlink_to(folder / "nowhere")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "other").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")

    source = open_source(str(folder), bytes_max=8000)

    assert [outcome(entry) for entry in source.entries()] == [
        ("a.png", "", ""),
        ("b/empty.jpg", "empty_file", "not a single byte"),
        ("b/large.jpg", "too_large_file", "9000 bytes, at most 8000 are read"),
        ("b/z.PNG", "", ""),
        ("link.png", "", ""),
        ("loop.png", "not_a_file", "a link that leads nowhere"),
        ("lost.png", "not_a_file", "a link that leads nowhere"),
        ("other", "not_a_file", "a link to a folder; links are not descended"),
        ("out.png", "not_a_file", "a link that leads out of the folder"),
        ("pipe.png", "not_a_file", "neither a file nor a folder"),
    ]
    assert source.count() == 10
    assert isinstance(source, FolderSource)
    assert source.ignored_count == 2


def test_file_that_cannot_be_read_is_a_reject(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def forbidden(path: str, flags: int) -> int:
        if path.endswith("a.png"):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, flags)

    source = open_source(str(folder))
    (folder / "b" / "z.PNG").unlink()
    monkeypatch.setattr(os, "open", forbidden)

    assert [outcome(entry) for entry in source.entries()] == [
        ("a.png", "unreadable", "the file cannot be read (Permission denied)"),
        ("b/z.PNG", "unreadable", "the file cannot be read (No such file or directory)"),
    ]


def test_file_that_grew_since_it_was_listed_is_not_read_whole(folder: Path) -> None:
    source = open_source(str(folder), bytes_max=5000)
    (folder / "a.png").write_bytes(b"x" * 6000)

    assert outcome(next(iter(source.entries()))) == ("a.png", "too_large_file", "5001 bytes, at most 5000 are read")


def test_folder_that_cannot_be_listed_is_a_reject(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_scandir = os.scandir

    def forbidden(path: str) -> object:
        if path.endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)

    assert [outcome(entry) for entry in open_source(str(folder)).entries()] == [
        ("a.png", "", ""),
        ("b", "unreadable", "the folder cannot be listed"),
    ]


def test_names_that_are_no_text_can_be_read_and_written(folder: Path, tools: dict[str, Any]) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png")).write_bytes(tools["draw"](4))

    entries = list(open_source(str(folder)).entries())

    assert outcome(entries[0]) == ("\\xff\\xfe.png", "", "")
    assert all(entry.uri.encode() for entry in entries)


@pytest.mark.parametrize(
    ("word", "identities"),
    [("folder", ["anna", "bob", None]), ("name", ["p1", "p_2", None]), ("nothing", [None] * 3), ("labels", [None] * 3)],
)
def test_identities(tmp_path: Path, tools: dict[str, Any], word: str, identities: list[str | None]) -> None:
    for name in ("anna/p1_1.png", "bob/deep/p_2_1.png", "plain.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(tools["draw"](1))

    assert [entry.identity for entry in open_source(str(tmp_path), identity_from=word).entries()] == identities


def test_labels_that_cannot_be_read_stop_before_any_work(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"labels": 7}')

    with pytest.raises(SourceError) as caught:
        open_source(str(folder))

    assert str(caught.value) == (
        f"The labels of {folder}/dataset.json cannot be read: "
        'dataset.json should be {"labels": [[name, label], ...]}.  '
        "Mend it, or take no identities from it (identity_from 'nothing' or 'folder')."
    )
    assert open_source(str(folder), identity_from="nothing").count() == 2


def test_description_sees_sizes_names_and_labels_but_no_other_files(folder: Path) -> None:
    def described() -> dict[str, str | int]:
        return open_source(str(folder)).describe()

    changes: list[Callable[[], object]] = [
        lambda: (folder / "a.png").rename(folder / "c.png"),
        lambda: (folder / "c.png").write_bytes(b"another size"),
        lambda: (folder / "dataset.json").write_text('{"labels": [["c.png", 1]]}'),
    ]
    seen = [described()]
    os.utime(folder / "a.png", (1, 1))
    (folder / "notes.txt").write_text("no image")
    assert described() == seen[0]

    for change in changes:
        change()
        seen.append(described())

    assert len({str(sorted(one.items())) for one in seen}) == 4
