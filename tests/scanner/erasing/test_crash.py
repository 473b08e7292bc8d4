"""An erasure that was killed and is called again ends as one that was not, wherever it died.

Every twentieth step on the disk is tried; `CRASH_STRIDE=1` tries them all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

DRIVER = Path(__file__).parent / "crash_driver.py"
STRIDE = os.environ.get("CRASH_STRIDE", "20")


def test_a_killed_erasure_is_ended_by_the_next_call(everything: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(DRIVER), str(everything / "state"), str(tmp_path), STRIDE]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["steps"] > 100
    assert len(found["tried"]) >= found["steps"] // int(STRIDE)
    assert found["journalled"] > len(found["tried"]) // 2
    assert found["differences"] == []
