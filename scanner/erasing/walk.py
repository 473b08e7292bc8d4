"""What lies at and below the folders that are to be erased from: what is ours, told by its stamps, and what is not.

Nothing is told by its name alone that could be somebody else's, but for what only ever lies beside something of ours.
Links are not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from indexes.manifest import FORMAT as INDEX_FORMAT
from indexes.manifest import MANIFEST_NAME
from scanner import artefacts
from scanner.errors import ArtefactError, UsageError

JOURNAL: Final = ".erasing"
RECORDS: Final = "erasures"
RECORD_FORMAT: Final = "identity-leak-erasure"
PAGE: Final = "report.html"
PAGED: Final = ("run.json", "audit.json", "dedupe.json")
"""A folder with one of these has a page that can be made again."""
DOCUMENTS: Final = (
    *PAGED, "policy.json", "evidence.json", "joint.json", "domain.json", "generated.json", "inversions.json", "night.json",
    "inverse.json",
)  # fmt: skip
_WITHOUT_PEOPLE: Final = re.compile(r"(.*\.)?costs\.json|timing\.json|lock|encoder\.safetensors|inverse\.safetensors")
SHARD: Final = re.compile(r"(images|reconstructions)-[0-9]{6}\.tar")
_WORK: Final = re.compile(r"unfinished|\..+\.(work|gone|building|parts)")
LEFT: Final = re.compile(r"\..+\.([0-9]+)\.tmp|\.crops\.parquet\.gone")
"""What a process that was killed left behind; the number is the process's."""
TONIGHT: Final = "tonight"
_JOB: Final = "job.json"
_JOB_FORMAT: Final = "identity-leak-job"
_ACCOUNT: Final = re.compile(r"[0-9]{4}\.json")
_JSON_BYTES_MAX: Final = 64 << 20
_INDEX_FOLDERS: Final = {"segments", "tombstones", "erasures"}
_MARKS: Final = (*PAGED, "generated.json", "inversions.json", MANIFEST_NAME)


@dataclass(slots=True)
class Folder:
    """What is ours in one folder, all sorted; file names but for the paths in `tables`.

    Attributes:
        tables: stamped tables: path and stamp.
        documents: JSON.
        shards: tars of pictures that a generator or an inversion made.
        pages: HTML.
        left: temporary files of jobs that were killed.
        index: True for an index folder.
    """

    path: Path
    tables: list[tuple[Path, str]] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    index: bool = False


@dataclass(slots=True)
class Found:
    """Everything below the roots.

    Attributes:
        folders: with something of ours in them, sorted.
        work: unfinished work, each a folder that is looked through as a whole.
        unknown: files that are none of ours.
        unreadable: what could not be looked at, and why.
    """

    folders: list[Folder] = field(default_factory=list)
    work: list[Path] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def walk(roots: Sequence[Path]) -> Found:
    """Look through folders, or single embeddings files; raises UsageError for a root that is not there."""
    found, files = Found(), dict[Path, set[str]]()
    for root in roots:
        if root.is_file():
            stem = root.name.partition(".")[0] + "."
            beside = (name for name in os.listdir(root.parent) if name.startswith(stem))  # noqa: PTH208
            files.setdefault(root.parent, set()).update(beside)
        elif root.is_dir() and not root.is_symlink():
            for path, names in _folders(root, found):
                files.setdefault(path, set()).update(names)
        else:
            raise UsageError(
                f"{root} is no folder and no file (a link is not followed). Name what is to be erased from."
            )
    for path, some in sorted(files.items()):
        _look(path, sorted(some), found)
    found.work, found.unknown = sorted(set(found.work)), sorted(set(found.unknown))
    return found


def jobs_of(roots: Sequence[Path]) -> list[Path]:
    """Return the folders of nightly jobs at, below and above the roots: what is erased there must not come back by them."""
    below = [path.parent for root in roots for path in root.rglob(_JOB)]
    above = [folder for root in roots for folder in (root, *root.parents)]
    return sorted({folder for folder in (*below, *above) if _format_of(folder / _JOB) == _JOB_FORMAT})


