"""The pages over several runs: the overview, and the comparison of two."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from indexes.errors import IndexesError
from scanner import artefacts
from scanner.errors import EmbedderMismatch, QueryError, ScannerError
from scanner.report.acknowledged import Acknowledged, Finding
from scanner.report.curves import Plot
from scanner.report.diff import diff_runs
from scanner.serve.figures import trend_figure
from scanner.serve.shelf import Run, Shelf, stamp_of
from scanner.serve.site import Site, query_of, refuse_unknown, site_of
from scanner.serve.tables import WAIT_S

SHOWN_RUNS = 30
"""Runs of one series on the overview; `?all=SERIES` shows the rest."""
LISTED = 60
"""Findings of each kind that a comparison lists."""
TREND_MIN = 3
"""Fewer runs make no line."""
COMPARISONS = 2
"""Comparisons at once: of large runs each takes half a gigabyte, and half a minute."""
_NAMED_MAX = 100_000
_comparing = threading.BoundedSemaphore(COMPARISONS)


@dataclass(frozen=True, slots=True)
class Entry:
    """A run on the overview; `new` counts named identities that the run before did not name and nobody acknowledged."""

    id: str
    label: str
    run: Run | None
    problem: str
    new: int | None
    before: str | None


@dataclass(frozen=True, slots=True)
class Series:
    """Runs of one name, newest first, with their counts over time."""

    number: int
    name: str
    entries: tuple[Entry, ...]
    in_all: int
    trend: Plot | None


def overview(request: Request) -> Response:
    """Show all runs, by series."""
    site = site_of(request)
    given = refuse_unknown(query_of(request), ("all",))
    found = _series(site.shelf, shown_whole=given.get("all", ""))
    return site.page("overview.html.j2", here="overview", series=found, runs=sum(one.in_all for one in found))


def compare(request: Request) -> Response:
    """Show what changed from one run to another."""
    site = site_of(request)
    given = refuse_unknown(query_of(request), ("base", "run"))
    labels = [(run_id, site.shelf.label(run_id)) for run_id in site.shelf.ids()]
    values: dict[str, Any] = {"here": "compare", "labels": labels, "base": "", "run": "", "diff": None, "problem": ""}
    if len(labels) > 1:
        values |= {
            "base": labels[-2][0],
            "run": labels[-1][0],
        }  # what is offered at first: the last run and the one before
    if given.get("base") and given.get("run"):
        before, now = (site.run_named(given[name]) for name in ("base", "run"))
        values |= {"base": before.id, "run": now.id}
        if not _comparing.acquire(timeout=WAIT_S):
            raise QueryError(f"{COMPARISONS} comparisons are under way. Try again when one of them is done.")
        try:
            values["diff"] = diff_runs(before.folder, now.folder, listed=LISTED)
        except EmbedderMismatch as error:
            values["problem"] = site.shelf.public(str(error))
        finally:
            _comparing.release()
    return site.page("compare.html.j2", **values)


def _series(shelf: Shelf, *, shown_whole: str) -> list[Series]:
    groups: dict[tuple[Path, str], list[str]] = {}
    for run_id in shelf.ids():
        groups.setdefault(shelf.series(run_id), []).append(run_id)
    return [
        _one_series(shelf, number, name, members, whole=shown_whole == str(number))
        for number, ((_, name), members) in enumerate(groups.items(), 1)
    ]


def _one_series(shelf: Shelf, number: int, name: str, members: list[str], *, whole: bool) -> Series:
    shown = members if whole else members[-SHOWN_RUNS - 1 :]  # one more, for the first one to follow
    opened = [(run_id, *_opened(shelf, run_id)) for run_id in shown]
    entries = []
    for place, (run_id, run, problem) in enumerate(opened):
        prior = next((other for _, other, _ in reversed(opened[:place]) if _alike(other, run)), None)
        entries.append(_entry(shelf, run_id, run, problem, prior))
    entries = entries if whole else entries[-SHOWN_RUNS:]
    good = [entry for entry in entries if entry.run is not None]
    named = [entry.run.named for entry in good if entry.run is not None]
    matched = [entry.run.summary["results"]["matched_identities"] for entry in good if entry.run is not None]
    lines = [("identities named", named), ("identities matched", matched)]
    alike = all(_alike(one.run, good[0].run) for one in good)
    trend = trend_figure([entry.label for entry in good], lines) if len(good) >= TREND_MIN and alike else None
    return Series(number, name, tuple(entries[::-1]), len(members), trend)


def _entry(shelf: Shelf, run_id: str, run: Run | None, problem: str, prior: Run | None) -> Entry:
    before = None if prior is None else prior.id
    try:
        new = None if run is None else _newly_named(shelf, run, prior)
    except ScannerError as error:  # what was named, or acknowledged, cannot be read
        return Entry(run_id, shelf.label(run_id), None, shelf.public(str(error)), None, before)
    return Entry(run_id, shelf.label(run_id), run, problem, new, before)


def _opened(shelf: Shelf, run_id: str) -> tuple[Run | None, str]:
    """Return a run, or what is wrong with it."""
    try:
        run = shelf.run(run_id)
    except ScannerError as error:
        return None, shelf.public(str(error))
    return run, "" if run is not None else "It has been taken away."


def _alike(one: Run | None, other: Run | None) -> bool:
    """Return whether two runs searched the same indexes with the same embedder, so that one follows the other."""
    if one is None or other is None:
        return False
    same_network = one.summary["road"]["embedder"]["fingerprint"] == other.summary["road"]["embedder"]["fingerprint"]
    return same_network and one.indexes == other.indexes


def _newly_named(shelf: Shelf, run: Run, prior: Run | None) -> int | None:
    """Count identities that a run names, the run before did not, and nobody acknowledged; None where nobody is weighed."""
    if run.named is None:
        return None
    if not run.named:
        return 0
    path = run.acknowledged_path
    seen = path.stat().st_mtime_ns if path.exists() else 0
    key = ("newly", run.id, stamp_of(run), seen, *(() if prior is None else (prior.id, stamp_of(prior))))

    def work() -> int:
        before = set() if prior is None else _names(prior)
        known: Acknowledged = run.acknowledged()
        return sum(Finding(*who) not in known for who in _names(run) - before)

    return shelf.remembered(key, work)


def _names(run: Run) -> set[tuple[str, str]]:
    """Return (index, identity) of those that a run names; its table has the most unusual ones first."""
    found: set[tuple[str, str]] = set()
    if run.level is None:
        return found
    columns = ["index", "identity", "q_value"]
    for table in artefacts.iter_tables(run.folder / "identities.parquet", "identities", rows_max=8192, columns=columns):
        rows = [(row["index"], row["identity"]) for row in table.to_pylist() if row["q_value"] <= run.level]
        found.update(rows)
        if not rows or len(found) > _NAMED_MAX:
            break
    return found


def problem_page(request: Request, error: Exception) -> Response:
    """Say on a page what went wrong: what the visitor asked for, or what is damaged."""
    site: Site = site_of(request)
    if isinstance(error, HTTPException):
        status, says = error.status_code, str(error.detail)
    elif isinstance(error, QueryError):  # the statements are ours, so it is time or memory that it wants
        status, says = 503, str(error)
    elif isinstance(error, (ScannerError, IndexesError)):
        status, says = 400, site.shelf.public(str(error))
    elif isinstance(error, OSError):
        status, says = 500, f"The disk does not take or give it: {error.strerror}."
    else:
        status, says = (
            500,
            "This is a bug of the scanner, or the run is of a kind that it does not know; stderr says more.",
        )
    return site.page("problem.html.j2", status=status, here="", code=status, says=says)
