"""Several sources, one after the other, as one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from scanner.records import Item, Reject
from scanner.sources.base import Source
from scanner.sources.names import listing_hash


@runtime_checkable
class Walkable(Protocol):
    """A source that can count its entries without reading them, though not cheaply."""

    def length(self) -> int:
        """Return how many entries there are."""
        ...


class ChainedSource:
    """The entries of every part, in the order of the parts."""

    def __init__(self, parts: Sequence[Source], *, uri: str = "") -> None:
        """Keep the parts; `uri` is what the user named, if that was one thing (a pattern)."""
        self._parts = tuple(parts)
        self._lengths: dict[int, int] = {}
        first = self._parts[0].uri if self._parts else ""
        self.uri = uri or (f"{first} and {len(self._parts) - 1} more" if len(self._parts) > 1 else first)

    @property
    def parts(self) -> tuple[Source, ...]:
        """The sources, in order."""
        return self._parts

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, parts, bytes and a hash over what every part says of itself."""
        described = [part.describe() for part in self._parts]
        return {
            "kind": "chain",
            "uri": self.uri,
            "parts": len(self._parts),
            "bytes": sum(int(one.get("bytes", 0)) for one in described),
            "listing": listing_hash(json.dumps(one, sort_keys=True) for one in described),
        }

    def count(self) -> int | None:
        """Return how many entries there are, if every part knows."""
        total = 0
        for part in self._parts:
            count = part.count()
            if count is None:
                return None
            total += count
        return total

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Yield the entries of each part in turn; parts that lie before `skip` are only counted."""
        for place, part in enumerate(self._parts):
            if skip and place not in self._lengths:
                self._lengths[place] = _length(part)  # an archive may have to be walked for it, once
            passed = min(skip, self._lengths[place]) if skip else 0
            skip -= passed
            yield from part.entries(skip=passed)


def _length(part: Source) -> int:
    count = part.count()
    if count is not None:
        return count
    return part.length() if isinstance(part, Walkable) else sum(1 for _ in part.entries())
