"""A job in a child that dies just before its n-th step on the disk: for tests of what is left then, and what is made of it."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Callable
from typing import Any

from scanner.jobs.versions import code_sha256, versions

STEPS = ("replace", "rename", "mkdir", "rmdir", "unlink", "fsync")
DIED = 9

# Jobs import and ask for these where they need them: before the fork no child pays for it.  Sessions are opened by the children.
for _name in (
    "fsspec.core", "onnx", "onnxruntime", "pyarrow.parquet", "scipy.stats",
    "scanner.embedders.onnx_network", "scanner.faces.given", "scanner.report.diff", "scanner.report.page",
):  # fmt: skip
    importlib.import_module(_name)
versions()
code_sha256()


def run_in_child(job: Callable[[], object], *, die_at: int | None = None, tell: bool = True) -> tuple[int, int]:
    """Fork, and do a job there; return the exit status (0, 1 after an exception, or `DIED`) and how many steps it took.

    Args:
        job: what is imported before is there in the child as well, and costs it nothing.
        die_at: the step before which the child dies, from 0; None lets it run.  The steps of one that died are 0.
        tell: print the traceback of an exception.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status, steps = 1, _count_steps(die_at)
        try:
            job()
            status = 0
        except Exception:  # noqa: BLE001 - whatever it is, the parent must see it
            if tell:
                traceback.print_exc()
        finally:
            os.write(write_end, str(steps()).encode())
            os._exit(status)
    os.close(write_end)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    taken = int(os.read(read_end, 100) or b"0")
    os.close(read_end)
    return status, taken


def _count_steps(die_at: int | None) -> Callable[[], int]:
    """Count the calls that change the disk; die just before one of them."""
    taken = 0

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            nonlocal taken
            if taken == die_at:
                os._exit(DIED)
            taken += 1
            return call(*args, **options)

        return counted

    os.fsync = lambda _: None  # nothing pulls the plug here: a real one would only cost time
    for name in STEPS:
        setattr(os, name, wrap(getattr(os, name)))
    return lambda: taken
