"""Pictures that were erased and are not to be taken in again, though their source still has them: as salted hashes.

    is_erased = erased_before(state)
    if is_erased(item.item_id): ...

`HOME/erasures/never-again.json` has a salt and, of each picture, the first 128 bits of SHA-256(salt, newline, item id); and the
same of its places, for files of which no byte can be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from indexes.atomic import write_json
from scanner import artefacts
from scanner.erasing.walk import RECORDS
from scanner.errors import ArtefactError

_NAME: Final = "never-again.json"
_FORMAT: Final = "identity-leak-never-again"
_VERSION: Final = 1


def erased_before(home: Path) -> Callable[[str], bool]:
    """Return a function that says of an item id, or of a place, whether the picture was erased from a folder.

    Args:
        home: the folder that has the records, such as that of a nightly job.

    Raises:
        ArtefactError: the file is there and cannot be read, or a newer scanner wrote it.
    """
    document = _read(home / RECORDS / _NAME)
    salt, pictures = str(document.get("salt", "")), frozenset(document.get("pictures", ()))
    return lambda picture: bool(pictures) and _salted(salt, picture) in pictures


def never_again(home: Path, erased: Collection[str], *, salt: str) -> None:
    """Remember erased item ids and places; a file that is there keeps its own salt, and the same again changes nothing."""
    if not erased:
        return
    path = home / RECORDS / _NAME
    old = _read(path)
    salt = str(old.get("salt", salt))
    pictures = {*old.get("pictures", ()), *(_salted(salt, picture) for picture in erased)}
    write_json(path, {"format": _FORMAT, "format_version": _VERSION, "salt": salt, "pictures": sorted(pictures)})


def _read(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    document = artefacts.read_json(path)
    if (document.get("format"), document.get("format_version")) != (_FORMAT, _VERSION):
        raise ArtefactError(
            f"{path} says format {document.get('format')!r}, version {document.get('format_version')!r}; this scanner reads "
            f"{_FORMAT!r}, version {_VERSION}. Without it, who was erased would be taken in again: bring it back from a copy, "
            "or use the scanner that wrote it."
        )
    return document


def _salted(salt: str, picture: str) -> str:
    return hashlib.sha256(f"{salt}\n{picture}".encode()).hexdigest()[:32]
