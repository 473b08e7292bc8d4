import errno
import json
import os

import pytest

from indexes.atomic import atomic_path, write_bytes, write_json, write_text
from indexes.errors import DiskFullError


def test_content_arrives_whole_and_nothing_else_is_left(tmp_path):
    write_bytes(tmp_path / "a", b"one")
    write_bytes(tmp_path / "a", b"two")
    write_text(tmp_path / "b", "drei")
    write_json(tmp_path / "c", {"z": 1, "a": "ü"})

    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "b").read_text() == "drei"
    assert (tmp_path / "c").read_text() == '{\n  "a": "ü",\n  "z": 1\n}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_block_that_raises_changes_nothing(tmp_path):
    write_bytes(tmp_path / "a", b"old")

    with pytest.raises(IsADirectoryError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(tmp_path.read_bytes())

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_explained_and_changes_nothing(tmp_path, monkeypatch, call):
    write_json(tmp_path / "a", {"old": True})

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(DiskFullError, match=r"no room left to write .*Nothing that was there before has changed"):
        write_json(tmp_path / "a", {"new": True})

    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert json.loads((tmp_path / "a").read_text()) == {"old": True}


def test_other_failures_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "missing" / "a", b"")


def test_what_is_not_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
