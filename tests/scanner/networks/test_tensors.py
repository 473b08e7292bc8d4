"""Tensors on disk: what any safetensors reader reads, the same bytes every time, damage seen."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from scanner.errors import ArtefactError
from scanner.networks.tensors import read_metadata, read_tensors, write_tensors

KINDS = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64,
    torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def some(kind: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return (torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape) % 120).to(kind)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    kinds = {f"layer.{kind}": some(kind, (2, 3)) for kind in KINDS}
    return {**kinds, "scalar": torch.tensor(1.5), "empty": torch.empty(0, 4), "odd": some(torch.uint8, (7,))}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[key].dtype is right[key].dtype and torch.equal(left[key], right[key]) for key in left
    )


def test_what_is_written_is_read(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", tensors, {"kind": "inverse", "step": "7"})

    assert equal(read_tensors(tmp_path / "a.safetensors"), tensors)
    assert read_metadata(tmp_path / "a.safetensors") == {"kind": "inverse", "step": "7"}


def test_the_safetensors_library_reads_it_and_we_read_what_it_writes(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    write_tensors(tmp_path / "ours.safetensors", tensors)
    save_file(tensors, tmp_path / "theirs.safetensors", {"a": "b"})

    assert equal(load_file(tmp_path / "ours.safetensors"), tensors)
    assert equal(read_tensors(tmp_path / "theirs.safetensors"), tensors)


def test_equal_content_gives_equal_bytes_in_any_order(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    notes = {name: name for name in "zebra"}
    write_tensors(tmp_path / "a", tensors, notes)
    write_tensors(tmp_path / "b", dict(reversed(tensors.items())), dict(reversed(notes.items())))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_views_are_written_as_what_they_show(tmp_path: Path) -> None:
    table = some(torch.float32, (4, 6))
    write_tensors(tmp_path / "a", {"turned": table.t(), "part": table[1:3, ::2]})

    assert equal(read_tensors(tmp_path / "a"), {"turned": table.t(), "part": table[1:3, ::2]})


@given(cut_at=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_file_that_was_cut_off_is_refused(cut_at: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.safetensors"
    write_tensors(path, {"a": some(torch.float32, (8, 8)), "b": some(torch.int64, (8,))})
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut_at, len(whole) - 1)])

    with pytest.raises(ArtefactError, match="complete safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]},
        {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        7,
    ],
)
def test_an_entry_that_lies_is_refused(entry: object, tmp_path: Path) -> None:
    header = json.dumps({"a": entry}).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))

    with pytest.raises(ArtefactError, match="complete safetensors file"):
        read_tensors(tmp_path / "a")


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors(tmp_path / "a", {"a": torch.zeros(2)})
    before = (tmp_path / "a").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"no room left to write .* Free some space"):
        write_tensors(tmp_path / "a", {"a": torch.ones(2)})

    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"nothing\.safetensors cannot be read"):
        read_tensors(tmp_path / "nothing.safetensors")
