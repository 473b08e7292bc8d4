"""The examples, run: each with its own files, smaller."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scanner.audit.audit import audit
from scanner.audit.config import read_config
from scanner.evidence.guards import two_sample
from scanner.images import encode_png
from scanner.world.draw import face_pixels
from scanner.world.two_generators import write_tar

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
WORLD_SEED = 909
AUDITS = ("drawn.toml", "lfw.toml")


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """To shuffle which half a picture is of takes half a minute, and is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.audit.results.are_apart", two_sample)
        patch.setattr("scanner.audit.recovery.are_apart", two_sample)
        yield


def smaller(folder: Path, name: str, **numbers: int) -> Path:
    """Copy an example with other numbers."""
    text = (EXAMPLES / name).read_text("utf-8")
    for key, number in numbers.items():
        text, found = re.subn(rf"\b{key}( ?= ?)\d+", rf"{key}\g<1>{number}", text)
        assert found, key
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return folder / name


def draw(path: Path, people: range, photos: range) -> None:
    import cv2

    write_tar(
        path,
        (
            (
                f"p{number}-{photo}",
                encode_png(_small(face_pixels(WORLD_SEED, number, photo), cv2)),
                f"person-{number:05d}",
            )
            for number in people
            for photo in photos
        ),
    )


def _small(pixels: np.ndarray, cv2) -> np.ndarray:
    return np.asarray(cv2.resize(pixels, (40, 40), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.slow
def test_the_drawn_example_tells_the_two_generators_apart(tmp_path: Path):
    world = tmp_path / "demo-run" / "world"
    for name in ("audit", "rewound"):
        (world / name).mkdir(parents=True)
    shutil.copytree(ROOT / "scanner" / "world" / "generators", world / "generators")
    draw(world / "audit" / "members.tar", range(24), range(100, 102))
    draw(world / "audit" / "others.tar", range(4000, 4100), range(100, 102))
    for name in ("leaking", "innocent"):
        trained = json.loads((world / "generators" / f"{name}.training.json").read_text())["trained_on"]["people"]
        draw(world / "rewound" / f"{name}-training.tar", range(trained[0], trained[0] + 24), range(1))
    toml = smaller(tmp_path / "examples", "drawn.toml", n=150, images_max=24, steps=40)

    done = audit(toml, out=tmp_path / "out")

    leaking, innocent = done.document["generators"]
    assert leaking["gate"]["state"] == "fail"
    assert innocent["gate"]["state"] != "fail"
    assert leaking["recovery"]["differ"]
    assert leaking["recovery"]["inversion"]["by_identity"]["auc"]["low"] > 0.7
    assert not innocent["recovery"]["differ"]
    scan = leaking["recovery"]["scan"]
    assert scan["members"]["first"]["value"] > scan["non_members"]["first"]["value"] + 0.3
    assert (tmp_path / "out" / "report.html").is_file()
    assert not done.allows


@pytest.mark.real
@pytest.mark.slow
def test_the_lfw_example_runs_on_real_photos_and_accuses_nobody(real: Path, tmp_path: Path):
    data = tmp_path / "examples" / "data"
    data.mkdir(parents=True)
    for name in ("vae-celeba-decoder.pt2", "face-reid-0095.onnx", "scrfd_500m_kps.onnx"):
        (data / name).symlink_to(real / "models" / name)
    shutil.copy(EXAMPLES / "vae-celeba-decoder.toml", data)
    tars = [str(real / "faces" / f"lfw-dev-{number:02d}.tar") for number in range(2)]
    command = [sys.executable, str(EXAMPLES / "halve.py"), *tars, "--out", str(data), "--people", "110"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith("a: 110 people,")
    toml = smaller(tmp_path / "examples", "lfw.toml", n=60, images_max=40, restarts=1, steps=60)

    done = audit(toml, out=tmp_path / "out")

    entry = done.document["generators"][0]
    assert done.document["verdict"]["state"] in ("pass", "inconclusive")
    assert entry["recovery"]["inversion"]["ks_p"] > 0.001
    assert entry["recovery"]["inversion"]["photos"] == [40, 40]
    assert entry["samples"]["faces"] >= 50


@pytest.mark.parametrize("name", AUDITS)
def test_every_example_is_a_whole_file_and_names_nothing_outside(name: str):
    config = read_config(EXAMPLES / name)

    assert config.recovery is not None
    assert config.gate is not None
    text = (EXAMPLES / name).read_text("utf-8")
    assert "shared" not in text
    assert set(re.findall(r'"(?:generated:)?(\.\./[a-z-]+|data)/', text)) <= {"../demo-run", "data"}


def test_the_readme_names_every_example_and_everything_that_lfw_reads():
    readme = (EXAMPLES / "README.md").read_text("utf-8")

    for path in EXAMPLES.glob("*.toml"):
        assert path.name in readme, path.name
    for name in re.findall(r"data/([a-z0-9_.-]+\.(?:onnx|toml|tar))", (EXAMPLES / "lfw.toml").read_text("utf-8")):
        assert name in readme, name
