"""Unfinished work: a folder that holds the erased, or that cannot be looked through, is removed whole.

What it was to become is made again from the start, by the same command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from indexes.errors import IndexesError
from indexes.manifest import MANIFEST_NAME
from scanner import artefacts
from scanner.erasing.columns import NAMELESS_VECTORS, sides_of
from scanner.erasing.documents import scrub
from scanner.erasing.known import Known, Local
from scanner.erasing.references import learn_from_index
from scanner.erasing.rows import choose, learn
from scanner.errors import ArtefactError

_MARKER: Final = re.compile(r"[0-9]{4,6}\.json|plan\.json|slots\.json")


def learn_from_work(folder: Path, known: Known) -> bool:
    """Return whether a work folder has to go, and learn what it knows of the erased.

    It has to when a row or a word in it fits, when a table in it holds vectors and names nobody, and when it holds
    anything but tables, indexes and our own markers.
    """
    is_held = False
    for index in {path.parent for path in folder.rglob(MANIFEST_NAME)}:
        try:
            is_held |= bool(learn_from_index(index, known))
        except (IndexesError, ArtefactError):
            is_held = True
    for path in _files(folder):
        try:
            is_held |= _table_holds(path, known) if path.suffix == ".parquet" else _other_holds(path, known)
        except ArtefactError:
            is_held = True
    return is_held


def names_manifest(folder: Path, manifests: set[str]) -> bool:
    """True when the work was begun on a state of an index that is about to change: it could not be resumed."""
    plans = [path.read_text("utf-8", errors="replace") for path in folder.rglob("plan.json")]
    return any(manifest in plan for manifest in manifests for plan in plans)


def _table_holds(path: Path, known: Known) -> bool:
    stamp = artefacts.stamp_of(path)
    schema = artefacts.open_artefact(path, stamp).schema_arrow
    if not stamp or stamp in NAMELESS_VECTORS:
        return True
    if not sides_of(schema):
        return False
    fingerprint = (schema.metadata or {}).get(artefacts.FINGERPRINT_KEY, b"").decode(errors="replace")
    local, is_held = Local(), False
    for table in artefacts.iter_tables(path, stamp, rows_max=8192):
        chosen = choose(table, known, local, fingerprint)
        learn(table, chosen, known, local, fingerprint)
        is_held |= bool(chosen.rows.any())
    return is_held


def _other_holds(path: Path, known: Known) -> bool:
    if not _MARKER.fullmatch(path.name):
        return True
    return bool(scrub(artefacts.read_json(path), known)[1])


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a work folder but for the insides of indexes."""
    indexes = {path.parent for path in folder.rglob(MANIFEST_NAME)}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(index in path.parents for index in indexes):
            yield path
