"""`scanner invert latent`: from pictures to latents to a source for `scan`, and what it says when it cannot."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_gen import pictures, write_generator

from scanner.images import encode_png
from scanner.sources import open_source

SHORT = ("--restarts", 2, "--steps", 80, "--draws", 64, "--tolerance", 0.01, "--slots", 4)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("invert")
    write_generator(folder)
    for number, picture in enumerate(pictures(6)):
        (folder / "photos" / f"person{number % 2}").mkdir(parents=True, exist_ok=True)
        (folder / "photos" / f"person{number % 2}" / f"{number}.png").write_bytes(encode_png(picture))
    return folder


def test_pictures_become_latents_and_a_source_with_their_identities(
    world: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "inverted"

    ran = run("invert", "latent", world / "sketch.toml", world / "photos", out, *SHORT, "--identity-from", "folder")

    assert ran.code == 0, ran.err
    answer = json.loads(ran.out.splitlines()[-1])
    assert answer["counts"]["inverted"] == 6
    assert answer["counts"]["statuses"]["converged"] >= 5
    assert answer["summary"]["relative_error"]["median"] <= 0.01
    assert "6 entries: 6 inverted" in ran.err
    entries = list(open_source(f"{out}/reconstructions-*.tar").entries())
    assert sorted(entry.identity for entry in entries) == ["person0"] * 3 + ["person1"] * 3


def test_the_dry_run_predicts_and_writes_nothing(world: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("invert", "latent", world / "sketch.toml", world / "photos", tmp_path / "out", "--dry-run", "--slots", 2)

    assert ran.code == 0, ran.err
    answer = json.loads(ran.out.splitlines()[-1])
    assert (answer["images"], answer["slots"], answer["steps_each_max"]) == (6, 2, 1200)
    assert "6 images, 2 at once on cpu" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--space", "w"), "has no w space"),
        (("--restarts", "0", "--tolerance", "-1"), "restarts is 0"),
        (("--centre", "0"), "--centre 0.0: a share above 0"),
        (("--encoder", "nowhere.safetensors"), "There is no encoder nowhere.safetensors"),
        (("--landmarks", "0.3,0.4,0.7,0.4,0.5,0.6,0.35,0.8,0.65,0.8"), "leave it out, or name one"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    words: tuple[str, ...], sentence: str, world: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    ran = run("invert", "latent", world / "sketch.toml", world / "photos", tmp_path / "out", *words)

    assert ran.code == 2
    assert sentence in ran.err
    assert not (tmp_path / "out").exists()


def test_images_that_all_fail_are_no_result(run: Callable[..., Any], tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "broken", limit=0.3)  # NaN where the first start lies
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0.png").write_bytes(encode_png(pictures(1)[0]))

    ran = run("invert", "latent", generator, tmp_path / "photos", tmp_path / "out", "--draws", 0, "--restarts", 1)

    assert ran.code == 2
    assert ran.err.splitlines()[-1] == (
        f"error: Nothing was inverted: 1 entries in {tmp_path / 'photos'}, not one image came out (1 failed). The network "
        "gave NaN or infinities for those that failed: look at its weights."
    )
    assert not (tmp_path / "out").exists()


def test_part_of_a_source_that_cannot_be_read_makes_it_incomplete(
    world: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, "w") as tar:
        tar.add(world / "photos", "photos")
    with tarfile.open(whole) as tar:
        last = tar.getmembers()[-1]
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: last.offset_data + 20])

    ran = run("invert", "latent", world / "sketch.toml", cut, tmp_path / "out", *SHORT)

    assert ran.code == 4, ran.err
    assert json.loads(ran.out.splitlines()[-1])["counts"]["reasons"] == {"archive_cut": 1}
