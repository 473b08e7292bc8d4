"""One self-contained HTML page a run: no script, no remote content, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexes.atomic import write_text
from scanner.report.evidence_view import read_evidence
from scanner.report.histogram import best_score_figure
from scanner.report.joint import read_joint
from scanner.report.read import GROUPS_MAX, PAIRS_MAX, Run, read_run
from scanner.report.template import read_template

REASON_TEXT = {
    "unreadable": "the file could not be read",
    "empty_file": "zero bytes",
    "too_large_file": "larger than the limit on files",
    "not_an_image": "no picture in a known format",
    "truncated": "the picture is cut short",
    "too_many_pixels": "more pixels than the limit",
    "too_small": "too few pixels",
    "archive_cut": "the archive ends in the middle",
    "unsafe_name": "the archive's name for it leaves the archive",
    "not_a_file": "a link or device inside an archive",
    "bad_record": "a broken record",
    "quarantined": "looking at it ends the process: see the job's list of quarantined pictures",
    "erased": "it was erased from this job, and is not taken in again",
    "duplicate": "the same bytes came before",
    "not_aligned": "no aligned crop",
    "no_face": "no face was seen",
    "too_many_faces": "more faces than the limit",
    "face_too_small": "face below the size gate",
    "face_too_blurred": "face below the sharpness gate",
    "face_turned_away": "face below the frontality gate",
    "face_unsure": "detection below the certainty gate",
    "bad_embedding": "the vector is not finite or zero",
    "not_finite": "the generator put out NaN or infinities",
}


def write_page(folder: Path) -> Path:
    """Write `report.html` into a run folder; return its path."""
    path = folder / "report.html"
    write_text(path, render(read_run(folder)))
    return path


def render(run: Run) -> str:
    """Return the page of a run."""
    threshold = run.summary["threshold"]["value"]
    return read_template("report.html.j2", count=_count, expected=expected_text, p=_p).render(
        run=run,
        s=run.summary,
        headline=headline(run),
        view=read_evidence(run.folder, threshold),
        joint=read_joint(run.folder),
        figure=best_score_figure(run.best_scores, threshold),
        groups_max=GROUPS_MAX,
        pairs_max=PAIRS_MAX,
        reason_text=REASON_TEXT,
    )


def headline(run: Run) -> str:
    """Return the run in one sentence that claims no more than was measured."""
    return sentence_of(run.summary)


def sentence_of(summary: Mapping[str, Any]) -> str:
    """Return the same from a run's `run.json` alone."""
    if summary.get("evidence") is not None:
        return str(summary["evidence"]["verdict"]["sentence"])
    found = summary["results"]
    expected = found["false_matches_expected"]
    if found["matches"] == 0:
        return f"None of {_count(found['queries'])} scanned faces comes as close to a reference as the threshold."
    one = found["matched_queries"] == 1
    start = (
        f"{_count(found['matched_queries'])} of {_count(found['queries'])} scanned faces "
        f"come{'s' if one else ''} closer to a reference than the threshold, in {_count(found['matches'])} "
        f"pair{'' if found['matches'] == 1 else 's'}"
    )
    if expected is None:
        return start + "; how many would by chance is not known."
    return f"{start}; about {expected_text(expected)} pairs are expected by chance alone."


def _p(value: float) -> str:
    """A p-value with two digits."""
    return f"{value:.2g}"


def _count(value: int) -> str:
    """Thousands set apart by thin spaces."""
    return f"{value:,}".replace(",", "\N{THIN SPACE}")


def expected_text(value: float) -> str:
    """A rate or an expected number, without false precision."""
    return _count(round(value)) if value >= 10 else f"{value:.2g}"  # noqa: PLR2004
