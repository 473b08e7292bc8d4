"""An audit that samples its generator itself says what one of the same images on disk says."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
from drawn_people import name, write_members

from scanner import artefacts
from scanner.audit.audit import audit
from scanner.images import encode_png
from scanner.jobs.generating.generate import generate
from scanner.world.draw import face_pixels

SHIPPED = Path(__file__).parents[3] / "scanner" / "world" / "generators"
SEED, MEMBERS, OTHERS = 7, 24, 100


def write_photos(path: Path, numbers: range) -> None:
    """Write a photo of each of these drawn people at the generator's resolution."""
    members = []
    for number in numbers:
        pixels = cv2.resize(face_pixels(SEED, number, 9), (40, 40), interpolation=cv2.INTER_AREA)
        members += [
            (f"{number}.png", encode_png(np.asarray(pixels, np.uint8))),
            (f"{number}.json", f'{{"identity": "{name(number)}"}}'.encode()),
        ]
    write_members(path, members)


def test_samples_made_on_the_way_are_those_on_disk(tmp_path: Path) -> None:
    for file in SHIPPED.glob("leaking*"):
        shutil.copy(file, tmp_path)
    generate(tmp_path / "leaking.toml", tmp_path / "files", count=60, seed=1)
    write_photos(tmp_path / "members.tar", range(MEMBERS))
    write_photos(tmp_path / "others.tar", range(5000, 5000 + OTHERS))
    (tmp_path / "audit.toml").write_text(
        '[embedder]\nspec = "drawn"\nfaces = "aligned"\n'
        '[people]\nmembers = "members.tar"\nnon_members = "others.tar"\n'
        '[[generator]]\nname = "direct"\nsamples = "generated:leaking.toml?n=60&seed=1"\n'
        '[[generator]]\nname = "files"\nsamples = "files/images-000000.tar"\n'
    )

    audit(tmp_path / "audit.toml", out=tmp_path / "out")

    scores = artefacts.read_table(tmp_path / "out" / "scores.parquet", "scores")
    direct, files = (
        scores.filter(pc.equal(scores["generator"], which)).drop(["generator"]) for which in ("direct", "files")
    )
    assert direct.num_rows == MEMBERS + OTHERS
    assert direct.equals(files)
