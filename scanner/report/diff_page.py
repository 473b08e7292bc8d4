"""The page "what is new this morning?": one self-contained HTML file of a diff, without script or remote content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from indexes.atomic import atomic_path
from scanner import artefacts
from scanner.report.acknowledged import Finding
from scanner.report.axes import Axis
from scanner.report.diff import RunDiff
from scanner.report.diff_findings import FindingChange, FindingCounts
from scanner.report.diff_pairs import BLOCK_ROWS, FINDING_KEYS, with_finding
from scanner.report.read import CropKey, read_summary, read_thumbnails
from scanner.report.template import read_template

_COLUMNS = ["query_id", "query_uri", "index", "reference_id", "reference_uri", "identity", "score"]
_STRIP_WIDTH = 150


@dataclass(frozen=True, slots=True)
class Shown:
    """One finding on the page.

    Attributes:
        change: what became of it.
        pair: its closest pair, a row of matches.parquet; None where it was named without one.
        query_crop, reference_crop: data URLs, where the run kept crops.
        before_x, now_x: places of the scores on the strip; None where there is none.
    """

    change: FindingChange
    pair: Mapping[str, Any] | None
    query_crop: str | None
    reference_crop: str | None
    before_x: float | None
    now_x: float | None


def write_diff_page(path: Path, diff: RunDiff, *, base: Path, run: Path) -> Path:
    """Write the page of a diff.

    Args:
        path: the HTML file, replaced when it is there.
        diff: what changed, see `diff_runs`.
        base: folder of its base run: what the closest pairs of gone findings, and their crops, are read from.
        run: folder of the other run, likewise for all others.
    """
    thresholds = [read_summary(folder)["threshold"]["value"] for folder in (base, run)]
    axis = _strip(diff, thresholds)
    now = [*diff.new, *diff.changed, *diff.still]
    shown = {**_shown(run, now, axis), **_shown(base, diff.gone, axis)}
    page = read_template("diff.html.j2", count=_count).render(
        d=diff,
        headline=headline(diff),
        sections=[
            (title, [shown[change.finding] for change in changes], of)
            for title, changes, of in (
                ("New", diff.new, diff.findings.new),
                ("Another verdict", diff.changed, diff.findings.changed),
                ("Gone", diff.gone, diff.findings.gone),
                ("Still there", diff.still, diff.findings.still - diff.findings.changed),
            )
        ],
        with_crops=any(one.query_crop or one.reference_crop for one in shown.values()),
        threshold_x=axis(thresholds[1]), width=_STRIP_WIDTH, ends=(axis.low, axis.high),
    )  # fmt: skip
    write_private(path, page)
    return path


def write_private(path: Path, page: str) -> None:
    """Write a page for its owner alone (mode 0600), completely or not at all: it may hold crops, and names identities."""
    with atomic_path(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(page, "utf-8")


def headline(diff: RunDiff) -> str:
    """Return what changed in one sentence."""
    found = diff.findings
    parts = [_new(found)] if found.new else []
    if found.changed:
        parts.append(f"{_count(found.changed)} {'has' if found.changed == 1 else 'have'} another verdict")
    if found.gone:
        parts.append(f"{_count(found.gone)} {'is' if found.gone == 1 else 'are'} gone")
    as_before = found.still - found.changed
    if not parts:
        if not found.now:
            return f"Nothing was found, as in {diff.base}."
        return f"Nothing new: {_findings(as_before)} as in {diff.base}."
    if as_before:
        parts.append(f"{_count(as_before)} as before")
    return "; ".join(parts) + "."


def _new(found: FindingCounts) -> str:
    named = f", {_count(found.named_new)} of them named" if found.named_new else ""
    known = found.new - found.open_new
    return f"{_findings(found.new, 'new ')}{named}" + (f", {_count(known)} acknowledged" if known else "")


def _findings(number: int, kind: str = "") -> str:
    return f"{_count(number)} {kind}finding{'' if number == 1 else 's'}"


def _strip(diff: RunDiff, thresholds: Iterable[float]) -> Axis:
    """Return the axis that all scores of the page are drawn on."""
    changes = (*diff.new, *diff.changed, *diff.still, *diff.gone)
    scores = [score for change in changes for score in (change.score_before, change.score_now) if score is not None]
    return Axis.over([*scores, *thresholds], log=False, start=6, end=_STRIP_WIDTH - 6)


def _shown(folder: Path, changes: Sequence[FindingChange], axis: Axis) -> dict[Finding, Shown]:
    pairs = closest_pairs(folder, [change.finding for change in changes])
    crops = read_thumbnails(folder, {key for pair in pairs.values() for key in _crop_keys(pair)})
    found = {}
    for change in changes:
        finding = change.finding
        query_crop, reference_crop = (crops.get(key) for key in _crop_keys(pairs.get(finding)))
        before_x, now_x = (None if score is None else axis(score) for score in (change.score_before, change.score_now))
        found[finding] = Shown(change, pairs.get(finding), query_crop, reference_crop, before_x, now_x)
    return found


def _crop_keys(pair: Mapping[str, Any] | None) -> tuple[CropKey, CropKey]:
    """Return what the crops of a pair's two sides are called; of no pair, what no crop is called."""
    return (("query", ""), ("", "")) if pair is None else (
        ("query", pair["query_id"]), (pair["index"], pair["reference_id"])
    )  # fmt: skip


def closest_pairs(folder: Path, findings: Iterable[Finding]) -> dict[Finding, dict[str, Any]]:
    """Return the match with the best score of each finding that has one; blocks of the run are read one by one."""
    wanted = set(findings)
    names = pa.array(sorted({finding.name for finding in wanted}), pa.string())
    best: dict[Finding, dict[str, Any]] = {}
    path = folder / "matches.parquet"
    for table in artefacts.iter_tables(path, "matches", rows_max=BLOCK_ROWS, columns=_COLUMNS):
        called = with_finding(table.filter(pc.is_in(pc.coalesce(table["identity"], table["reference_uri"]), names)))
        ordered = called.sort_by([("score", "descending"), ("query_id", "ascending"), ("reference_id", "ascending")])
        first = [(name, "first") for name in _COLUMNS if name not in FINDING_KEYS]
        for row in ordered.group_by(list(FINDING_KEYS), use_threads=False).aggregate(first).to_pylist():
            pair = {name.removesuffix("_first"): value for name, value in row.items()}
            finding = Finding(*(pair[name] for name in FINDING_KEYS))
            if finding in wanted and (finding not in best or pair["score"] > best[finding]["score"]):
                best[finding] = pair
    return best


def _count(value: int) -> str:
    """Thousands set apart by thin spaces."""
    return f"{value:,}".replace(",", "\N{THIN SPACE}")
