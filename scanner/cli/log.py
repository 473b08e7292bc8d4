"""A log for machines: JSON lines on stderr, one an event.

    {"time": "2026-01-01T02:00:00.123+00:00", "level": "info", "event": "stage_end", "stage": "faces of gen", ...}

Counts, rates and sentences alone: pictures, identities and matches are never named.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import click

from scanner.cli.talk import LINE_EVERY_S

Level = Literal["info", "warning", "error"]


def event(level: Level, name: str, **fields: Any) -> None:
    """Write a line."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    click.echo(json.dumps({"time": now, "level": level, "event": name, **fields}, ensure_ascii=False), err=True)


class JsonLines:
    """A `Progress`: a line at the start and at the end of a stage, and one every half minute."""

    def __init__(self) -> None:
        self._stage: dict[str, Any] = {}
        self._done = 0
        self._started = self._spoke = time.monotonic()

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""
        self.finish()
        self._stage = {"stage": name, "unit": unit, "total": total, "done_before": done}
        self._done = 0
        self._started = self._spoke = time.monotonic()
        event("info", "stage_start", **self._stage)

    def advance(self, units: int) -> None:
        """See `Progress.advance`."""
        self._done += units
        if time.monotonic() - self._spoke >= LINE_EVERY_S:
            self._spoke = time.monotonic()
            self._tell("stage_progress")

    def note(self, sentence: str) -> None:
        """See `Progress.note`."""
        event("warning", "note", text=sentence)

    def finish(self) -> None:
        """Close the current stage."""
        if self._stage:
            self._tell("stage_end")
        self._stage = {}

    def _tell(self, name: str) -> None:
        seconds = time.monotonic() - self._started
        rate = round(self._done / seconds, 3) if seconds else None
        event("info", name, **self._stage, done=self._done, seconds=round(seconds, 3), per_s=rate)


@contextmanager
def json_lines() -> Iterator[JsonLines]:
    """Lend a log."""
    lines = JsonLines()
    try:
        yield lines
    finally:
        lines.finish()


def stopped(error: BaseException) -> None:
    """Write the line of a start that ended early."""
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
    event("error", "stopped", kind=type(error).__name__, text=text)


def night_end(account: Mapping[str, Any], *, exit_code: int, folder: str) -> None:
    """Write the lines that end a night: one a set, one an error, one for the whole."""
    for kind, sets in account["sets"].items():
        for name, one in sets.items():
            event(
                "info",
                "set_end",
                set=f"{kind}/{name}",
                gone=one["gone_entries"],
                entries=one["entries"],
                new=one["new"],
            )
    for name, run in account["runs"].items():
        numbers = {"unchanged": run["unchanged"], "compared": run["compared"], "of": run["of"], **run["results"]}
        verdict = run["verdict"] and run["verdict"]["state"]
        event("info", "run_end", set=f"queries/{name}", verdict=verdict, findings=run["diff"]["findings"], **numbers)
    for error in account["errors"]:
        event("error", "not_done", set=error["set"], text=error["why"])
    event("info", "night_end", night=account["night"], exit_code=exit_code, folder=folder)
