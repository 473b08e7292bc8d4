"""How a source is to be read: the choices that hold for every kind, and the limits."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from scanner.errors import UsageError

FILE_BYTES_MAX: Final = 64 << 20
"""The largest encoded image that is read, unless the user says otherwise."""
LABELS_BYTES_MAX: Final = 128 << 20
"""The largest `dataset.json`: about two million labels."""
SIDECAR_BYTES_MAX: Final = 1 << 20
"""The largest label file of a single image."""


class IdentityFrom(Enum):
    """Where an item's identity comes from."""

    LABELS = "labels"
    """What the format itself says: a JSON beside the image, `dataset.json`, a column, a record's label."""
    FOLDER = "folder"
    """The first sub-folder: `anna/1.jpg` is `anna`."""
    NAME = "name"
    """The file's name up to its last underscore: `anna_0001.jpg` is `anna`."""
    NOTHING = "nothing"
    """No item has an identity."""


@dataclass(frozen=True, slots=True)
class Options:
    """The resolved choices.  A column of None means: the usual name, if there is such a column."""

    identity_from: IdentityFrom = IdentityFrom.LABELS
    image_column: str | None = None
    identity_column: str | None = None
    bytes_max: int = FILE_BYTES_MAX


def parse_identity_from(word: str | None) -> IdentityFrom:
    """Return the choice that a user's word names; None is NOTHING."""
    if word is None:
        return IdentityFrom.NOTHING
    words = [choice.value for choice in IdentityFrom]
    if word in words:
        return IdentityFrom(word)
    near = difflib.get_close_matches(word, words, n=1)
    hint = f"  Did you mean {near[0]!r}?" if near else ""
    message = f"Identities cannot be taken from {word!r}; the choices are {', '.join(words)}.{hint}"
    raise UsageError(message)
