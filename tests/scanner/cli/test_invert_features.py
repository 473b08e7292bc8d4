"""`scanner invert features` and `apply`, in process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "jobs"))

from small_net import write_network, write_photos


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny layers gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def last_line(text: str) -> dict:
    return json.loads(text.strip().splitlines()[-1])


def test_train_then_apply_then_read(run, tmp_path: Path) -> None:
    """The road of the README: cuts named in one word, images in place of steps, labels from names."""
    network, photos = write_network(tmp_path / "net"), write_photos(tmp_path / "photos", 6)
    trained = run(
        "invert", "features", network, tmp_path / "inverse", "--at", "relu,layer2.0", "--images", 96, "--device", "cpu"
    )
    assert trained.code == 0, trained.err
    assert last_line(trained.out)["cuts"] == ["relu", "layer2.0"]
    assert json.loads((tmp_path / "inverse" / "inverse.json").read_text())["plan"]["steps"] == 3

    applied = run(
        "invert", "apply", tmp_path / "inverse", photos, tmp_path / "out", "--at", "relu", "--identity-from", "name"
    )
    assert applied.code == 0, applied.err
    assert last_line(applied.out)["counts"]["inverted"] == 6
    assert "PSNR" in applied.err


def test_a_dry_run_writes_nothing(run, tmp_path: Path) -> None:
    network = write_network(tmp_path / "net")
    told = run("invert", "features", network, tmp_path / "inverse", "--dry-run", "--steps", 50)

    assert told.code == 0, told.err
    assert last_line(told.out)["dry_run"] is True
    assert "50 steps" in told.err
    assert not (tmp_path / "inverse").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--at", "layer1.9"), "layer1.0"),
        (("--steps", 0), "steps = 0"),
        (("--images", 5, "--steps", 5), "pass one of them"),
        (("--cycle", -1), "cycle = -1"),
    ],
)
def test_wrong_words_are_told(run, tmp_path: Path, words: tuple[object, ...], told: str) -> None:
    network = write_network(tmp_path / "net")
    ran = run("invert", "features", network, tmp_path / "inverse", *words)

    assert ran.code == 2
    assert told in ran.err
    assert not (tmp_path / "inverse").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_and_absent(run, tmp_path: Path) -> None:
    ran = run("invert", "features", write_network(tmp_path / "net"), tmp_path / "inverse", "--device", "cuda")

    assert ran.code == 2
    assert "--device cpu" in ran.err


def test_apply_to_no_inverse(run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = run("invert", "apply", tmp_path / "empty", write_photos(tmp_path / "photos", 2), tmp_path / "out")

    assert ran.code == 2
    assert "no finished inverse" in ran.err