def home_of(root: Path) -> Path:
    """Return where the record of a root lies: in it; or beside it, where the root is itself one result of ours."""
    root = root.resolve()
    single = root.is_file() or any((root / name).is_file() for name in _MARKS)
    return root.parent if single else root


def _folders(root: Path, found: Found) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder with its files, sorted; unfinished work and the insides of indexes are left out."""

    def refused(error: OSError) -> None:
        found.unreadable[Path(error.filename or root)] = error.strerror or type(error).__name__

    for place, folders, files in os.walk(root, onerror=refused):
        path, kept = Path(place), []
        index = _is_index(path, files)
        for name in sorted(folders):
            if (path / name).is_symlink():
                found.unknown.append(path / name)
            elif _WORK.fullmatch(name) or (name == TONIGHT and _JOB in files):
                found.work.append(path / name)
            elif not (name == JOURNAL or (index and name in _INDEX_FOLDERS) or _is_records(path / name)):
                kept.append(name)
        folders[:] = kept
        yield path, sorted(files)


def _look(path: Path, names: Sequence[str], found: Found) -> None:
    folder = Folder(path, index=_is_index(path, names))
    embeddings = set[str]()
    for name in names:
        file = path / name
        if file.is_symlink() or not file.is_file():
            found.unknown.append(file)
        elif name.endswith(".parquet"):
            try:
                stamp = artefacts.stamp_of(file)
            except ArtefactError as error:
                found.unreadable[file] = str(error)
                continue
            if stamp:
                folder.tables.append((file, stamp))
                embeddings |= {file.stem} if stamp == "embeddings" else set()
            else:
                found.unknown.append(file)
    for name in names:
        if name.endswith(".parquet") or (path / name).is_symlink():
            continue
        if LEFT.fullmatch(name):
            folder.left.append(name)
        elif name in DOCUMENTS or (name.endswith(".json") and (name[:-5] in embeddings or _is_ours(path / name))):
            folder.documents.append(name)
        elif SHARD.fullmatch(name) and _makes_pictures(path, names):
            folder.shards.append(name)
        elif name == PAGE and any(mark in names for mark in PAGED):
            folder.pages.append(name)
        elif not (_WITHOUT_PEOPLE.fullmatch(name) or (folder.index and _is_of_index(name))):
            found.unknown.append(path / name)
    if folder.tables or folder.documents or folder.shards or folder.pages or folder.left or folder.index:
        found.folders.append(folder)


def _is_index(path: Path, names: Sequence[str]) -> bool:
    return MANIFEST_NAME in names and _format_of(path / MANIFEST_NAME) == INDEX_FORMAT


def _is_of_index(name: str) -> bool:
    return name == MANIFEST_NAME or name.startswith("codec.")


def _is_ours(path: Path) -> bool:
    """True for JSON that names a format of ours, and for what an index says of one of its intakes."""
    folder = path.parent
    if path.name == MANIFEST_NAME:
        return False
    if folder.name == "intake" and _ACCOUNT.fullmatch(path.name) and (folder.parent / MANIFEST_NAME).is_file():
        return True
    return path.stat().st_size <= _JSON_BYTES_MAX and str(_format_of(path)).startswith("identity-leak-")


def _makes_pictures(path: Path, names: Sequence[str]) -> bool:
    return "generated.json" in names or "inversions.json" in names or (path / "unfinished" / "plan.json").is_file()


def _is_records(path: Path) -> bool:
    return path.name == RECORDS and any(_format_of(file) == RECORD_FORMAT for file in path.glob("*.json"))


def _format_of(path: Path) -> Any:
    try:
        return artefacts.read_json(path).get("format")
    except ArtefactError:
        return None
