"""Stopping at a time of day: between two finished pieces of work, never within one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from scanner.errors import ScannerError, UsageError
from scanner.progress import Progress


class StoppedForTonight(ScannerError):
    """The deadline has come; what is finished is kept, and the next start goes on behind it."""

    exit_code = 4


def next_time(text: str, now: datetime) -> datetime:
    """Return when `06:00` is next, in the time zone of `now`.

    Raises:
        UsageError: no time of day.
    """
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text.strip())
    if match is None:
        raise UsageError(f"--until {text!r} is no time of day. Write it as 06:00.")
    when = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return when if when > now else when + timedelta(days=1)


class Deadline:
    """A `Progress` that passes everything on, and stops the work after the piece during which the time came."""

    def __init__(self, progress: Progress, *, stop: datetime, clock: Callable[[], datetime]) -> None:
        self._progress, self._stop, self._clock = progress, stop, clock

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""
        self._check()
        self._progress.stage(name, total=total, unit=unit, done=done)

    def advance(self, units: int) -> None:
        """See `Progress.advance`; raises StoppedForTonight."""
        self._progress.advance(units)
        self._check()

    def note(self, sentence: str) -> None:
        """See `Progress.note`."""
        self._progress.note(sentence)

    def _check(self) -> None:
        if self._clock() >= self._stop:
            raise StoppedForTonight(
                f"It is {self._stop:%H:%M}: stopped as asked. What is finished is kept; the next start of the job goes on there."
            )
