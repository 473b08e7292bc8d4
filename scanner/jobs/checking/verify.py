"""`scanner report verify`: everything that a run says, worked out again from its folder and compared value by value.

What is compared: hashes of the tables, the policy's hash, every count, every match's verdict, p- and q-values of identities
and of searches, power, guards, the sentence, and the page.  What the indexes alone could show (that a score is that of the
pictures) is not: for that, scan again.  Whoever can change the whole folder can change it consistently; so keep the hash
that `verify` answers in another place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import TemplateError

from scanner import artefacts
from scanner.decision import Threshold, Verdict
from scanner.errors import ScannerError, UsageError
from scanner.evidence.clusters import lead_clusters
from scanner.evidence.guards import TwoSample
from scanner.jobs.checking.verify_joint import is_joint, joint_differences, witness_folders
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.compare import column_differences, differences_of, table_differences
from scanner.jobs.scanning.evidence import file_sha256, identities_table, query_columns
from scanner.jobs.scanning.flags import SAME_BYTES
from scanner.jobs.scanning.policy import policy_sha256
from scanner.jobs.scanning.statement import Statement, state
from scanner.jobs.versions import code_sha256
from scanner.records import Counts
from scanner.report.page import render
from scanner.report.read import read_run

GIVEN = ("format", "format_version", "policy_sha256", "inputs", "code", "files")
"""Keys of `evidence.json` that are not worked out from tables."""
TABLES = ("photos", "samples", "queries", "matches", "identities", "rejects")


_BROKEN = (ScannerError, pa.ArrowException, TemplateError, LookupError, ValueError, TypeError, ArithmeticError, OSError)
"""What working with a folder that somebody has edited may end in."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared, and what differs: `file: key: recorded …, worked out …`; `notes` do not speak against the run.

    `evidence_sha256` is the hash of `evidence.json`: with it kept elsewhere, a folder that was changed throughout is found.
    """

    checked: tuple[str, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    evidence_sha256: str

    @property
    def holds(self) -> bool:
        """True when nothing differs."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class _Run:
    """What lies in the folder: the three JSON documents."""

    folder: Path
    summary: Mapping[str, Any]
    evidence: Mapping[str, Any]
    policy: Mapping[str, Any]

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        return artefacts.read_table(self.folder / f"{name}.parquet", name, columns=columns)


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
    run = _Run(
        folder, summary, artefacts.read_json(folder / "evidence.json"), artefacts.read_json(folder / "policy.json")
    )
    said: list[Statement] = []
    steps: list[tuple[str, Callable[[], Iterator[str]]]] = [
        ("hashes of the tables", lambda: _files(run)),
        ("the policy", lambda: _policy(run)),
        ("counts", lambda: _counts(run)),
        ("the verdict of every match", lambda: _matches(run)),
        ("clusters of scanned faces", lambda: _samples(run)),
        ("p-values, rates, power, guards and the sentence", lambda: _statement(run, said)),
        ("values of identities", lambda: _identities(run, said)),
        ("values of searches", lambda: _searches(run, said)),
        ("the short account in run.json", lambda: _account(run)),
        ("the page", lambda: _page(run)),
    ]
    if is_joint(folder):
        steps.append(("the joint statement", lambda: joint_differences(folder)))
    differences: list[str] = []
    for name, step in steps:
        try:
            differences += step()
        except _BROKEN as error:
            differences.append(f"{name}: could not be worked out again: {error}")
    for witness in witness_folders(folder):
        differences += [f"{witness.name}: {line}" for line in verify(witness).differences]
    notes = []
    if run.evidence.get("code", {}).get("sha256") != code_sha256():
        notes.append("the run was made by another version of the scanner; the values are those of the present one")
    return Verified(
        tuple(name for name, _ in steps), tuple(differences), tuple(notes), file_sha256(folder / "evidence.json")
    )


def _files(run: _Run) -> Iterator[str]:
    recorded = run.evidence["files"]
    for name in sorted({*recorded, *(f"{name}.parquet" for name in TABLES)}):
        path = run.folder / Path(name).name
        found = file_sha256(path) if path.exists() else "no file"
        yield from differences_of(f"{name}: sha256", recorded.get(name, "nothing"), found)


def _policy(run: _Run) -> Iterator[str]:
    policy, evidence, summary = run.policy, run.evidence, run.summary
    yield from differences_of("policy.json: sha256", evidence["policy_sha256"], policy_sha256(policy))
    inputs = {name: policy[name] for name in ("queries", "indexes", "nulls", "fingerprint")}
    yield from differences_of("evidence.json: inputs", evidence["inputs"], inputs)
    rule = policy["threshold"]
    expected = {
        "queries": policy["queries"],
        "indexes": policy["indexes"],
        "seed": policy["seed"],
        "calibrated_on": rule["calibrate_on"],
        "fingerprints": [policy["fingerprint"]],
    }
    recorded = {
        "queries": summary["queries"],
        "indexes": [{key: index[key] for key in ("name", "manifest_sha256")} for index in summary["indexes"]],
        "seed": summary["seed"],
        "calibrated_on": summary["threshold"]["calibrated_on"],
        "fingerprints": sorted({index["fingerprint"] for index in summary["indexes"]}),
    }
    yield from differences_of("run.json against policy.json", recorded, expected)
    if rule["rule"] == "threshold":
        yield from differences_of("run.json: threshold.value", summary["threshold"]["value"], rule["value"])
    for index in summary["indexes"]:
        canaries = index["canaries"]
        yield from differences_of(f"run.json: canaries of {index['name']}", canaries["found"], canaries["planted"])


