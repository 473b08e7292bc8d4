"""Numbered parts of a job: of part 17 the tables `000017.KIND.parquet`, and its marker `000017.json`, written last.

A part whose marker is there is complete and is never made again.  Parts are made in order, so the first marker that is
missing is where an interrupted job goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from indexes.atomic import write_json
from scanner import artefacts


@dataclass(frozen=True, slots=True)
class Numbered:
    """The parts in `folder`."""

    folder: Path

    def numbers(self) -> range:
        """Return the numbers of the finished parts, as they are now."""
        return range(next(number for number in count() if not self._marker(number).exists()))

    def table(self, number: int, kind: str) -> Path:
        """Return where a table of a part lies."""
        return self.folder / f"{number:06d}.{kind}.parquet"

    def finish(self, number: int, document: Mapping[str, Any]) -> None:
        """Write a part's marker; all else of the part must be there by now."""
        write_json(self._marker(number), document)

    def documents(self) -> list[dict[str, Any]]:
        """Return what the markers of the finished parts hold, in order."""
        return [artefacts.read_json(self._marker(number)) for number in self.numbers()]

    def _marker(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"
