"""The program behind `make gpu`: what it runs, what it writes, and that a bare machine is enough."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

ROOT = Path(__file__).resolve().parents[2]


def step(name: str, code: str, limit_s: int = 60) -> gpu.Step:
    return gpu.Step(name, ("-c", code), limit_s)


def test_a_step_that_fails_or_hangs_stops_nobody(tmp_path: Path) -> None:
    steps = [
        step("good", "print('I ran on {device}')"),
        step("bad", "raise SystemExit(3)"),
        step("slow", "import time; print('waiting', flush=True); time.sleep(60)", limit_s=3),
        step("last", "open(r'{out}/made.json', 'w').write('1')"),
    ]

    gpu.run_all(steps, tmp_path, "cpu")

    summary = json.loads((tmp_path / "summary.json").read_text())
    ended = [(result["name"], result["ended"], result["exit_code"]) for result in summary["steps"]]
    assert ended == [("good", "ok", 0), ("bad", "failed", 3), ("slow", "time limit", None), ("last", "ok", 0)]
    assert summary["machine"]["device"] == "cpu"
    assert summary["steps"][0]["last_line"] == "I ran on cpu"
    assert (tmp_path / "made.json").exists()
    log = (tmp_path / "log.txt").read_text()
    assert "I ran on cpu" in log
    assert "waiting" in log


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so_and_runs_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--out", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr.strip()) == (2, "no CUDA device here: nothing was run")
    assert not (tmp_path / "out").exists()


def test_every_step_is_there() -> None:
    tests = [step.arguments[-1] for step in gpu.test_steps()]

    assert "tests/scanner/networks/test_gpu.py" in tests
    assert all((ROOT / name).is_file() for name in tests)
    assert all((ROOT / step.arguments[0]).is_file() for step in gpu.BENCHMARKS)


REFUSE = """
import importlib.abc, sys
FOREIGN = {"hypothesis", "PIL", "onnx", "onnxruntime", "pydantic", "pyarrow", "safetensors", "click", "rich", "cv2", "scipy",
           "sklearn", "faiss", "insightface", "imagehash", "threadpoolctl", "yaml", "google"}
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FOREIGN:
            raise ModuleNotFoundError(f"No module named {name!r} on a bare machine", name=name)
        return None
sys.meta_path.insert(0, Refuse())
"""
"""Refuses the libraries that a GPU machine may lack."""
BARE = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""}


@pytest.mark.parametrize("name", [step.arguments[-1] for step in gpu.test_steps()])
def test_the_gpu_tests_are_found_with_torch_numpy_and_pytest_alone(name: str) -> None:
    options = next(step.arguments for step in gpu.test_steps() if step.arguments[-1] == name)[2:]

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{REFUSE}import pytest\nsys.exit(pytest.main(sys.argv[1:]))",
            *options,
            "--collect-only",
        ],
        cwd=ROOT,
        env=BARE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "::" in done.stdout


@pytest.mark.parametrize("name", [step.arguments[0] for step in gpu.BENCHMARKS])
def test_the_benchmarks_of_the_gpu_start_with_torch_and_numpy_alone(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{REFUSE}import runpy\nrunpy.run_path({name!r}, run_name='__main__')", "--help"],
        cwd=ROOT,
        env=BARE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    given = next(step.arguments for step in gpu.BENCHMARKS if step.arguments[0] == name)
    assert all(part in done.stdout for part in given if part.startswith("--"))


def test_the_refusal_works() -> None:
    done = subprocess.run([sys.executable, "-c", f"{REFUSE}import PIL"], capture_output=True, text=True, check=False)

    assert "on a bare machine" in done.stderr
