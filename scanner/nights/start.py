"""A start of a job with what belongs around it: whatever happens, the metrics are written and the command is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes.errors import IndexesError
from scanner import artefacts
from scanner.errors import ScannerError
from scanner.jobs.measuring.meter import COSTS_NAME
from scanner.nights.account import EXIT_DONE, EXIT_INCOMPLETE
from scanner.nights.after import is_wanted, run_after, summary_of
from scanner.nights.config import JobConfig, place_of
from scanner.nights.metrics import samples, write_metrics
from scanner.nights.night import NightResult
from scanner.nights.state import State
from scanner.progress import Progress

EXIT_BUG, EXIT_INTERRUPTED = 3, 130


@dataclass(frozen=True, slots=True)
class Start:
    """A start of the job `name`, whose file lies in `beside`."""

    name: str
    config: JobConfig
    beside: Path

    def run(self, night: Callable[[], NightResult], progress: Progress) -> tuple[NightResult, int]:
        """Run the night; return it, and the exit code: the night's, or 4 where it was 0 and what comes after it failed.

        Whatever the night raises is raised, after the metrics were written and the command was run.
        """
        try:
            result = night()
        except BaseException as error:
            for sentence in self._end(exit_code_after(error), None, error):
                progress.note(sentence)
            raise
        problems = self._end(result.exit_code, result, None)
        for sentence in problems:
            progress.note(sentence)
        return result, EXIT_INCOMPLETE if problems and result.exit_code == EXIT_DONE else result.exit_code

    def _end(self, exit_code: int, result: NightResult | None, error: BaseException | None) -> list[str]:
        account, folder = (None, None) if result is None else (result.account, result.folder)
        summary = summary_of(self.name, exit_code, account, folder, error)
        problems = []
        if exit_code != EXIT_INTERRUPTED and is_wanted(self.config.after, summary):
            failed = run_after(self.config.after, self.beside, summary)
            problems += [] if failed is None else [failed]
        if self.config.metrics.textfile is not None:
            try:
                self._write_metrics(exit_code, hook_failed=bool(problems))
            except (OSError, ScannerError, IndexesError) as why:
                problems.append(f"The metrics could not be written: {why}")
        return problems

    def _write_metrics(self, exit_code: int, *, hook_failed: bool) -> None:
        state = State(Path(place_of(self.config.job.folder, self.beside)))
        account = state.last()
        costs: Mapping[str, Any] | None = None
        if account is not None and (path := state.night(account["night"]) / COSTS_NAME).exists():
            costs = artefacts.read_json(path)
        path = Path(place_of(str(self.config.metrics.textfile), self.beside))
        head = (
            ("exit_code", dict[str, str](), float(exit_code)),
            ("end_time_seconds", dict[str, str](), round(time.time(), 3)),
            ("hook_failed", dict[str, str](), float(hook_failed)),
        )
        write_metrics(path, self.name, iter([*head, *samples(account, costs)]))


def exit_code_after(error: BaseException) -> int:
    """Return the exit code of a start that ended so."""
    if isinstance(error, ScannerError):
        return error.exit_code
    if isinstance(error, IndexesError | OSError):
        return 2
    return EXIT_BUG if isinstance(error, Exception) else EXIT_INTERRUPTED
