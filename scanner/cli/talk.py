"""What a person sees while a job runs: a bar on a terminal, a line now and then in a log, nothing when quiet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from scanner.progress import Progress, Silent

if TYPE_CHECKING:  # the command line starts fast
    from scanner.jobs.scanning.estimate import Estimate

LINE_EVERY_S = 30.0
TEXT_CHARS_MAX = 20_000
"""What of a message is shown: a broken document can put any amount of itself into one."""


@contextmanager
def talk(*, quiet: bool) -> Iterator[Progress]:
    """Lend the progress that fits where stderr goes."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        lines = _Lines()
        yield lines
        lines.finish()


def say(text: str, *, quiet: bool = False) -> None:
    """Write a line of talk."""
    if not quiet:
        click.echo(shown(text), err=True)


def shown(text: str) -> str:
    """Return a text that a terminal only shows: names and labels come from files, and may hold what it would obey."""
    cut = text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]} ..."
    if cut.replace("\n", "").isprintable():
        return cut
    from scanner.sources.names import printable

    return "\n".join(map(printable, cut.split("\n")))


def answer(document: Mapping[str, Any]) -> None:
    """Write the result as one JSON object on the last line of stdout."""
    click.echo(json.dumps(document, sort_keys=True, ensure_ascii=False))


def tell_costs(costs: Mapping[str, Any] | None, *, quiet: bool) -> None:
    """Say what a job took beside what was predicted; None: nothing was left to do."""
    if costs is not None:
        from scanner.jobs.measuring.meter import costs_sentence

        say(costs_sentence(costs), quiet=quiet)


def tell_estimate(estimate: Estimate, *, quiet: bool) -> int:
    """Say what a job would take; return the exit code."""
    say(estimate.sentence(), quiet=quiet)
    answer(estimate.document())
    return 0


class _Lines:
    """One line at the start of a stage, one every half minute, one at its end."""

    def __init__(self) -> None:
        self._name = ""
        self._unit = ""
        self._total: int | None = None
        self._done = self._before = 0
        self._started = self._spoke = time.monotonic()
        self._notes: set[str] = set()

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""
        self.finish()
        self._name, self._unit, self._total, self._done, self._before = name, unit, total, done, done
        self._started = self._spoke = time.monotonic()
        if done:
            say(f"{name}: {done} {unit} were done before")

    def advance(self, units: int) -> None:
        """See `Progress.advance`."""
        self._done += units
        now = time.monotonic()
        if now - self._spoke >= LINE_EVERY_S:
            self._spoke = now
            say(self._line(now))

    def note(self, sentence: str) -> None:
        """See `Progress.note`; a job that opens one network for several sources need not remember what it told."""
        if sentence not in self._notes:
            self._notes.add(sentence)
            say(f"note: {sentence}")

    def finish(self) -> None:
        """Close the current stage."""
        if self._name:
            say(self._line(time.monotonic()))
        self._name = ""

    def _line(self, now: float) -> str:
        rate = (self._done - self._before) / max(now - self._started, 1e-9)
        of = f"/{self._total}" if self._total else ""
        left = (
            f", {(self._total - self._done) / rate:.0f} s left"
            if self._total and rate and self._done < self._total
            else ""
        )
        return f"{self._name}: {self._done}{of} {self._unit}, {rate:.1f}/s{left}"


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"),
               TextColumn("{task.fields[rate]}"), TimeRemainingColumn())  # fmt: skip
    with Bars(*columns, console=console) as bars:
        yield _Bar(bars)


class _Bar:
    """A bar for each stage."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task: Any = None
        self._started, self._done = 0.0, 0
        self._notes: set[str] = set()

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""
        self._task = self._bars.add_task(name, total=total, completed=done, unit=unit, rate="")
        self._started, self._done = time.monotonic(), 0

    def advance(self, units: int) -> None:
        """See `Progress.advance`."""
        self._done += units
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        self._bars.update(self._task, advance=units, rate=f"{rate:.1f}/s")

    def note(self, sentence: str) -> None:
        """See `_Lines.note`."""
        if sentence not in self._notes:
            self._notes.add(sentence)
            self._bars.console.print(f"note: {sentence}", highlight=False, markup=False)
