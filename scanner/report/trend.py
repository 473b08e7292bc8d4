"""Runs in the order of time: what each found, and what was new in it since the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from scanner import artefacts
from scanner.errors import EmbedderMismatch
from scanner.report.diff import diff_runs
from scanner.report.diff_findings import FindingCounts
from scanner.report.diff_pairs import BLOCK_ROWS
from scanner.report.read import read_summary
from scanner.report.runs import night_of, run_labels

TREND_FORMAT: Final = "identity-leak-trend"
TREND_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class TrendRow:
    """One run.

    Attributes:
        run: its label.
        series: runs of one series are compared with each other: a nightly job's runs of one name; "" for all others.
        queries, references: scanned faces, and references that they were searched among.
        threshold: cosine from which a pair is a match.
        matches: pairs at or above it.
        matched_identities: identities with a match.
        findings: these, what is named without a match, and matched references without an identity.
        named: identities that the verdict names; None where nobody could be weighed (no null, inconclusive).
        state: of the verdict; None without a null.
        best_score: highest cosine of all scanned faces; None where there is none.
        rejects: images and faces left out.
        new, gone, changed: findings since the run before of the series; None in its first run, and where the run before is
            of another embedder.
    """

    run: str
    series: str
    queries: int
    references: int
    threshold: float
    matches: int
    matched_identities: int
    findings: int
    named: int | None
    state: str | None
    best_score: float | None
    rejects: int
    new: int | None
    gone: int | None
    changed: int | None


@dataclass(frozen=True, slots=True)
class Trend:
    """Runs in the order given."""

    rows: tuple[TrendRow, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the trend as a JSON object; no clock."""
        rows = [asdict(row) for row in self.rows]
        return {"format": TREND_FORMAT, "format_version": TREND_VERSION, "runs": rows}


def trend_of(runs: Sequence[Path]) -> Trend:
    """Read runs and compare each with the one before of its series.

    Args:
        runs: finished run folders, oldest first (see `scanner.report.runs.find_runs`); memory does not grow with them.

    Raises:
        ArtefactError: one is no finished run, is damaged, or a newer version wrote it.
    """
    last: dict[str, Path] = {}
    rows = []
    for run, label in zip(runs, run_labels(runs), strict=True):
        series = run.name if night_of(run) is not None else ""
        counts = None if series not in last else _counts(last[series], run)
        rows.append(_row(run, label, series, counts))
        last[series] = run
    return Trend(tuple(rows))


def _counts(base: Path, run: Path) -> FindingCounts | None:
    """Return what changed; None where the runs are of two embedders."""
    try:
        return diff_runs(base, run, acknowledged={}, listed=0).findings
    except EmbedderMismatch:
        return None


def _row(run: Path, label: str, series: str, changed: FindingCounts | None) -> TrendRow:
    summary = read_summary(run)
    counts, results, evidence = summary["counts"], summary["results"], summary.get("evidence")
    found = changed or diff_runs(run, run, acknowledged={}, listed=0).findings
    state = None if evidence is None else str(evidence["verdict"]["state"])
    return TrendRow(
        run=label,
        series=series,
        queries=results["queries"],
        references=sum(one["rows"] for one in summary["indexes"]),
        threshold=summary["threshold"]["value"],
        matches=results["matches"],
        matched_identities=results["matched_identities"],
        findings=found.now,
        named=found.named_now if state in ("named", "none") else None,
        state=state,
        best_score=_best_score(run),
        rejects=counts["rejected"] + counts["faces_rejected"],
        new=None if changed is None else changed.new,
        gone=None if changed is None else changed.gone,
        changed=None if changed is None else changed.changed,
    )


def _best_score(run: Path) -> float | None:
    path = run / "queries.parquet"
    tables = artefacts.iter_tables(path, "queries", rows_max=BLOCK_ROWS, columns=["best_score"])
    best = [pc.max(table["best_score"]).as_py() for table in tables]
    return max((score for score in best if score is not None), default=None)
