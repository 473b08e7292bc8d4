"""How long work tells how far it is.  Libraries report; only the command line shows."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Where a job reports its steps.  Calls come from one thread."""

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a stage of `total` units (None: not known), of which `done` were finished before."""
        ...

    def advance(self, units: int) -> None:
        """Report finished units of the current stage."""
        ...

    def note(self, sentence: str) -> None:
        """Tell the user one thing that they should know."""
        ...


class Silent:
    """Reports to nobody: what a library call gets when it brings no `Progress`."""

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""

    def advance(self, units: int) -> None:
        """See `Progress.advance`."""

    def note(self, sentence: str) -> None:
        """See `Progress.note`."""
