"""What is to be erased: what was asked for, and what was learnt on the way to be of the same person or picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner.errors import UsageError
from scanner.sources.names import INSIDE

ITEM_ID_DIGITS: Final = 32
ERASED: Final = "(erased)"
"""Stands where an erased word stood in a document that stays."""
_INSIDE: Final = ("/", INSIDE)
VECTORS_MAX: Final = 20_000
"""Up to so many erased vectors, all that remain are compared with them; more would be a scan of its own."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; everything that fits any of it goes.

    Attributes:
        identities: labels, as the user's data set has them.
        uris: places of pictures, as they stand in tables.
        item_ids: first 128 bits of the SHA-256 of a picture's bytes, 32 hex digits.
        sources: folders, archives or buckets: all pictures in them.  `photos/p1` is not `photos/p10`.
    """

    identities: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    item_ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise UsageError unless something is asked for, and every part of it can fit something."""
        words = (*self.identities, *self.uris, *self.item_ids, *self.sources)
        if not words:
            raise UsageError("Say what to erase: --identity, --uri, --item-id or --source.")
        if not all(words):
            raise UsageError("An empty word would fit everything or nothing. Leave it out.")
        for item in self.item_ids:
            if not is_item_id(item):
                raise UsageError(f"--item-id takes {ITEM_ID_DIGITS} hex digits, as in the column item_id; one has not.")

    def counts(self) -> dict[str, int]:
        """Return how many of each were asked for: all of it that a record may say."""
        return {name: len(getattr(self, name)) for name in ("identities", "uris", "item_ids", "sources")}

    def document(self) -> dict[str, list[str]]:
        """Return it as JSON, in one form whatever the order in which it was given."""
        return {name: sorted(set(getattr(self, name))) for name in ("identities", "uris", "item_ids", "sources")}


@dataclass(slots=True)
class Known:
    """Everything by which a row of the erased is told from others.

    Attributes:
        labels: identities.
        uris: places that were asked for by themselves.
        sources: beginnings of places in sources, up to a slash; a place that is one of them without its slash is the source.
        items: hashes of pictures.
        names: `place NUL label` of pictures that have no hash.
        orphans: `index NUL label` of identities of whom no reference is left in that index.
        references: `index NUL id`.
        vectors: by fingerprint of the embedder, (n, dim) float32 unit rows.
    """

    labels: set[str] = field(default_factory=set)
    uris: set[str] = field(default_factory=set)
    sources: tuple[str, ...] = ()
    items: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    orphans: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(cls, wanted: Wanted) -> Self:
        """Return what is known before anything was read."""
        places = {source.rstrip("/") for source in wanted.sources}
        inside = tuple(f"{place}{mark}" for place in sorted(places) for mark in _INSIDE)
        return cls(set(wanted.identities), set(wanted.uris), inside, set(wanted.item_ids))

    def size(self) -> int:
        """Return a number that grows whenever something is learnt."""
        sets = (self.labels, self.uris, self.items, self.names, self.orphans, self.references)
        return sum(map(len, sets)) + sum(map(len, self.vectors.values()))

    def places(self) -> set[str]:
        """Return the places of pictures that are to go."""
        return self.uris | {name.partition("\0")[0] for name in self.names}

    def add_vectors(self, fingerprint: str, vectors: NDArray[np.float32]) -> None:
        """Remember erased vectors of one embedder, each once."""
        if len(vectors):
            seen = self.vectors.get(fingerprint, np.empty((0, vectors.shape[1]), np.float32))
            self.vectors[fingerprint] = np.unique(np.concatenate([seen, vectors]), axis=0)

    def document(self) -> dict[str, Any]:
        """Return all but the vectors as JSON."""
        sets = ("labels", "uris", "sources", "items", "names", "orphans", "references")
        return {name: sorted(getattr(self, name)) for name in sets}

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        """Return what `document` wrote."""
        sets = {name: set(words) for name, words in document.items()}
        return cls(
            sets["labels"], sets["uris"], tuple(document["sources"]), sets["items"], sets["names"], sets["orphans"],
            sets["references"],
        )  # fmt: skip


@dataclass(slots=True)
class Local:
    """What is known in one folder alone, where ids are those of its own tables.

    Attributes:
        index: the index that tables without a column for it are about.
        indexes: the indexes of a joint statement, whose table has no column for them either.
        faces: ids of faces.
        references: `index NUL id`.
    """

    index: str = ""
    indexes: tuple[str, ...] = ()
    faces: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)

    def size(self) -> int:
        """Return a number that grows whenever something is learnt."""
        return len(self.faces) + len(self.references)


def is_item_id(text: str) -> bool:
    """True for what the hash of a picture looks like."""
    return len(text) == ITEM_ID_DIGITS and not set(text) - set("0123456789abcdef")


def joined(left: Iterable[Any], right: Iterable[Any]) -> list[str]:
    """Return `left NUL right`, with nothing for None."""
    return [
        f"{'' if one is None else one}\0{'' if other is None else other}"
        for one, other in zip(left, right, strict=True)
    ]


def strings(column: pa.ChunkedArray | pa.Array, rows: NDArray[np.bool_]) -> set[str]:
    """Return the texts of some rows, without null and without the empty one."""
    return {text for text in column.filter(pa.array(rows)).to_pylist() if text}
