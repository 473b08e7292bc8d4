"""Parquet files with the wrong columns, odd rows and damaged pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.errors import SourceError, UsageError
from scanner.records import Item
from scanner.sources import open_source


def write(path: Path, columns: dict[str, Any], **how: Any) -> Path:
    pq.write_table(pa.table(columns), path, **how)
    return path


def outcomes(path: Path, **options: Any) -> list[tuple[str, str, str]]:
    return [
        (entry.uri.partition("!/")[2], *(("", "") if isinstance(entry, Item) else (entry.reason.value, entry.detail)))
        for entry in open_source(str(path), **options).entries()
    ]


def test_rows_without_an_image_are_rejects(tmp_path: Path) -> None:
    images = [
        {"bytes": b"good", "path": "1.png"},
        None,
        {"bytes": None, "path": "elsewhere.png"},
        {"bytes": b"", "path": None},
        {"bytes": b"x" * 100, "path": None},
        {"bytes": b"good", "path": None},
    ]

    assert outcomes(write(tmp_path / "set.parquet", {"image": images}), bytes_max=50) == [
        ("row-0", "", ""),
        ("row-1", "empty_file", "the row holds no image"),
        ("row-2", "unreadable", "only a path, the image is not in the file"),
        ("row-3", "empty_file", "not a single byte"),
        ("row-4", "too_large_file", "100 bytes, at most 50 are read"),
        ("row-5", "", ""),
    ]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.int16(), pa.uint64()]
)
def test_identities_of_every_type(tmp_path: Path, kind: pa.DataType) -> None:
    people = pa.array(["1", None, "2"], pa.string()).cast(kind)
    path = write(tmp_path / "set.parquet", {"photo": pa.array([b"a"] * 3, pa.large_binary()), "who": people})

    source = open_source(str(path), image_column="photo", identity_column="who")

    assert [entry.identity for entry in source.entries()] == ["1", None, "2"]


def test_wrong_columns_are_named_with_what_there_is(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", {"jpg": [b"a"], "name": ["x"], "weight": [0.5]})
    there = "The columns are: jpg (binary), name (string), weight (double)."

    def message(**options: Any) -> str:
        with pytest.raises(SourceError) as caught:
            open_source(str(path), **options)
        return str(caught.value)

    assert message() == f"Column 'image' of {path} is not there.  {there}  Choose with image_column one of: jpg."
    assert message(image_column="name") == (
        f"Column 'name' of {path} holds no bytes.  {there}  Choose with image_column one of: jpg."
    )
    assert message(image_column="jpg", identity_column="who") == f"Column 'who' of {path} is not there.  {there}"
    assert message(image_column="jpg", identity_column="weight") == (
        f"Column 'weight' of {path} holds double; texts or whole numbers are needed."
    )


def test_folders_and_names_give_rows_no_identity(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", {"image": [b"a"]})

    with pytest.raises(UsageError) as caught:
        open_source(str(path), identity_from="folder")

    assert str(caught.value) == (
        f"Rows of {path} have no folders or names to take identities from.  Name a column with identity_column instead."
    )


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "set.parquet"
    path.write_bytes(data)

    with pytest.raises(SourceError) as caught:
        open_source(str(path))

    assert str(caught.value) == (
        f"{path} is no Parquet file, or it is cut: its footer cannot be read.  Fetch it again."
    )


def test_rows_of_a_damaged_group_are_rejects_and_the_rest_comes(tmp_path: Path) -> None:
    images = [bytes([65 + number]) * 3000 for number in range(9)]
    path = write(tmp_path / "set.parquet", {"image": images}, row_group_size=3, use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)

    source = open_source(str(path))
    entries = list(source.entries())

    assert [isinstance(entry, Item) for entry in entries] == [True] * 3 + [False] * 3 + [True] * 3
    assert outcomes(path)[3] == ("row-3", "bad_record", "row group 1 cannot be read")
    assert source.count() == 9
    for skip in range(10):
        assert list(source.entries(skip=skip)) == entries[skip:]


def test_skipped_groups_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scanner.sources.location import GuardedFile

    images = [bytes([number]) * 50_000 for number in range(40)]
    path = write(
        tmp_path / "set.parquet", {"image": images}, row_group_size=4, compression="none", use_dictionary=False
    )
    source = open_source(str(path))
    read: list[int] = []
    real_read = GuardedFile.read
    monkeypatch.setattr(GuardedFile, "read", lambda self, size=-1: (read.append(size), real_read(self, size))[1])

    assert len(list(source.entries(skip=37))) == 3
    assert sum(read) < 500_000
