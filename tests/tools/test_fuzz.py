"""A short round of the fuzzer over every parser: the same inputs each time, in a process of its own, see docs/fuzzing.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNS = {
    "pictures": 300, "tar": 300, "zip": 300, "recordio": 300, "parquet": 150, "folder": 100, "embeddings": 300, "index": 60,
    "page": 10, "verify": 10, "documents": 300, "onnx-session": 100, "onnx": 60, "pt2": 60, "torchscript": 40, "safetensors": 60,
}  # fmt: skip


def fuzz(*words: str, tools: Path = ROOT / "tools") -> tuple[int, list[dict[str, Any]]]:
    """Run the tool; return its exit code and what it said of each target."""
    command = [sys.executable, str(tools / "fuzz.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("target", list(RUNS))
def test_no_parser_lets_anything_through(target: str, tmp_path: Path) -> None:
    code, (told,) = fuzz(
        "--target", target, "--runs", str(RUNS[target]), "--seconds", "60", "--unguided", "--out", str(tmp_path)
    )

    assert (told["found"], code) == ({}, 0)
    assert told["inputs"] == RUNS[target]


def test_every_target_is_run_here() -> None:
    text = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fuzz.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout

    assert f"{{{','.join(sorted(RUNS))}}}" in text.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("raise KeyError('x')", "KeyError at"),
        ("__import__('subprocess').run(['true'])", "Violation: subprocess.Popen"),
        ("__import__('_socket').socket()", "Violation: "),
        ("open('/dev/null', 'wb')", "Violation: writes /dev/null"),
        ("eval('1+1')", "Violation: compiles"),
        ("__import__('this')", "Violation: imports this"),
        ("os.kill(os.getpid(), 11)", "Violation: os.kill"),
        ("bytearray(1 << 40)", "MemoryError at"),
        ("bytearray(b'x') * (600 << 20)", "memory grew by"),
        ("__import__('faulthandler')._sigsegv()", "died with -11"),
        ("[0 for _ in range(1 << 40) if False]", "TooLong"),
    ],
)
def test_what_a_bad_parser_does_is_seen(harm: str, found: str, tmp_path: Path) -> None:
    """The reader of tars is replaced by one that behaves badly once it is watched."""
    tools = tmp_path / "tools"
    (tools / "fuzzing").mkdir(parents=True)
    for path in (*(ROOT / "tools" / "fuzzing").glob("*.py"), ROOT / "tools" / "fuzz.py"):
        (tools / path.relative_to(ROOT / "tools")).write_text(path.read_text("utf-8"), "utf-8")
    targets = tools / "fuzzing" / "targets.py"
    guard = "from fuzzing import guard\n    if not guard.limit_memory.__dict__.get('done'): return"
    bad = (
        f"\n\nimport os\n\ndef _bad(folder):\n    {guard}\n    {harm}\n\n\nTARGETS['tar'] = Target(seeds.tars, _bad)\n"
    )
    targets.write_text(targets.read_text("utf-8") + bad, "utf-8")
    limits = tools / "fuzzing" / "guard.py"
    text = limits.read_text("utf-8").replace("    pages = int(", "    limit_memory.done = True\n    pages = int(")
    if found == "TooLong":  # a busy machine may take half a second for other harm too
        text = text.replace("CPU_S_MAX: Final = 5.0", "CPU_S_MAX: Final = 0.5")
    limits.write_text(text, "utf-8")

    code, (told,) = fuzz(
        "--target", "tar", "--runs", "1", "--seconds", "60", "--unguided", "--out", str(tmp_path / "out"), tools=tools
    )

    assert code == 1
    (problem,) = told["found"]
    assert problem.startswith(found)
