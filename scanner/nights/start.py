"""A start of a job with what belongs around it: whatever happens, the metrics are written and the command is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from indexes.errors import IndexesError
from scanner import artefacts
from scanner.errors import ScannerError
from scanner.jobs.measuring.meter import COSTS_NAME
from scanner.nights.account import EXIT_DONE, EXIT_INCOMPLETE
from scanner.nights.after import is_wanted, run_after, summary_of
from scanner.nights.config import JobConfig, place_of
from scanner.nights.metrics import Sample, samples, write_metrics
from scanner.nights.night import NightResult
from scanner.nights.state import State
from scanner.nights.telemetry import Telemetry, telemetry
from scanner.progress import Progress

EXIT_BUG, EXIT_INTERRUPTED = 3, 130


@dataclass(frozen=True, slots=True)
class Start:
    """A start of the job `name`, whose file lies in `beside`."""

    name: str
    config: JobConfig
    beside: Path

    def run(
        self, night: Callable[[Progress], NightResult], progress: Progress, tell: Callable[[str], None]
    ) -> tuple[NightResult, int]:
        """Run the night; return it, and the exit code: the night's, or 4 where it was 0 and what comes after it failed.

        Whatever the night raises is raised, after the metrics were written and the command was run.

        Args:
            night: runs it, and tells a progress.
            progress: where to report.
            tell: hears in sentences what comes after the night and failed.
        """
        traced = telemetry(self.name, progress)
        try:
            result = night(traced or progress)
        except BaseException as error:
            for problem in self._end(exit_code_after(error), None, error, traced):
                tell(problem)
            raise
        problems = self._end(result.exit_code, result, None, traced)
        for problem in problems:
            tell(problem)
        return result, EXIT_INCOMPLETE if problems and result.exit_code == EXIT_DONE else result.exit_code

    def _end(
        self,
        exit_code: int,
        result: NightResult | None,
        error: BaseException | None,
        traced: Telemetry | None,
    ) -> list[str]:
        """Do what belongs behind a start; return what of it failed."""
        account, folder = (None, None) if result is None else (result.account, result.folder)
        summary = summary_of(self.name, exit_code, account, folder, error)
        problems: list[str] = []
        if exit_code != EXIT_INTERRUPTED and is_wanted(self.config.after, summary):
            failed = run_after(self.config.after, self.beside, summary)
            problems += [] if failed is None else [failed]
        try:
            found = [*_head(exit_code, hook_failed=bool(problems)), *self._samples()]
            if self.config.metrics.textfile is not None:
                path = Path(place_of(self.config.metrics.textfile, self.beside))
                write_metrics(path, self.name, found)
            if traced is not None:
                traced.end(exit_code, found)
        except (OSError, ScannerError, IndexesError) as why:
            problems.append(f"The metrics could not be written: {why}")
        return problems

    def _samples(self) -> Iterator[Sample]:
        state = State(Path(place_of(self.config.job.folder, self.beside)))
        account = state.last()
        costs = None if account is None else state.night(account["night"]) / COSTS_NAME
        return samples(account, artefacts.read_json(costs) if costs is not None and costs.exists() else None)


def _head(exit_code: int, *, hook_failed: bool) -> list[Sample]:
    return [
        ("exit_code", {}, exit_code),
        ("end_time_seconds", {}, round(time.time(), 3)),
        ("hook_failed", {}, int(hook_failed)),
    ]


def exit_code_after(error: BaseException) -> int:
    """Return the exit code of a start that ended so."""
    if isinstance(error, ScannerError):
        return error.exit_code
    if isinstance(error, IndexesError | OSError):
        return 2
    return EXIT_BUG if isinstance(error, Exception) else EXIT_INTERRUPTED
