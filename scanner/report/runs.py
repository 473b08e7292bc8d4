"""Which run folders there are, in an order that stays, and what each is called."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from scanner.documents import read_text
from scanner.errors import ArtefactError
from scanner.report.read import RUN_FORMAT

_SUMMARY = "run.json"
_NIGHTS = "nights"


def find_runs(paths: Sequence[Path | str]) -> list[Path]:
    """Return the finished run folders at or below `paths`, each once, as absolute paths.

    Paths keep the order they were given in; below each of them folders are ordered by name, numbers by their value
    (run-2 before run-10).  What lies inside a run (a further embedder's `witness-1/`) belongs to it and is found only
    when it is named itself.  Hidden folders and linked ones are passed over.

    Raises:
        ArtefactError: a path is not there, no path has a finished run, or a run's name is no UTF-8.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise ArtefactError(f"{path} is no folder. Name run folders made by `scanner scan`, or folders of them.")
        found |= dict.fromkeys(_runs_below(path.resolve()))
    if not found:
        named = ", ".join(str(path) for path in paths) or "nowhere"
        raise ArtefactError(
            f"No finished run is at or below {named}: no folder there has a {_SUMMARY} of `scanner scan`. It is written "
            "last, so the run may not have finished."
        )
    for run in found:
        _refuse_unless_text(run)
    return list(found)


def run_label(path: Path | str) -> str:
    """Return what a run is called: its folder's name, for a run of a nightly job with the night (000012/faces)."""
    parts = Path(path).resolve().parts
    return "/".join(parts[-2:] if night_of(path) is not None else parts[-1:])


def run_labels(runs: Sequence[Path]) -> list[str]:
    """Return a label for each run: `run_label`, led by so many more folders as are needed to tell all runs apart."""
    labels = [run_label(run) for run in runs]
    parts = [run.resolve().parts for run in runs]
    while len(set(labels)) < len(labels):
        longer = [
            "/".join(own[-min(len(own), label.count("/") + 2) :]) if labels.count(label) > 1 else label
            for label, own in zip(labels, parts, strict=True)
        ]
        if longer == labels:  # one folder twice
            return labels
        labels = longer
    return labels


def night_of(path: Path | str) -> int | None:
    """Return the number of the night that a run belongs to (`nights/000012/faces`), None for a run of its own."""
    *_, above, night, _name = ("", "", *Path(path).resolve().parts)
    return int(night) if above == _NIGHTS and night.isdecimal() else None


def _runs_below(folder: Path) -> Iterator[Path]:
    for current, folders, files in os.walk(folder):
        if _SUMMARY in files and _is_run(Path(current)):
            folders.clear()
            yield Path(current)
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=_natural)


def _refuse_unless_text(run: Path) -> None:
    try:
        str(run).encode()
    except UnicodeEncodeError as error:
        raise ArtefactError(f"The run {str(run)!a} has a name that is no UTF-8. Rename the folder.") from error


def _is_run(folder: Path) -> bool:
    if not (folder / _SUMMARY).is_file():  # a pipe would be waited for, a link may lead nowhere
        return False
    # Damaged summaries count: whoever opens the run then hears of the damage.
    try:
        document = json.loads(read_text(folder / _SUMMARY))
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(document, dict) and document.get("format") == RUN_FORMAT


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece), "") if at % 2 else (0, piece) for at, piece in enumerate(pieces)], name
