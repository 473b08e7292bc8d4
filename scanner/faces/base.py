"""What a face finder is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scanner.records import Face, Picture, Reject


@dataclass(frozen=True, slots=True)
class Found:
    """The faces of one picture, left to right as the finder ranks them, and the faces it left out.

    Without a face there is at least one reject that says why: no picture ends without an outcome.
    """

    faces: tuple[Face, ...] = ()
    rejects: tuple[Reject, ...] = ()


class FaceFinder(Protocol):
    """Pixels in, crops out.  Thread-safe; a finder never sees an index."""

    @property
    def name(self) -> str:
        """Short name of the road: detect, aligned, whole, dlib."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the detector's weights and of every setting that changes a crop."""
        ...

    def find(self, picture: Picture) -> Found:
        """Return the faces of `picture`, best first, and what was left out with its reason."""
        ...
