"""Which columns of a table say whom its rows are about: derived from the names that all our schemas share.

A row has one side (a face, a photo) or two (a match, a pair of duplicates).  A side that is to be erased takes its row
along.  Pointers at an erased face in a row of somebody else's are emptied, and the row stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Side:
    """The columns of one side of a row, by name; None where a table does not have it.

    Attributes:
        uri: the place of the picture.
        label: the identity.
        item: the hash of the picture's bytes.
        face: the face's id, `item:ordinal` where there was a picture.
        others: more places of the same picture.
        reference: an index's own int64 id.
    """

    uri: str | None = None
    label: str | None = None
    item: str | None = None
    face: str | None = None
    others: str | None = None
    reference: str | None = None


_FACES: Final = ("id", "face_id", "query_id")
INDEX: Final = "index"
"""Names the index that a row's references lie in."""
VECTOR: Final = "embedding"
FACE_POINTERS: Final = frozenset({"best_query_id"})
REFERENCE_POINTERS: Final = {"best_reference_id": "best_index"}
LABEL_POINTERS: Final = frozenset({"candidate_identity", "null_identity"})
"""Each holds `index/identity`."""

PERSONAL: Final = frozenset(
    {
        "uri", "reference_uri", "other_uri", "query_uri", "other_uris", "item_id", "identity", "other_identity",
        "reference_id", "other_id", INDEX, VECTOR, *_FACES, *FACE_POINTERS, *LABEL_POINTERS, *REFERENCE_POINTERS,
        *REFERENCE_POINTERS.values(),
    }
)  # fmt: skip
"""Columns that lead to a person, or from one."""
CARRIED: Final = frozenset({"crop_png", "crop_hash", "latent", "image", "box", "quality"})
"""What is of a person's picture and leads to nobody by itself: it goes with its row."""
IMAGES: Final = "generated"
"""The one schema of pictures without a name: a row is known by the hash of its picture."""
NAMELESS_VECTORS: Final = frozenset({"matched"})
"""Tables of work folders with vectors of people whom they do not name: such a folder is removed whole."""


def sides_of(schema: pa.Schema) -> tuple[Side, ...]:
    """Return the sides of a table's rows; none where nothing in it leads to a person."""
    names = set(schema.names)

    def there(name: str) -> str | None:
        return name if name in names else None

    face = next((name for name in _FACES if name in names and pa.types.is_string(schema.field(name).type)), None)
    sides = []
    if "uri" in names:
        sides.append(Side("uri", there("identity"), there("item_id"), face, there("other_uris")))
    if "reference_uri" in names:
        sides.append(Side("reference_uri", there("identity"), there("item_id"), reference=there("reference_id")))
    if "other_uri" in names:
        sides.append(Side("other_uri", there("other_identity"), reference=there("other_id")))
    if "query_uri" in names:
        sides.append(Side("query_uri", face=there("query_id")))
    if not sides and names & {"identity", "query_id", "reference_id", "item_id"}:
        sides.append(
            Side(None, there("identity"), there("item_id"), there("query_id"), reference=there("reference_id"))
        )
    return tuple(sides)
