"""Where results go: nothing that is there is overwritten unless the user says so."""

from __future__ import annotations

import shutil
from pathlib import Path

from scanner.errors import UsageError


def work_beside(out: Path) -> Path:
    """Return the work folder of a result that is one file or an index: `.OUT.work` beside it."""
    return out.with_name(f".{out.name}.work")


def check_target(out: Path, work: Path, *, resume: bool, force: bool) -> None:
    """Make room for a result, or say why not.

    Args:
        out: the result, a file or a folder.
        work: unfinished work towards it.
        resume: take up unfinished work.
        force: throw away what is there.

    Raises:
        UsageError: `out` is there and neither option was given; both were given; no folder to write into.
    """
    if resume and force:
        raise UsageError("--resume keeps unfinished work, --force throws it away: pass one of them.")
    if not out.parent.is_dir():
        raise UsageError(f"The folder {out.parent} does not exist. Make it first, or choose another place.")
    if force:
        _remove(work)
        _remove(out)
    elif out.exists() and not resume and not (work.is_relative_to(out) and work.exists()):
        raise UsageError(f"{out} is already there. Choose another name, or pass --force to replace it.")


def is_finished(out: Path, work: Path, *, resume: bool) -> bool:
    """True when a job that is to be resumed has nothing left to do: its result is there and its work is gone."""
    return resume and out.exists() and not work.exists()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        _check_ours(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_ours(folder: Path) -> None:
    """Refuse to delete a folder that no command of ours can have made."""
    marks = ("run.json", "manifest.json", "plan.json", "work", "indexes")
    if any(folder.iterdir()) and not any((folder / mark).exists() for mark in marks):
        raise UsageError(f"{folder} holds other things than a run or an index; --force does not delete it.")
