"""What changed between two runs: "what is new this morning?".

    diff = diff_runs(Path("nights/000011/gen"), Path("nights/000012/gen"))
    diff.findings.new, diff.findings.gone, [change.finding.identity for change in diff.new]

Matches are compared by query, index and reference; findings by index and identity (or, for references without one, by
uri).  Both are read in blocks and cut into parts on disk, so that memory does not grow with the runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from scanner import artefacts
from scanner.errors import ArtefactError
from scanner.report.acknowledged import Acknowledged, acknowledged_path, read_acknowledged
from scanner.report.diff_findings import FindingChange, FindingCounts, Findings
from scanner.report.diff_inputs import InputChange, check_comparable, input_changes
from scanner.report.diff_pairs import (
    FACTS,
    FINDING_KEYS,
    PAIRS,
    PairCounts,
    match_pairs,
    read_pairs,
    read_weighed,
    together,
)
from scanner.report.partitions import Partitions, parts_for
from scanner.report.read import read_summary
from scanner.report.runs import run_label, run_labels

DIFF_FORMAT: Final = "identity-leak-diff"
DIFF_VERSION: Final = 1
LISTED: Final = 100
"""Findings of each status that a diff names one by one; the rest is counted."""


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What changed from the run `base` to the run `run` (labels, see `scanner.report.runs.run_label`).

    Attributes:
        matches: pairs at each run's threshold.
        findings: identities, and references without one, that a run matched or named.
        verdict_before, verdict_now: {state, sentence} of runs with a null.
        inputs: what differs between the inputs.
        new, changed, still, gone: the first findings of each status; those that nobody acknowledged come first, then
            the named ones, then by q-value and score.
    """

    base: str | None
    run: str
    matches: PairCounts
    findings: FindingCounts
    verdict_before: Mapping[str, str] | None
    verdict_now: Mapping[str, str] | None
    inputs: tuple[InputChange, ...]
    new: tuple[FindingChange, ...]
    changed: tuple[FindingChange, ...]
    still: tuple[FindingChange, ...]
    gone: tuple[FindingChange, ...]

    def fails(self, fail_on: str) -> bool:
        """Return whether a gate on findings that nobody acknowledged says no.

        Args:
            fail_on: "new"; "changed" for new ones and those with another verdict; "named" for those that are named now
                and were not before.
        """
        found = self.findings
        return {
            "new": found.open_new, "changed": found.open_new + found.open_changed, "named": found.open_newly_named,
        }[fail_on] > 0  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the diff as a JSON object: labels, counts, verdicts, inputs, and the listed findings; no clock."""
        return {
            "format": DIFF_FORMAT,
            "format_version": DIFF_VERSION,
            "base": self.base,
            "run": self.run,
            "matches": asdict(self.matches),
            "findings": asdict(self.findings),
            "verdict_before": self.verdict_before,
            "verdict_now": self.verdict_now,
            "inputs": [asdict(change) for change in self.inputs],
            **{
                name: [change.as_json() for change in changes]
                for name, changes in (
                    ("new", self.new), ("changed", self.changed), ("still", self.still), ("gone", self.gone),
                )
            },
        }  # fmt: skip


def diff_runs(
    base: Path | str | None,
    run: Path | str,
    *,
    acknowledged: Acknowledged | None = None,
    listed: int = LISTED,
    scratch: Path | None = None,
) -> RunDiff:
    """Compare two finished run folders.

    Args:
        base: the run to compare with, say last night's; None: there is none, so everything is new.
        run: the run to look at.
        acknowledged: what somebody has looked at; None: what `acknowledged_path(run)` says.
        listed: findings of each status to name one by one.
        scratch: folder for temporary files, about the size of both `matches.parquet` unpacked; None: the system's.  They
            hold ids, uris and scores, no vectors, and are gone when this returns.

    Raises:
        ArtefactError: a folder is no finished run, is damaged, or a newer version wrote it.
        EmbedderMismatch: the runs are of two embedders.
    """
    folders = (None if base is None else Path(base), Path(run))
    before, now = (None if folder is None else read_summary(folder) for folder in folders)
    assert now is not None
    inputs: tuple[InputChange, ...] = ()
    if before is not None and folders[0] is not None:
        try:
            check_comparable(folders[0], folders[1], before, now)
            inputs = input_changes(before, now)
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                f"run.json of {folders[0]} or of {folders[1]} lacks what a run says of itself ({error}). Scan again."
            ) from error
    if acknowledged is None:
        acknowledged = read_acknowledged(acknowledged_path(folders[1]))
    evidence = (before and before.get("evidence"), now.get("evidence"))
    findings = Findings(acknowledged, evidence, listed)
    with tempfile.TemporaryDirectory(prefix="scanner-diff-", dir=scratch) as temporary:
        matches = _compare(folders, evidence, findings, Path(temporary))
    labels = _labels(folders)
    return RunDiff(
        base=labels[0],
        run=labels[1],
        matches=matches,
        findings=findings.counts,
        verdict_before=evidence[0] and evidence[0]["verdict"],
        verdict_now=evidence[1] and evidence[1]["verdict"],
        inputs=inputs,
        new=findings.first("new"),
        changed=findings.first("changed"),
        still=findings.first("still"),
        gone=findings.first("gone"),
    )


def _labels(folders: tuple[Path | None, Path]) -> tuple[str | None, str]:
    base, run = folders
    if base is None or base.resolve() == run.resolve():
        return (None if base is None else run_label(base)), run_label(run)
    one, other = run_labels([base, run])
    return one, other


def _compare(
    folders: tuple[Path | None, Path],
    evidence: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None],
    findings: Findings,
    temporary: Path,
) -> PairCounts:
    """Compare matches part by part, then findings; return the counts of matches."""
    names = tuple(str(folder and folder / "matches.parquet") for folder in folders)
    matches = sum(_rows(folder, "matches") for folder in folders if folder is not None)
    weighed = [
        (side, folder)
        for side, folder, said in zip(("before", "now"), folders, evidence, strict=True)
        if folder is not None and said is not None
    ]
    of_weighed = sum(_rows(folder, "identities") for _, folder in weighed)
    counts = PairCounts()
    with _cut(temporary / "findings", FACTS, FINDING_KEYS, matches + of_weighed) as facts:
        cuts = []
        for side, folder in zip(("before", "now"), folders, strict=True):
            with _cut(temporary / side, PAIRS, ["query_id"], matches) as pairs:
                _fill(pairs, () if folder is None else read_pairs(folder))
            cuts.append(pairs)
        for part in range(cuts[0].parts):
            of_part, found = match_pairs(cuts[0].read(part), cuts[1].read(part), names=(names[0], names[1]))
            counts += of_part
            facts.add(found)
        for side, folder in weighed:
            _fill(facts, read_weighed(folder, side))
    for part in range(facts.parts):
        findings.add(together(facts.read(part)))
    return counts


def _cut(folder: Path, schema: pa.Schema, keys: Sequence[str], rows: int) -> Partitions:
    artefacts.make_private_folder(folder)
    return Partitions(folder, schema, keys=keys, parts=parts_for(rows))


def _fill(cut: Partitions, tables: Iterable[pa.Table]) -> None:
    for table in tables:
        cut.add(table)


def _rows(folder: Path, name: str) -> int:
    with artefacts.open_artefact(folder / f"{name}.parquet", name) as file:
        return int(file.metadata.num_rows)