def _counts(run: _Run) -> Iterator[str]:
    counts = Counts(**run.summary["counts"])
    rejects = run.table("rejects", ["level", "reason"])
    level = Counter(rejects["level"].to_pylist())
    queries = run.table("queries", ["query_id", "matches"])
    recorded = {
        "entries": counts.entries,
        "rejected and duplicates": counts.rejected + counts.duplicates,
        "faces_rejected": counts.faces_rejected,
        "faces": counts.faces,
        "reasons": dict(counts.reasons),
    }
    found = {
        "entries": counts.items + level["item"],
        "rejected and duplicates": level["item"],
        "faces_rejected": level["face"],
        "faces": queries.num_rows,
        "reasons": dict(Counter(rejects["reason"].to_pylist())),
    }
    yield from differences_of("run.json: counts", recorded, found)
    yield from differences_of("run.json: counts add up", counts.add_up, True)
    results, matches = run.summary["results"], run.table("matches", ["query_id", "index", "identity", "flags"])
    people = zip(matches["index"].to_pylist(), matches["identity"].to_pylist(), strict=True)
    pairs = queries.num_rows * sum(index["rows"] for index in run.summary["indexes"])
    point = run.summary["threshold"]["point"]
    tally = {
        "queries": queries.num_rows,
        "matches": matches.num_rows,
        "matched_queries": len(pc.unique(matches["query_id"])),
        "same_bytes": sum(SAME_BYTES in flags for flags in matches["flags"].to_pylist()),
        "matched_identities": len({person for person in people if person[1] is not None}),
        "comparisons": pairs,
        "false_matches_expected": None if point is None else point["fmr"] * pairs,
    }
    yield from differences_of("run.json: results", {name: results[name] for name in tally}, tally)


def _matches(run: _Run) -> Iterator[str]:
    """Every row of matches is one, every face with a match has all of them, and its best one is the best."""
    threshold = Threshold(run.summary["threshold"]["value"])
    matches = run.table("matches", ["query_id", "score", "rank", "verdict"])
    passed = threshold.decide(matches["score"].to_numpy())
    verdicts = [(Verdict.MATCH if one else Verdict.CLEAR).value for one in passed.tolist()]
    yield from column_differences("matches.parquet: verdict", matches["verdict"].to_pylist(), verdicts)
    queries = run.table("queries", ["query_id", "best_score", "matches"])
    ids, best = queries["query_id"].to_pylist(), queries["best_score"].to_numpy()
    found = Counter(matches["query_id"].to_pylist())
    yield from column_differences(
        "queries.parquet: matches", queries["matches"].to_pylist(), [found[name] for name in ids]
    )
    reached = threshold.decide(best).tolist()
    yield from column_differences(
        "queries.parquet: best_score reaches the threshold", [found[name] > 0 for name in ids], reached
    )
    top = dict.fromkeys(ids, -1.0)
    ranks: dict[str, list[int]] = {}
    for name, score, rank in zip(*(matches[c].to_pylist() for c in ("query_id", "score", "rank")), strict=True):
        top[name] = max(top.get(name, -1.0), score)
        ranks.setdefault(name, []).append(rank)
    named = [(recorded, top[name]) for name, recorded in zip(ids, best.tolist(), strict=True) if found[name]]
    yield from column_differences("queries.parquet: best_score", [a for a, _ in named], [b for _, b in named])
    counted = [list(range(1, len(of) + 1)) for of in ranks.values()]
    yield from column_differences("matches.parquet: rank", list(ranks.values()), counted)


def _samples(run: _Run) -> Iterator[str]:
    samples = run.table("samples", ["query_id", "cluster", "best_score", "embedding"])
    queries = run.table("queries", ["query_id", "best_score"])
    for name in ("query_id", "best_score"):
        yield from column_differences(f"samples.parquet: {name}", samples[name].to_pylist(), queries[name].to_pylist())
    cluster = lead_clusters(vectors_of(samples), radius=float(run.summary["threshold"]["value"]))
    yield from column_differences("samples.parquet: cluster", samples["cluster"].to_pylist(), cluster.tolist())


def _statement(run: _Run, said: list[Statement]) -> Iterator[str]:
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


def _identities(run: _Run, said: Sequence[Statement]) -> Iterator[str]:
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


def _searches(run: _Run, said: Sequence[Statement]) -> Iterator[str]:
    (statement,) = said
    queries = run.table("queries")
    for name, values in query_columns(statement, 0, queries.num_rows).items():
        yield from column_differences(
            f"queries.parquet: {name}", queries[name].to_pylist(), np.asarray(values).tolist()
        )


def _account(run: _Run) -> Iterator[str]:
    """The short account repeats what stands in the evidence."""
    evidence, account = run.evidence, run.summary["evidence"]
    expected = {
        "nulls": run.policy["nulls"],
        **evidence["identities"],
        "null_fit": evidence["fits"]["null_fit"],
        "verdict": evidence["verdict"],
    }
    yield from differences_of("run.json: evidence", {name: account.get(name) for name in expected}, expected)


def _page(run: _Run) -> Iterator[str]:
    page = (run.folder / "report.html").read_text("utf-8")
    if page != render(read_run(run.folder)):
        yield "report.html: is not the page of these files; make it again with scanner report html"
