"""JSON of ours: words that lead to the erased are taken out, and results that lost rows say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from indexes.atomic import encode_json, write_bytes
from scanner import artefacts
from scanner.erasing.known import ERASED, Known
from scanner.jobs.checking.erased import mark
from scanner.jobs.scanning.evidence import file_sha256

_LABEL_KEYS: Final = frozenset({"identity", "identities", "first", "second", "labels"})
"""Keys under which our documents name people.  A label elsewhere is another word that happens to be the same."""
_MARKED: Final = frozenset(
    {"run.json", "evidence.json", "joint.json", "audit.json", "dedupe.json", "generated.json", "inversions.json"}
)
"""Documents that say what a folder's tables add up to."""
_GONE: Final = object()


def scrub(document: Any, known: Known) -> tuple[Any, int]:
    """Return a JSON document without what leads to the erased, and how many places that were.

    In a list, a word or an object that names somebody goes; elsewhere `(erased)` stands in its place.  None, where the whole
    document is about somebody.
    """
    found, hits = _scrub(document, known, is_label=False)
    return (None if found is _GONE else found), hits


def pictures_of_people(document: Mapping[str, Any]) -> bool:
    """True for an audit that shows photos without saying whose: it cannot be told whether they are the erased one's."""
    split = document.get("split")
    return isinstance(split, dict) and bool(split.get("pictures"))


def clean_document(
    path: Path, known: Known, *, rows: Mapping[str, int], pointers: Mapping[str, int], commitment: str, erased_at: str
) -> None:
    """Take the erased out of a document, mark what its folder lost, and write it if that changed it.

    Args:
        path: the file.
        known: what is erased.
        rows: lost by each file of the folder.
        pointers: emptied in each of them.
        commitment: of this erasure.
        erased_at: when, ISO 8601.
    """
    document = artefacts.read_json(path)
    clean, hits = scrub(document, known)
    if clean is None:  # all of it is about somebody erased
        path.unlink()
        return
    if path.name == "audit.json" and pictures_of_people(clean):
        clean["split"]["pictures"], hits = None, hits + 1
    lost, emptied = _spoken_for(path, rows), _spoken_for(path, pointers)
    if lost or emptied or (hits and path.name in _MARKED):
        entry = {"commitment": commitment, "erased_at": erased_at, "rows": lost, "pointers": emptied}
        there = [name for name in sorted({*lost, *emptied}) if (path.parent / name).is_file()]
        files = {name: file_sha256(path.parent / name) for name in there}
        clean = mark(clean, entry | ({"itself": hits} if hits else {}), files)
    if (
        lost and "faces" in clean and "fingerprint" in clean
    ):  # a night's queries, whose faces are counted to find their places
        clean["faces"] = artefacts.open_artefact(path.with_suffix(".parquet"), "embeddings").metadata.num_rows
    content = encode_json(clean)
    if content != encode_json(document):
        write_bytes(path, content)


def _spoken_for(path: Path, files: Mapping[str, int]) -> dict[str, int]:
    """Return those files whose rows a document counts: all of its folder's, or those of its own name."""
    return {name: n for name, n in files.items() if path.name in _MARKED or name.partition(".")[0] == path.stem}


def _scrub(value: Any, known: Known, *, is_label: bool) -> tuple[Any, int]:
    if isinstance(value, str):
        return (ERASED, 1) if _names(value, known, is_label=is_label) else (value, 0)
    if isinstance(value, dict):
        return _scrub_object(value, known)
    if isinstance(value, list):
        kept, hits = [], 0
        for one in value:
            if isinstance(one, str) and _names(one, known, is_label=is_label):
                hits += 1
                continue
            clean, more = _scrub(one, known, is_label=is_label)
            hits += more
            if clean is not _GONE:
                kept.append(clean)
        return kept, hits
    return value, 0


def _scrub_object(value: dict[str, Any], known: Known) -> tuple[Any, int]:
    if _is_about(value, known):
        return _GONE, 1
    kept, hits = {}, 0
    for key, one in value.items():
        clean, more = _scrub(one, known, is_label=key in _LABEL_KEYS)
        hits += more
        kept[key] = ERASED if clean is _GONE else clean
    return kept, hits


def _is_about(value: dict[str, Any], known: Known) -> bool:
    """True for an object that is about somebody erased: `identity` (with `index`), `uri` or `item_id` says so."""
    label, index = value.get("identity"), value.get("index")
    if isinstance(label, str) and (label in known.labels or f"{index}\0{label}" in known.orphans):
        return True
    uri = value.get("uri")
    named = isinstance(uri, str) and (_names(uri, known, is_label=False) or f"{uri}\0{label or ''}" in known.names)
    return named or value.get("item_id") in known.items


def _names(text: str, known: Known, *, is_label: bool) -> bool:
    if is_label and text in known.labels:
        return True
    if text in known.uris or text in known.items or text.rpartition(":")[0] in known.items:
        return True
    return f"{text.rstrip('/')}/".startswith(known.sources)
