"""A new key for what is there: every file below some folders that is sealed, or ought to be, is sealed with the newest key.

A file is replaced whole or not at all, and what is in it stays as it was: no manifest, no hash and no marker changes, and
a rotation that was killed is finished by the same command.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from indexes.atomic import atomic_path
from indexes.codec_file import JSON_NAME, TENSORS_NAME
from indexes.errors import SealError
from indexes.keys import FILE_VARIABLE, Key, current_keys
from indexes.lock import write_lock
from indexes.manifest import MANIFEST_NAME, SEGMENTS_FOLDER
from indexes.sealed import SealedWriter, key_id_of, open_file
from indexes.segment import BOUNDS_NAME, CODES_NAME, ROWS_NAME, VECTORS_NAME
from scanner import artefacts
from scanner.errors import UsageError
from scanner.progress import Progress
from scanner.report.dedupe_page import write_dedupe_page
from scanner.report.page import write_page

PLAIN = "none"
_SEGMENT_NAMES = frozenset({VECTORS_NAME, ROWS_NAME, CODES_NAME, BOUNDS_NAME})
_CODEC_NAMES = frozenset({TENSORS_NAME, JSON_NAME})
_AUDIT_NAMES = frozenset({"photos.safetensors", "originals.safetensors", "photos.tar"})
_RECONSTRUCTIONS = re.compile(r"reconstructions-[0-9]{6}\.tar")
_UNFINISHED = "unfinished"
_TEMPORARY = re.compile(r"\..*\.[0-9]+\.tmp")
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Rotation:
    """What was found and done.

    Args:
        key: id of the newest key.
        found: files before, by the id of their key; those that ought to be sealed and were not under "none".
        sealed: files that were sealed again.
        temporary: files of jobs that are at work or were killed; they are left alone.
    """

    key: str
    found: dict[str, int]
    sealed: int
    temporary: tuple[str, ...]


def rotate(roots: Sequence[Path], *, progress: Progress, dry_run: bool = False) -> Rotation:
    """Seal everything below `roots` with the newest key of the environment.

    Args:
        roots: folders, or single files. Links are not followed.
        progress: told of every file.
        dry_run: look, and change nothing.

    Raises:
        UsageError: a root is not there, or no key is set.
        SealError: a file's key is not at hand; nothing was changed.
        LockedError: an index is being written; what was done before is done.
    """
    keys = current_keys()
    if not keys:
        raise UsageError(f"No key is set. Name a key file in the variable {FILE_VARIABLE}.")
    newest, held = keys[0].id.hex(), {key.id.hex() for key in keys}
    found: Counter[str] = Counter()
    todo, temporary = list[Path](), list[str]()
    for path in _files(roots):
        if _TEMPORARY.fullmatch(path.name):
            temporary.append(str(path))
        elif (key := key_id_of(path)) or is_private(path):
            found[key or PLAIN] += 1
            if key != newest:
                todo.append(path)
    missing = sorted(found.keys() - held - {PLAIN})
    if missing:
        counts = ", ".join(f"{found[key]} with {key}" for key in missing)
        raise SealError(
            f"Files are encrypted with keys that are not at hand: {counts}. Nothing was changed. "
            f"Add these keys below the newest one in the file that {FILE_VARIABLE} names."
        )
    progress.stage("key", total=len(todo), unit="files")
    for path in [] if dry_run else todo:
        reseal(path, keys)
        progress.advance(1)
    return Rotation(newest, dict(sorted(found.items())), 0 if dry_run else len(todo), tuple(temporary))


def reseal(path: Path, keys: Sequence[Key]) -> None:
    """Replace a file, plain or sealed with one of the keys, by one sealed with the first of them."""
    page = path.with_name("report.html")
    stale = path.name == "crops.parquet" and key_id_of(path) is None and page.exists()
    if stale:
        page.unlink()  # it shows the crops; killed here, `scanner report html` makes it again
    index = _index_of(path)
    with (
        write_lock(index) if index else nullcontext(),
        open_file(path, tuple(keys)) as source,
        atomic_path(path) as temporary,
    ):
        with SealedWriter(temporary, keys[0]) as sink:
            shutil.copyfileobj(source, sink, _BUFFER_BYTES)
        shutil.copystat(path, temporary)
    if stale:
        (write_dedupe_page if (path.parent / "dedupe.json").exists() else write_page)(path.parent)


def is_private(path: Path) -> bool:
    """Tell whether a plain file is one that is sealed where there is a key."""
    if path.name in _AUDIT_NAMES:
        return _UNFINISHED in path.parts
    if _RECONSTRUCTIONS.fullmatch(path.name):
        return (path.parent / "inversions.json").exists() or (path.parent / _UNFINISHED).exists()
    if path.name in _SEGMENT_NAMES | _CODEC_NAMES and _index_of(path) is not None:
        return True
    if path.suffix != ".parquet":
        return False
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return False
    return artefacts.is_ours(schema) and bool(artefacts.PRIVATE_COLUMNS.intersection(schema.names))


def _files(roots: Sequence[Path]) -> Iterator[Path]:
    for root in roots:
        if not root.exists():
            raise UsageError(f"{root} is not there. Name folders or files that the scanner wrote.")
        if root.is_file():
            yield root
        for folder, names, files in os.walk(root):
            names.sort()
            yield from (
                path for name in sorted(files) if (path := Path(folder, name)).is_file() and not path.is_symlink()
            )


def _index_of(path: Path) -> Path | None:
    """Return the index folder that a file belongs to."""
    in_segment = path.parent.parent.name == SEGMENTS_FOLDER
    index = path.parent.parent.parent if in_segment else path.parent
    return index if (in_segment or path.name in _CODEC_NAMES) and (index / MANIFEST_NAME).is_file() else None
