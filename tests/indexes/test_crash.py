"""A writer killed at any step leaves the old index or the new one, and running it again ends like an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from crash_driver import operate
from facelike_vectors import folder_bytes

from indexes import open_index
from indexes.errors import FormatError

REPOSITORY = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}


def make_template(tmp_path: Path, operation: str) -> Path:
    template = tmp_path / "template"
    template.mkdir()
    for earlier in {"build": [], "add": ["build"], "remove": ["build"], "compact": ["build", "remove"]}[operation]:
        operate(earlier, template)
    return template


@pytest.mark.parametrize("operation", ["build", "add", "remove", "compact"])
def test_a_writer_killed_at_any_step_leaves_the_old_index_or_the_new(tmp_path, operation):
    template = make_template(tmp_path, operation)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).parent / "crash_driver.py"), operation, str(template), str(out)],
        check=True, env=environment(), timeout=300,
    )  # fmt: skip
    old = folder_bytes(template / "index").get("manifest.json")
    new = folder_bytes(out / "whole" / "index")
    crashed = sorted(int(path.name) for path in out.iterdir() if path.name.isdigit())
    seen = set()

    for step in crashed:
        path = out / f"{step}" / "index"
        if not path.exists():
            seen.add("old")
            with pytest.raises(FormatError, match="is no index"):
                open_index(path)
        else:
            manifest = (path / "manifest.json").read_bytes()
            assert manifest in (old, new["manifest.json"]), step
            seen.add("old" if manifest == old else "new")
            index = open_index(path)
            assert index.verify() == [], step
            assert index.references().rows == index.rows
        again = out / f"{step}-again" / "index"
        if operation != "add" or not path.exists() or (path / "manifest.json").read_bytes() == old:
            left = folder_bytes(again)
            named = {name: left[name] for name in new}
            assert named == new, step

    assert len(crashed) > 10
    assert seen == {"old", "new"}


def test_a_writer_killed_by_a_signal_leaves_a_sound_index(tmp_path):
    operate("build", tmp_path)
    old = folder_bytes(tmp_path / "index")
    script = "import sys; from pathlib import Path; from crash_driver import operate; operate('add', Path(sys.argv[1]))"
    for delay_s in (0.0, 0.02):
        writer = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], env=environment())
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and writer.poll() is None:
            if (tmp_path / "index" / "segments" / "000002").exists():
                time.sleep(delay_s)
                break
            time.sleep(0.001)
        writer.send_signal(signal.SIGKILL)
        writer.wait()

        index = open_index(tmp_path / "index")
        assert index.verify() == []
        assert index.rows in (120, 210)
        if index.rows == 120:
            assert (tmp_path / "index" / "manifest.json").read_bytes() == old["manifest.json"]
        else:
            break
