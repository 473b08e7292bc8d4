"""Where results go: nothing that is there is overwritten unless the user says so, and then as late as can be."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any, Literal

from scanner.errors import RunMismatch, UsageError
from scanner.sources.location import clean_uri

_TABLES = ("queries", "matches", "rejects", "crops", "identities", "photos", "samples")
Kind = Literal["run", "index", "audit", "demo", "generated", "inversions", "inverse", "dedupe", "file"]
_NAMES: dict[str, tuple[str, ...]] = {
    "run": (
        "unfinished",
        "run.json",
        "policy.json",
        "domain.json",
        "evidence.json",
        "costs.json",
        "timing.json",  # of a run made before costs.json took its place
        "report.html",
        "joint.json",
        "joint.parquet",
        *(f"{name}.parquet" for name in _TABLES),
    ),
    "index": ("manifest.json", "segments", "tombstones", "erasures", "intake", "lock", "costs.json"),
    "audit": ("unfinished", "audit.json", "scores.parquet", "split.parquet", "report.html"),
    "demo": ("world", "indexes", "run", "run-leaking", "run-innocent", "audit", "outcome.json"),
    "generated": ("unfinished", "generated.json", "rejects.parquet"),
    "inversions": ("unfinished", "inversions.json", "inversions.parquet", "rejects.parquet", "encoder.safetensors"),
    "inverse": ("unfinished", "inverse.json", "inverse.safetensors"),
    "dedupe": (
        "unfinished",
        "dedupe.json",
        "pairs.parquet",
        "groups.parquet",
        "crops.parquet",
        "costs.json",
        "report.html",
    ),
}
"""What lies at the top of each kind of folder, finished or not."""
_SHARDS = re.compile(r"(images|reconstructions)-[0-9]{6}\.(tar|parquet)")
"""Images that a generator or an inversion made, in its folder."""
_OTHERS = re.compile(r"\.?codec\..*|\..*\.(tmp|gone|building)")
_WITNESS = re.compile(r"witness-[0-9]+")
"""A further embedder's run, in a run folder."""


def work_beside(out: Path) -> Path:
    """Return the work folder of a result that is one file or an index: `.OUT.work` beside it."""
    return out.with_name(f".{out.name}.work")


def check_target(out: Path, work: Path, *, kind: Kind, resume: bool, force: bool) -> None:
    """Say why a result cannot be made at `out`, if so; nothing is changed.

    Args:
        out: the result, a file or a folder.
        work: unfinished work towards it.
        kind: what the result will be.
        resume: take up unfinished work.
        force: throw away what is there, if it is of the same kind.

    Raises:
        UsageError: `out` is there, or work towards it is, and neither option was given; both were given; no folder to
            write into; or what is there is nothing that we make.
    """
    if resume and force:
        raise UsageError("--resume keeps unfinished work, --force throws it away: pass one of them.")
    if out.name in ("", ".."):
        raise UsageError(f"{out} is no name for a result. Name a file or folder to be made.")
    if not out.parent.is_dir():
        raise UsageError(f"The folder {out.parent} does not exist. Make it first, or choose another place.")
    is_folder = kind != "file"
    if out.exists() and out.is_dir() != is_folder:
        there, wanted = ("file", "folder") if is_folder else ("folder", "file")
        raise UsageError(f"{out} is a {there}, and a {wanted} is to be made there. Choose another name.")
    if force:
        if is_folder and out.exists():
            _check_ours(out, kind)
    elif not resume:
        if any((work / plan).exists() for plan in ("plan.json", "faces/plan.json")):
            raise UsageError(unfinished(work))
        if out.exists() and not (is_folder and _may_fill(out, work)):
            raise UsageError(f"{out} is already there. Choose another name, or pass --force to replace it.")


def unfinished(work: Path) -> str:
    """Return the sentence for work that nobody asked to go on with."""
    return f"{work} holds unfinished work. Pass --resume to finish it, or --force to throw it away."


def is_finished(out: Path, work: Path, *, resume: bool) -> bool:
    """True when a job that is to be resumed has nothing left to do: its result is there and its work is gone."""
    if not resume or not out.exists() or work.exists():
        return False
    remove_folder(work)  # it may have been killed while it cleared away
    return True


def check_same_sources(
    out: Path, account: Mapping[str, Any], specs: Sequence[str], changed: Sequence[str] = ()
) -> None:
    """Refuse to take a finished result of other sources, or with `changed` options, for what was asked: RunMismatch."""
    if account["sources"] != [clean_uri(spec) for spec in specs]:
        raise RunMismatch(
            f"{out} is finished, and was made from {', '.join(account['sources'])}. "
            "Choose another name, or pass --force to replace it."
        )
    if changed:
        raise RunMismatch(
            f"{out} is finished, and was made with other options: {', '.join(changed)} differ. "
            "Choose another name, or pass --force to replace it."
        )


def remove_folder(folder: Path) -> None:
    """Delete a folder, if it is there, at once: no killed process leaves half of it under its name."""
    if folder.is_symlink():
        folder.unlink()
        return
    folder = folder.absolute()
    gone = folder.with_name(f".{folder.name.lstrip('.')}.gone")
    for _ in range(2):
        if gone.exists():  # a killed process was just here
            shutil.rmtree(gone)
        if folder.exists():
            folder.rename(gone)


def sweep(folder: Path, names: Sequence[str] = ("",)) -> None:
    """Remove the temporary files that a killed job left in `folder`: of the results `names`, or of any."""
    for name in names:
        for left in folder.glob(f".{escape(name)}.*.tmp" if name else ".*.tmp"):
            left.unlink(missing_ok=True)


def _may_fill(folder: Path, work: Path) -> bool:
    """True for a folder that is empty, or holds nothing but work that was hardly begun."""
    return all(entry == work or entry.name == "policy.json" for entry in folder.iterdir())


_PATTERNS: dict[str, re.Pattern[str]] = {"run": _WITNESS, "generated": _SHARDS, "inversions": _SHARDS}
"""Names of a kind of folder that are not a few words."""


def _check_ours(folder: Path, kind: Kind) -> None:
    """Refuse to delete a folder that is not of this kind, or holds anything that we do not make."""
    names = [p.name for p in folder.iterdir() if p.name not in _NAMES[kind] and not _OTHERS.fullmatch(p.name)]
    pattern = _PATTERNS.get(kind)
    foreign = [name for name in names if pattern is None or not pattern.fullmatch(name)]
    if any(folder.iterdir()) and (foreign or not _has_marks(folder, kind)):
        article = "an" if kind in ("index", "audit", "inverse") else "a"
        raise UsageError(
            f"{folder} is not, or not only, {article} {_WORDS.get(kind, kind)} of ours; --force does not delete it."
        )


_WORDS = {
    "generated": "folder of generated images",
    "inversions": "folder of inversions",
    "inverse": "inverse network",
    "dedupe": "report of duplicates",
}


def _has_marks(folder: Path, kind: Kind) -> bool:
    """True when a folder with only the names of its kind in it was made by us, finished or not."""
    if kind == "index":
        return (folder / "manifest.json").is_file()
    if kind == "demo":
        return (folder / "world").is_dir() and (folder / "indexes").is_dir()
    work = folder / "unfinished"
    if kind == "run":
        begun = work.is_dir() and all(p.name in ("faces", "join", "matched", "copies") for p in work.iterdir())
        return (folder / "run.json").is_file() or begun
    return (folder / f"{kind}.json").is_file() or (work / "plan.json").is_file()
