"""What a source is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from scanner.records import Item, Reject


class Source(Protocol):
    """Where images come from.

    A source has an order of its own that never changes while its content does not: a folder sorts its
    paths, an archive keeps its members' order.  An entry's place in that order is how a killed job
    knows where it was.  A source never sees an index.
    """

    uri: str
    """What the user named, without credentials."""

    def describe(self) -> dict[str, str | int]:
        """Return what identifies the content cheaply (kind, uri, size, listing hash), without clocks.

        Two calls with equal answers promise equal entries; a resumed job compares them.
        """
        ...

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Yield every entry from place `skip` on, as bytes or as a reject with its reason.

        Bad entries are rejects, never exceptions; only a source that cannot be read at all raises
        `SourceError`.  Skipping must not read the skipped images' bytes where the format allows it.
        """
        ...

    def count(self) -> int | None:
        """Return how many entries there are if that is cheap to know, else None."""
        ...
