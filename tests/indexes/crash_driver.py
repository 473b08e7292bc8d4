"""Kill an index operation at its n-th step on the disk, for every n; run by test_crash.py as a process of its own.

    python crash_driver.py OPERATION TEMPLATE OUT

For each n it copies TEMPLATE to OUT/n, starts OPERATION there in a forked child that dies at its n-th
call (before the call for even steps, after it for odd ones), and stops when a child gets to the end.
The copy OUT/whole is what an uninterrupted run leaves.
"""

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from facelike_tables import SCHEMA, blocks_of
from facelike_vectors import draw_faces

from indexes import build_index, open_index

NAMES = ("fsync", "replace", "mkdir", "rmdir", "unlink")


def operate(operation: str, folder: Path) -> None:
    path = folder / "index"
    if operation == "build":
        build_index(
            path, blocks_of(draw_faces(40, 3, seed=1, dim=16)), fingerprint="net@1", dim=16, schema=SCHEMA,
            segment_rows_max=70, codec="always",
        )  # fmt: skip
    elif operation == "add":
        open_index(path).add(blocks_of(draw_faces(30, 3, seed=2, dim=16)))
    elif operation == "remove":
        open_index(path).remove(where={"identity": ["p1", "p30"]}, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    elif operation == "compact":
        open_index(path).compact()


def die_at(step: int) -> None:
    """Make the process die at its `step`-th step; two steps a call."""
    taken = 0

    def wrap(call):
        def counted(*args, **kwargs):
            nonlocal taken
            for half in (0, 1):
                if taken == step:
                    os._exit(9)
                taken += 1
                if half == 0:
                    result = call(*args, **kwargs)
            return result

        return counted

    for name in NAMES:
        setattr(os, name, wrap(getattr(os, name)))


def run_in_child(operation: str, folder: Path, step: int | None) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if step is not None:
                die_at(step)
            operate(operation, folder)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    operation, template, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    shutil.copytree(template, out / "whole")
    assert run_in_child(operation, out / "whole", None) == 0
    for step in range(10_000):
        shutil.copytree(template, out / f"{step}")
        status = run_in_child(operation, out / f"{step}", step)
        assert status in (0, 9), status
        if status == 0:
            shutil.rmtree(out / f"{step}")
            break
        shutil.copytree(out / f"{step}", out / f"{step}-again")
        done = operation == "build" and (out / f"{step}" / "index").exists()
        if not done:
            again = run_in_child(operation, out / f"{step}-again", None)
            # Erasing what is erased already is refused: the first run had committed.
            assert again == 0 or operation == "remove", again


if __name__ == "__main__":
    # Nothing pulls the plug here: a real fsync would only cost time.
    os.fsync = lambda _: None
    main()
