"""The inversion benchmark: the projector is the recipe it says it is, and the whole script runs on a bare generator."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.bench_inversion import Builtin, open_any, parse, project

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["bench", "--builtin"])
    return open_any(parse())


def test_the_projector_begins_at_the_mean_and_follows_the_ramp(generator, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.Adam.step

    def noted(self, *given):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    with torch.no_grad():
        image = generator.module(torch.full((1, 128), 0.3))[0]
        at_the_mean = float((generator.module(torch.zeros(1, 128))[0] - image).square().mean())

    _, loss = project(generator, image, steps=40, rate=0.1)

    assert loss < at_the_mean / 2
    assert len(rates) == 40
    for k, rate in enumerate(rates):
        t = k / 40
        expected = 0.1 * min(1, t / 0.05) * (0.5 - 0.5 * math.cos(min(1, (1 - t) / 0.25) * math.pi))
        assert rate == pytest.approx(expected)


def test_the_builtin_generator_is_the_same_everywhere_and_looks_at_its_latent() -> None:
    z = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        first, second = Builtin()(z), Builtin()(z)

    assert first.shape == (3, 3, 64, 64)
    assert torch.equal(first, second)
    assert float((first[0] - first[1]).abs().mean()) > 0.01


@pytest.mark.slow
def test_the_script_measures_and_keeps_what_it_measured(tmp_path: Path) -> None:
    words = "--builtin --threads 1 --images 2 --projector-images 1 --projector-steps 4 --equal-steps-images 2"
    words += " --recovery-images 2 --recovery-restarts 1 --recovery-draws 4 --draws 4 --steps-max 5 --encoder-steps 2"
    command = [
        sys.executable,
        "benchmarks/bench_inversion.py",
        *words.split(),
        "--batches",
        "1",
        "2",
        "--seconds",
        "0.01",
    ]

    done = subprocess.run(
        [*command, "--out", tmp_path / "result"], capture_output=True, text=True, cwd=ROOT, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads((tmp_path / "result.json").read_text())
    assert document == json.loads(done.stdout.splitlines()[-1])
    assert [row["batch"] for row in document["step_rates"]] == [1, 2]
    (row,) = document["against_the_loop"]
    assert row["equal_steps"]["steps_per_image"] == 4
    assert row["ratio_learned_start"] == pytest.approx(
        row["learned_start"]["images_per_s"] / row["projector"]["images_per_s"], rel=0.05
    )
    page = (tmp_path / "result.md").read_text()
    assert f"| projector, 4 steps, 1 images | {row['projector']['images_per_s']} | 1 |" in page
