"""A few nights of the soak: the job that is killed and runs out of disk ends as its twin; a difference would be seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_nights_under_bad_luck_end_as_those_without(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", str(BENCHMARKS / "soak_nights.py"), "--nights", "4", "--seed", "3"]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=500, env=environment, check=False
    )

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differences"] == []
    assert found["killed"] + found["disk_full"] >= 2


def test_a_difference_is_seen(tmp_path: Path) -> None:
    sys.path.insert(0, str(BENCHMARKS))
    from soak_nights import differences

    for name, text in (("one", "a"), ("other", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.json").write_text("same")
        (tmp_path / name / "night.json").write_text(text)
        (tmp_path / name / "costs.json").write_text(text)
    (tmp_path / "one" / "left.tmp").write_text("left")

    assert differences(tmp_path / "one", tmp_path / "other") == ["left.tmp", "night.json"]
