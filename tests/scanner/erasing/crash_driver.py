"""Kill an erasure at its n-th step on the disk, call it again, and say what differs; run by test_crash.py as a process.

    python crash_driver.py STATE OUT STRIDE

A forked child dies just before the step, another one makes the same call.  The last line of stdout is a JSON object: how
many steps there are, which were tried, after how many of the deaths a journal was there, and every difference.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import scanner.erasing.apply
import scanner.erasing.erase
import scanner.report.dedupe_page  # noqa: F401 - imported before the fork, so that no child pays for it
from scanner.erasing import Wanted, erase_everywhere

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from disk_steps import DIED, run_in_child

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def operate(state: Path) -> None:
    wanted = Wanted(identities=("person-003",))
    erase_everywhere([state], wanted, clock=lambda: AT, receipt=lambda: "ab" * 32, request="7")


def files_of(root: Path) -> dict[str, bytes]:
    """Return every file but for links; of folders their names, so that an empty one is seen."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(root.rglob("*"))
        if not path.is_symlink()
    }


def without_second(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the record of a second call that found nothing left to do, not even a journal."""
    return {name: content for name, content in files.items() if name != "erasures/0002.json"}


def main() -> None:
    source, out, stride = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    place = out / "state"  # always the same path, since salts and journals know it

    def start() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns("nights", "null.idx"))

    start()
    status, steps = run_in_child(partial(operate, place))
    assert status == 0
    expected = files_of(place)
    tried, differences, journalled = [], [], 0
    for step in range(2, steps, stride):
        start()
        killed, _ = run_in_child(partial(operate, place), die_at=step)
        journalled += (place / ".erasing").exists()
        again, _ = run_in_child(partial(operate, place))
        found = without_second(files_of(place))
        wrong = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        if killed != DIED or again != 0 or wrong:
            differences.append({"step": step, "killed": killed, "again": again, "wrong": wrong})
        tried.append(step)
    print(json.dumps({"steps": steps, "tried": tried, "differences": differences, "journalled": journalled}))


if __name__ == "__main__":
    main()
