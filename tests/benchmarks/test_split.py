"""The split benchmark trains what it attacks with: through the user's own job, once for both benchmarks of a network."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from benchmarks import bench_split
from scanner.artefacts import read_json
from scanner.images import encode_png
from scanner.networks.resnet_cifar import resnet20

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder laid out as the real one: random weights, two noisy pictures of each class."""
    (tmp_path / "real" / "models").mkdir(parents=True)
    (tmp_path / "real" / "images").mkdir()
    save_file(resnet20().state_dict(), tmp_path / "real" / "models" / "cifar-resnet20.safetensors")
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / "real" / "images" / "cifar10-test-1000.tar", "w") as tar:
        for name in (f"{kind}_{number:04d}.png" for kind in CLASSES for number in range(2)):
            data = encode_png(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return tmp_path / "real"


def run(monkeypatch: pytest.MonkeyPatch, real: Path, kind: str, *more: str) -> dict[str, object]:
    """Run the benchmark beside `real`; return what it recorded."""
    out = real.parent / "results"
    given = ["--real", str(real), "--work", str(real.parent / "work"), "--out", str(out), "--device", "cpu", *more]
    monkeypatch.setattr(sys, "argv", ["bench_split.py", kind, *given])
    bench_split.main()
    return json.loads((out / f"split_{kind.replace('-', '_')}.json").read_text())


def test_the_inverse_is_trained_once_and_named_in_the_results(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, stand_in, "cifar", "--steps", "2")
    kept = stand_in.parent / "work" / "cifar-inverse"
    written = (kept / "inverse.safetensors").stat().st_mtime_ns
    defended = run(monkeypatch, stand_in, "cifar-defences", "--steps", "2", "--cuts", "relu")
    named = run(monkeypatch, stand_in, "cifar-defences", "--inverse", str(kept), "--cuts", "relu")

    manifest = read_json(kept / "inverse.json")
    assert (manifest["data"], manifest["network_path"]) == ("none", "../cifar.toml")
    assert found["training"] == {"steps": 2, "batch": 32, "cycle": 0.1, "seed": 0}
    assert [row["cut"] for row in found["rows"]] == [cut["name"] for cut in manifest["cuts"]]
    assert found["inverse"] == defended["inverse"] == named["inverse"] == manifest["weights_sha256"]
    assert (kept / "inverse.safetensors").stat().st_mtime_ns == written
    assert {row["cut"] for row in defended["rows"]} == {"relu"}
    page = (stand_in.parent / "results" / "split_cifar.md").read_text()
    assert f"inverse {found['inverse'][:12]} of 2 steps of 32, trained without a real picture" in page


def test_steps_are_of_a_training_that_is_asked_for(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, stand_in, "cifar", "--steps", "2", "--inverse", "inverse")

    assert "--steps is of a training, and --inverse was trained already: pass one of them" in capsys.readouterr().err
