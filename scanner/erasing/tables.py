"""Tables of one folder: first what is learnt from them and how much will go, then the rewriting."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexes.errors import IndexesError
from scanner import artefacts
from scanner.erasing.columns import IMAGES, sides_of
from scanner.erasing.known import Known, Local
from scanner.erasing.pictures import choose_images, rewrite_images
from scanner.erasing.rows import choose, learn, without
from scanner.erasing.walk import Folder
from scanner.errors import ArtefactError, ScannerError

ROWS = 16_384


@dataclass(slots=True)
class Lost:
    """What a folder's tables lose.

    Attributes:
        path: the folder.
        local: what is known in it alone.
        rows: by file name; files that lose none are left out.
        pointers: cells at the erased, in rows that stay; by file name.
        pictures: members of tars, by file name.
        stamps: of the files in `rows` and `pointers`.
    """

    path: Path
    local: Local
    rows: dict[str, int] = field(default_factory=dict)
    pointers: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)

    @property
    def touched(self) -> bool:
        """True when anything goes."""
        return bool(self.rows or self.pointers or self.pictures)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        local = {"index": self.local.index, "indexes": list(self.local.indexes), "faces": sorted(self.local.faces),
                 "references": sorted(self.local.references)}  # fmt: skip
        return {"path": str(self.path), "local": local, "rows": self.rows, "pointers": self.pointers,
                "pictures": self.pictures, "stamps": self.stamps}  # fmt: skip

    @classmethod
    def read(cls, document: dict[str, Any]) -> Lost:
        """Return what `document` wrote."""
        of = document["local"]
        local = Local(of["index"], tuple(of["indexes"]), set(of["faces"]), set(of["references"]))
        parts = (document[name] for name in ("rows", "pointers", "pictures", "stamps"))
        return cls(Path(document["path"]), local, *parts)


def local_of(folder: Path) -> Local:
    """Return what a folder's documents say of the ids in its tables."""
    local = Local()
    try:
        if (folder / "dedupe.json").is_file():
            local.index = str(artefacts.read_json(folder / "dedupe.json")["index"]["name"])
        if (folder / "joint.json").is_file():
            embedders = artefacts.read_json(folder / "joint.json")["embedders"]
            local.indexes = tuple(sorted({name for one in embedders for name in one["indexes"]}))
    except (ArtefactError, LookupError, TypeError):
        return local  # that the document is broken is found where documents are read
    return local


def learn_from(folder: Folder, known: Known, local: Local, unreadable: dict[str, str]) -> None:
    """Learn what the folder's tables know of the erased; a damaged one goes into `unreadable`, with the reason."""
    size = -1
    while size < (size := known.size() + local.size()):  # ids found in one table may stand in one that was read before
        for path, stamp in folder.tables:
            with told(unreadable, path):
                for table, fingerprint in _blocks(path, stamp) if stamp != IMAGES else ():
                    learn(table, choose(table, known, local, fingerprint), known, local, fingerprint)


def count_lost(folder: Folder, known: Known, lost: Lost, unreadable: dict[str, str]) -> None:
    """Count what goes, and remember it in `lost`; changes nothing.  A damaged table is left out and told."""
    for path, stamp in folder.tables:
        with told(unreadable, path):
            rows, pointers = _count(path, stamp, known, lost.local)
            for counts, count in ((lost.rows, rows), (lost.pointers, pointers)):
                if count:
                    counts[path.name], lost.stamps[path.name] = count, stamp


@contextmanager
def told(unreadable: dict[str, str], path: Path) -> Iterator[None]:
    """What cannot be read is told at the end, and keeps nothing else from being erased."""
    try:
        yield
    except ScannerError as error:
        unreadable[str(path)] = str(error)
    except (IndexesError, OSError, tarfile.TarError, ValueError) as error:
        unreadable[str(path)] = f"{type(error).__name__}: {error}"


def _count(path: Path, stamp: str, known: Known, local: Local) -> tuple[int, int]:
    """Return how many rows go, and how many cells are emptied in the rest."""
    rows = pointers = 0
    for table, fingerprint in _blocks(path, stamp):
        if stamp == IMAGES:
            rows += int(choose_images(table, known).sum())
            continue
        chosen = choose(table, known, local, fingerprint)
        rows += int(chosen.rows.sum())
        pointers += without(table, chosen, known, local)[1]
    return rows, pointers


def rewrite_tables(lost: Lost, known: Known) -> None:
    """Write the tables again without what goes; one that was written again already stays as it is."""
    for name in sorted({*lost.rows, *lost.pointers}):
        path, stamp = lost.path / name, lost.stamps[name]
        if stamp == IMAGES:
            rewrite_images(path, known)
            continue
        schema = artefacts.open_artefact(path, stamp).schema_arrow
        artefacts.write_tables(path, schema, _kept(path, stamp, known, lost.local))


def _kept(path: Path, stamp: str, known: Known, local: Local) -> Iterator[pa.Table]:
    for table, fingerprint in _blocks(path, stamp):
        yield without(table, choose(table, known, local, fingerprint), known, local)[0]


def _blocks(path: Path, stamp: str) -> Iterator[tuple[pa.Table, str]]:
    """Yield a table block by block with its embedder's fingerprint; nothing of one that leads to nobody."""
    schema = artefacts.open_artefact(path, stamp).schema_arrow
    if stamp != IMAGES and not sides_of(schema):
        return
    fingerprint = (schema.metadata or {}).get(artefacts.FINGERPRINT_KEY, b"").decode(errors="replace")
    for table in artefacts.iter_tables(path, stamp, rows_max=64 if stamp == IMAGES else ROWS):
        yield table, fingerprint
