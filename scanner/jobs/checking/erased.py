"""Rows that were erased from a result after it was finished: how its documents say so, and what they were before.

A document gets a list `erasures`, one entry an erasure: `commitment` (links it to the record of the erasure), `erased_at`,
`rows` (by file), `pointers` (cells at the erased in rows that stay, by file), `itself` where words in the document were
taken out, and `files_before`, the hashes of the files that changed, where the document has hashes.  All else that it says
stays as it was said.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from indexes.atomic import encode_json

ERASURES: Final = "erasures"


def mark(document: dict[str, Any], erasure: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Return the document with an erasure written into it; the same one twice is there once.

    Args:
        document: JSON; with hashes of its tables under `files`, or without.
        erasure: `commitment`, `erased_at`, `rows` and `pointers` by file name.
        files: the files' hashes now.
    """
    marked = copy.deepcopy(document)
    entries = marked.setdefault(ERASURES, [])
    if any(entry["commitment"] == erasure["commitment"] for entry in entries):
        return marked
    entry = dict(erasure)
    hashed = marked.get("files")
    if isinstance(hashed, dict):
        changed = [name for name in files if name in hashed]
        entry["files_before"] = {name: hashed[name] for name in changed}
        hashed.update({name: files[name] for name in changed})
    entries.append(entry)
    return marked


def erased_rows(document: Mapping[str, Any]) -> dict[str, int]:
    """Return how many rows every file of a result has lost to erasures; 0 where only cells of it were emptied."""
    rows: dict[str, int] = {}
    for entry in document.get(ERASURES, ()):
        for name in {**entry["rows"], **entry["pointers"]}:
            rows[name] = rows.get(name, 0) + int(entry["rows"].get(name, 0))
    return rows


def sha256_before(document: Mapping[str, Any]) -> str | None:
    """Return the hash that the file of a marked document had before the first erasure.

    Whoever kept it sees that what is said is what was said then.  None where the document itself named somebody who was
    erased.
    """
    before = copy.deepcopy(dict(document))
    for entry in reversed(before.pop(ERASURES, [])):
        if entry.get("itself"):
            return None
        before.get("files", {}).update(entry.get("files_before", {}))
    return hashlib.sha256(encode_json(before)).hexdigest()
