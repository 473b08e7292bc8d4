"""`scanner report verify`: everything that a run says, worked out again from its folder and compared value by value.

What is compared: hashes of the tables, the policy's hash, every count, every match's verdict, p- and q-values of identities
and of searches, power, guards, the sentence, and the page.  Where people were erased afterwards (`scanner erase`), what rests
on their rows cannot be worked out again; that is a note and no difference, and all else is compared.  What the indexes alone could show (that a score is that of the
pictures) is not: for that, scan again.  Whoever can change the whole folder can change it consistently; so keep the hash
that `verify` answers in another place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scanner import artefacts
from scanner.errors import ScannerError, UsageError
from scanner.evidence.clusters import lead_clusters
from scanner.evidence.guards import TwoSample
from scanner.jobs.checking import verify_tables as tables
from scanner.jobs.checking.erased import erased_rows, sha256_before
from scanner.jobs.checking.verify_joint import is_joint, joint_differences, witness_folders
from scanner.jobs.checking.verify_tables import RunFolder
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.compare import column_differences, differences_of, table_differences
from scanner.jobs.scanning.evidence import file_sha256, identities_table, query_columns
from scanner.jobs.scanning.statement import Statement, state
from scanner.jobs.versions import code_sha256
from scanner.report.damage import BROKEN, damage_explained
from scanner.report.page import render
from scanner.report.read import read_run

GIVEN = ("format", "format_version", "policy_sha256", "inputs", "code", "files")
"""Keys of `evidence.json` that are not worked out from tables."""

_BROKEN = (ScannerError, OSError, *BROKEN)
"""What working with a folder that somebody has edited may end in."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared, and what differs: `file: key: recorded …, worked out …`; `notes` do not speak against the run.

    `evidence_sha256` is the hash of `evidence.json`: with it kept elsewhere, a folder that was changed throughout is found.
    Where rows were `erased` afterwards (by file), `evidence_sha256_before` is the hash that it had before; None where that is
    not known, since the document itself named somebody.
    """

    checked: tuple[str, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    evidence_sha256: str
    evidence_sha256_before: str | None = None
    erased: Mapping[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """True when nothing differs."""
        return not self.differences


def verify(folder: str | Path) -> Verified:
    """Work out again what a finished run with a null says, and compare.

    Raises:
        UsageError: the run has no null, so there is no evidence to verify.
        ArtefactError: `run.json`, `policy.json` or `evidence.json` is missing or broken.
    """
    folder = Path(folder)
    if (folder / "audit.json").exists():
        raise UsageError(
            f"{folder} is an audit, and what is verified is a run of `scanner scan --null`. An audit is repeated instead: the "
            "same AUDIT.toml and sources give the same bytes."
        )
    summary = artefacts.read_json(folder / "run.json")
    if summary.get("evidence") is None and not (folder / "evidence.json").exists():
        raise UsageError(
            f"{folder} was scanned without people known not to be in training: it holds matches, but no evidence to verify. "
            "Scan again with --null."
        )
    run = RunFolder(
        folder, summary, artefacts.read_json(folder / "evidence.json"), artefacts.read_json(folder / "policy.json")
    )
    with damage_explained(folder):
        erased = erased_rows(run.evidence)
        before, short = sha256_before(run.evidence), _short_of_rows(run)
    checked: list[str] = []
    unchecked: list[str] = []
    differences: list[str] = []
    for name, step, rests_on in _steps(run, []):
        if any(table in short for table in rests_on) or (name == "the policy" and before is None):
            unchecked.append(name)
            continue
        checked.append(name)
        try:
            differences += step()
        except _BROKEN as error:
            differences.append(f"{name}: could not be worked out again: {error}")
    notes = _notes(run, erased, unchecked)
    for witness in witness_folders(folder):
        theirs = verify(witness)
        differences += [f"{witness.name}: {line}" for line in theirs.differences]
        notes += [f"{witness.name}: {note}" for note in theirs.notes if note not in notes]
    return Verified(
        tuple(checked), tuple(differences), tuple(notes), file_sha256(folder / "evidence.json"), before if erased else None,
        erased,
    )  # fmt: skip


def _steps(run: RunFolder, said: list[Statement]) -> list[tuple[str, Callable[[], Iterator[str]], tuple[str, ...]]]:
    """Return what is compared, how, and the tables of which every row is needed for it."""
    statement = ("photos", "samples")
    steps: list[tuple[str, Callable[[], Iterator[str]], tuple[str, ...]]] = [
        ("hashes of the tables", lambda: tables.files(run), ()),
        ("the policy", lambda: tables.policy(run), ()),
        ("rows that are left", lambda: tables.rows_left(run), ()),
        ("counts", lambda: tables.counts_of(run), ("queries", "matches", "rejects")),
        ("the verdict of every match", lambda: tables.verdicts(run), ()),
        ("the best matches", lambda: tables.best_matches(run), ("queries", "matches")),
        ("clusters of scanned faces", lambda: _samples(run), ("samples", "queries")),
        ("p-values, rates, power, guards and the sentence", lambda: _statement(run, said), statement),
        ("values of identities", lambda: _identities(run, said), (*statement, "identities", "matches")),
        ("values of searches", lambda: _searches(run, said), (*statement, "queries")),
        ("the short account in run.json", lambda: _account(run), ()),
        ("the page", lambda: _page(run), ()),
    ]
    if is_joint(run.folder):
        steps.append(
            ("the joint statement", lambda: joint_differences(run.folder), (*statement, "identities", "joint"))
        )
    return steps


def _short_of_rows(run: RunFolder) -> set[str]:
    """Return the tables that lost what a statement rests on; of the joint one also those of the further embedders."""
    erased = erased_rows(run.evidence)
    lost = {name.removesuffix(".parquet") for name, rows in erased.items() if rows or name == "samples.parquet"}
    for witness in witness_folders(run.folder):
        if erased_rows(artefacts.read_json(witness / "evidence.json")):
            lost.add("joint")
    return lost


def _notes(run: RunFolder, erased: Mapping[str, int], unchecked: Sequence[str]) -> list[str]:
    notes = []
    if run.evidence.get("code", {}).get("sha256") != code_sha256():
        notes.append("the run was made by another version of the scanner; the values are those of the present one")
    if erased:
        lost = ", ".join(f"{count} of {name}" for name, count in sorted(erased.items()) if count) or "none"
        notes.append(
            f"people or pictures were erased after the run was finished (rows gone: {lost}); so these could not be worked out "
            f"again, and stand as they were said: {', '.join(unchecked) or 'none'}"
        )
    return notes


def _samples(run: RunFolder) -> Iterator[str]:
    samples = run.table("samples", ["query_id", "cluster", "best_score", "embedding"])
    queries = run.table("queries", ["query_id", "best_score"])
    for name in ("query_id", "best_score"):
        yield from column_differences(f"samples.parquet: {name}", samples[name].to_pylist(), queries[name].to_pylist())
    cluster = lead_clusters(vectors_of(samples), radius=float(run.summary["threshold"]["value"]))
    yield from column_differences("samples.parquet: cluster", samples["cluster"].to_pylist(), cluster.tolist())


def _statement(run: RunFolder, said: list[Statement]) -> Iterator[str]:
    fits = run.evidence["fits"]  # seen in the indexes, so taken as given but for what follows from it
    for name in ("null_fit", "domain_fit"):
        if fits[name] is not None:
            recorded = dict(fits[name])
            differ = recorded.pop("differ")
            yield from differences_of(
                f"evidence.json: fits: {name}: differ", differ, bool(TwoSample(**recorded).differ)
            )
    rows = sum(index["rows"] for index in run.summary["indexes"])
    yield from differences_of("evidence.json: fits: candidate_references", fits["candidate_references"], rows)
    statement = state(run.folder, run.policy, fits)
    said.append(statement)
    recorded = {name: value for name, value in run.evidence.items() if name not in GIVEN}
    yield from differences_of("evidence.json", recorded, statement.document)


def _identities(run: RunFolder, said: Sequence[Statement]) -> Iterator[str]:
    (statement,) = said
    expected = identities_table(run.folder, statement)
    yield from table_differences("identities.parquet", run.table("identities"), expected)
    matches, values = run.table("matches", ["index", "identity", "p_value", "q_value"]), statement.by_name()
    keys = zip(matches["index"].to_pylist(), matches["identity"].to_pylist(), strict=True)
    pairs = [values.get(key, (None, None)) for key in keys]
    for place, name in enumerate(("p_value", "q_value")):
        yield from column_differences(
            f"matches.parquet: {name}", matches[name].to_pylist(), [pair[place] for pair in pairs]
        )


def _searches(run: RunFolder, said: Sequence[Statement]) -> Iterator[str]:
    (statement,) = said
    queries = run.table("queries")
    for name, values in query_columns(statement, 0, queries.num_rows).items():
        yield from column_differences(
            f"queries.parquet: {name}", queries[name].to_pylist(), np.asarray(values).tolist()
        )


def _account(run: RunFolder) -> Iterator[str]:
    """The short account repeats what stands in the evidence."""
    evidence, account = run.evidence, run.summary["evidence"]
    expected = {
        "nulls": run.policy["nulls"],
        **evidence["identities"],
        "null_fit": evidence["fits"]["null_fit"],
        "verdict": evidence["verdict"],
    }
    yield from differences_of("run.json: evidence", {name: account.get(name) for name in expected}, expected)


def _page(run: RunFolder) -> Iterator[str]:
    page = (run.folder / "report.html").read_text("utf-8")
    if page != render(read_run(run.folder)):
        yield "report.html: is not the page of these files; make it again with scanner report html"
