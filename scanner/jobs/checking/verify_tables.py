"""What a run folder says of its own tables, counted and decided again: hashes, the policy, counts, matches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner import artefacts
from scanner.decision import Threshold, Verdict
from scanner.jobs.checking.erased import erased_rows
from scanner.jobs.scanning.compare import column_differences, differences_of
from scanner.jobs.scanning.evidence import file_sha256
from scanner.jobs.scanning.flags import SAME_BYTES
from scanner.jobs.scanning.policy import policy_sha256
from scanner.records import Counts

TABLES = ("photos", "samples", "queries", "matches", "identities", "rejects")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What lies in the folder: the three JSON documents."""

    folder: Path
    summary: Mapping[str, Any]
    evidence: Mapping[str, Any]
    policy: Mapping[str, Any]

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Return one of the run's tables."""
        return artefacts.read_table(self.folder / f"{name}.parquet", name, columns=columns)


def files(run: RunFolder) -> Iterator[str]:
    """Every table has the hash that the evidence has of it."""
    recorded = run.evidence["files"]
    for name in sorted({*recorded, *(f"{name}.parquet" for name in TABLES)}):
        path = run.folder / Path(name).name
        found = file_sha256(path) if path.exists() else "no file"
        yield from differences_of(f"{name}: sha256", recorded.get(name, "nothing"), found)


def policy(run: RunFolder) -> Iterator[str]:
    """What was fixed before the scan is what it was done by."""
    fixed, evidence, summary = run.policy, run.evidence, run.summary
    yield from differences_of("policy.json: sha256", evidence["policy_sha256"], policy_sha256(fixed))
    inputs = {name: fixed[name] for name in ("queries", "indexes", "nulls", "fingerprint")}
    yield from differences_of("evidence.json: inputs", evidence["inputs"], inputs)
    rule = fixed["threshold"]
    expected = {
        "queries": fixed["queries"],
        "indexes": fixed["indexes"],
        "seed": fixed["seed"],
        "calibrated_on": rule["calibrate_on"],
        "fingerprints": [fixed["fingerprint"]],
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


def rows_left(run: RunFolder) -> Iterator[str]:
    """Every table has the rows that were counted, but for those that were erased."""
    counts, results, erased = Counts(**run.summary["counts"]), run.summary["results"], erased_rows(run.evidence)
    left_out = counts.rejected + counts.duplicates + counts.faces_rejected
    for name, recorded in (("queries", counts.faces), ("matches", results["matches"]), ("rejects", left_out)):
        found = run.table(name, []).num_rows + erased.get(f"{name}.parquet", 0)
        yield from differences_of(f"{name}.parquet: rows", recorded, found)


def counts_of(run: RunFolder) -> Iterator[str]:
    """What the run counts is what its tables hold."""
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


def verdicts(run: RunFolder) -> Iterator[str]:
    """Every row of matches is one."""
    threshold = Threshold(run.summary["threshold"]["value"])
    matches = run.table("matches", ["score", "verdict"])
    passed = threshold.decide(matches["score"].to_numpy())
    expected = [(Verdict.MATCH if one else Verdict.CLEAR).value for one in passed.tolist()]
    yield from column_differences("matches.parquet: verdict", matches["verdict"].to_pylist(), expected)


def best_matches(run: RunFolder) -> Iterator[str]:
    """Every face with a match has all of them, and its best one is the best."""
    threshold = Threshold(run.summary["threshold"]["value"])
    matches = run.table("matches", ["query_id", "score", "rank"])
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
