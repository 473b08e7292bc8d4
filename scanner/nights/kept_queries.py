"""Where the faces of a set of queries are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scanner.nights.collection import Collection, document_of
from scanner.nights.entries import Fresh


@dataclass(frozen=True, slots=True)
class KeptQueries:
    """See `take.Kept`."""

    folder: Path
    night: int

    def put(self, fresh: Fresh) -> None:
        """See `Kept.put`."""
        if fresh.parts is None or fresh.opened is None or not fresh.counts.entries:
            return
        collection = Collection(self.folder, fresh.seen)
        document = document_of(
            fresh.counts,
            fresh.opened.description,
            fingerprint=fresh.opened.fingerprint,
            dim=fresh.opened.road.embedder.dim,
        )
        collection.add(
            self.night, fresh.parts.faces(), fresh.rejects, schema=fresh.parts.faces_schema, document=document
        )
