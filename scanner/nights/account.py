"""`night.json`: what a night did, and what changed since the one before; `costs.json`: what it took."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from scanner import artefacts
from scanner.jobs.measuring.meter import Meter
from scanner.report.diff import diff_runs

NIGHT_FORMAT: Final = "identity-leak-night"
NIGHT_VERSION: Final = 1
EXIT_DONE, EXIT_GATE, EXIT_INCOMPLETE = 0, 1, 4


def findings_of(run: Path, base: Path | None) -> dict[str, Any]:
    """Return what a run found, and what of it is new: against the same set's run of the night before, or against nothing."""
    summary = artefacts.read_json(run / "run.json")
    diff = diff_runs(base, run)
    evidence = summary["evidence"]
    return {
        "results": {
            name: summary["results"][name] for name in ("queries", "matches", "matched_queries", "matched_identities")
        },
        "rejected": summary["counts"]["rejected"],
        "verdict": None if evidence is None else evidence["verdict"],
        "diff": diff.as_json(),
    }


def still_the_same(before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `findings_of` says of a run that is last night's, without reading it: nothing is new, all is still there.

    What was acknowledged since then is not counted anew.
    """
    diff = before["diff"]
    matches = dict.fromkeys(diff["matches"], 0) | dict.fromkeys(("before", "now", "still"), diff["matches"]["now"])
    findings = dict.fromkeys(diff["findings"], 0) | dict.fromkeys(("before", "now", "still"), diff["findings"]["now"])
    named = diff["findings"]["named_now"]
    findings |= {"named_before": named, "named_now": named, "acknowledged": diff["findings"]["acknowledged"]}
    nothing: dict[str, Any] = {name: [] for name in ("inputs", "new", "changed", "still", "gone")}
    verdicts = {"verdict_before": diff["verdict_now"], "verdict_now": diff["verdict_now"]}
    same = {**diff, "base": diff["run"], "matches": matches, "findings": findings, **verdicts, **nothing}
    return {"results": before["results"], "rejected": before["rejected"], "verdict": before["verdict"], "diff": same}


def gate_counts(account: Mapping[str, Any]) -> dict[str, int]:
    """Return how many findings the gate minds, by set; sets without any are left out."""
    findings = {name: run["diff"]["findings"] for name, run in account["runs"].items()}
    minded = {
        name: {
            "never": 0,
            "new": one["open_new"] + one["open_changed"],
            "named": one["open_newly_named"],
            "any": one["now"] - one["acknowledged"],
        }[account["fail_on"]]
        for name, one in findings.items()
    }
    return {name: count for name, count in minded.items() if count}


def exit_code_of(account: Mapping[str, Any]) -> int:
    """Return the exit code of a night: 1 the gate says no, 4 part of it could not be done, else 0."""
    if gate_counts(account):
        return EXIT_GATE
    return EXIT_INCOMPLETE if account["errors"] else EXIT_DONE


def costs_of(meter: Meter, now: datetime, *, resumed: bool) -> dict[str, Any]:
    """Return when the night ended and what each stage of this session took."""
    stages = [
        {"name": stage.name, "unit": stage.unit, "items": stage.items, "seconds": round(stage.seconds, 3)}
        for stage in meter.stages()
    ]
    return {"format": "identity-leak-night-costs", "format_version": 1, "ended_at": now.isoformat(timespec="seconds"),
            "resumed": resumed, "stages": stages}  # fmt: skip
