"""Everything that needs a CUDA device, in one go: the tests that are marked gpu, and the benchmarks of the GPU.

    make gpu                                          # or, on a machine with python3, torch, numpy and pytest alone:
    PYTHONPATH=. python3 benchmarks/gpu.py --out gpu-results --only bench_dci

Each step has a time limit; when one fails, the next ones run all the same.  OUT gets summary.json (device, versions, how
each step ended), log.txt (what they said) and the benchmarks' own results.  Exit code: 0 all well, 1 a step failed, 2 no
CUDA device.  `--device cpu` tries this program itself where there is none; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTED = ("tests/scanner/networks", "tests/scanner/generators", "tests/scanner/inversion", "tests/indexes")
"""Folders whose tests may be marked gpu: they import torch, numpy and pytest, no more."""
CONFTESTS_FROM = "tests/scanner"
"""tests/conftest.py makes pictures and ONNX files, with libraries that a GPU machine may lack; it is left out."""
TEST_LIMIT_S = 300
NO_TESTS = 5
"""pytest's exit code when it ran no test."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command, run from the repository's root; `{device}` and `{out}` are filled in."""

    name: str
    arguments: tuple[str, ...]
    limit_s: int


BENCHMARKS = (
    Step(
        "bench_join",
        ("benchmarks/bench_join_gpu.py", "--device", "{device}", "--out", "{out}/bench_join_gpu"),
        600,
    ),
    Step(
        "bench_inversion",
        ("benchmarks/bench_inversion.py", "--builtin", "--device", "{device}", "--out", "{out}/bench_inversion_gpu"),
        600,
    ),
    Step(
        "bench_dci",
        ("benchmarks/bench_dci.py", "--device", "{device}", "--name", "bench_dci_gpu", "--out", "{out}"),
        600,
    ),
)


def test_steps() -> list[Step]:
    """Return a step for each file with a test that is marked gpu."""
    files = [path for folder in TESTED for path in sorted((ROOT / folder).rglob("test_*.py"))]
    marked = [path.relative_to(ROOT).as_posix() for path in files if "mark.gpu" in path.read_text("utf-8")]
    options = ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--confcutdir={CONFTESTS_FROM}", "-rs")
    return [Step(name, (*options, name), TEST_LIMIT_S) for name in marked]


def run(step: Step, out: Path, device: str) -> dict[str, Any]:
    """Run one step and return how it ended; what it said goes to log.txt as it says it."""
    command = [
        sys.executable,
        *(part.replace("{device}", device).replace("{out}", str(out)) for part in step.arguments),
    ]
    # Plugins of a foreign machine's pytest have no say here.
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    start = time.monotonic()
    with (out / "log.txt").open("a") as log:
        log.write(f"\n=== {step.name}: {' '.join(command[1:])}\n")
        log.flush()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
            process.wait()
            code = None
    said = [line for line in (out / "log.txt").read_text(errors="replace").splitlines() if line.strip()]
    ended = "time limit" if code is None else "ok" if code in {0, NO_TESTS} else "failed"
    seconds = round(time.monotonic() - start, 1)
    return {**asdict(step), "ended": ended, "exit_code": code, "seconds": seconds, "last_line": said[-1][:500]}


def describe(device: str) -> dict[str, Any]:
    """Return what a reader must know of the machine."""
    import numpy as np
    import torch

    on_gpu = device == "cuda"
    return {
        "device": torch.cuda.get_device_name(0) if on_gpu else "cpu",
        "memory_bytes": torch.cuda.get_device_properties(0).total_memory if on_gpu else None,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }


def run_all(steps: Sequence[Step], out: Path, device: str) -> dict[str, Any]:
    """Run the steps one after the other; summary.json is complete after each."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "log.txt").write_text("")
    summary: dict[str, Any] = {"machine": describe(device), "steps": []}
    for step in steps:
        result = run(step, out, device)
        summary["steps"].append(result)
        (out / "summary.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
        print(f"{result['ended']:>10}  {result['seconds']:7.1f} s  {step.name}", flush=True)
    return summary


def chosen(arguments: argparse.Namespace) -> list[Step]:
    """Return the steps that were asked for, with their limits."""
    steps = [*test_steps(), *BENCHMARKS]
    if arguments.only:
        steps = [step for step in steps if any(part in step.name for part in arguments.only)]
    if arguments.limit:
        steps = [replace(step, limit_s=arguments.limit) for step in steps]
    return steps


def main() -> int:
    """Run everything; see the module's text for exit codes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-results"))
    parser.add_argument("--only", nargs="+", metavar="PART", help="steps whose name contains one of these")
    parser.add_argument("--limit", type=int, metavar="SECONDS", help="time limit of every step")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--list", action="store_true", help="name the steps and stop")
    arguments = parser.parse_args()
    steps = chosen(arguments)
    if arguments.list:
        print("\n".join(step.name for step in steps))
        return 0
    if not steps:
        print(f"no step is called like {' or '.join(arguments.only)}", file=sys.stderr)
        return 2
    try:
        import torch
    except ModuleNotFoundError:
        print(
            f"{sys.executable} has no torch: name one that has with make gpu PYTHON=...; nothing was run",
            file=sys.stderr,
        )
        return 2
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing was run", file=sys.stderr)
        return 2
    summary = run_all(steps, arguments.out.resolve(), arguments.device)
    failed = [result["name"] for result in summary["steps"] if result["ended"] != "ok"]
    print(f"{summary['machine']['device']}: {len(steps) - len(failed)} of {len(steps)} steps went well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
