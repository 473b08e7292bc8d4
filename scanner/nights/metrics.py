"""Numbers of a job for Prometheus' node_exporter (textfile collector): how the last start ended, what the last night did.

Counts and times alone: no name of a picture, an identity or a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from indexes.atomic import write_bytes

HELP = {
    "exit_code": "Exit code of the last start.",
    "end_time_seconds": "When the last start ended, in seconds since 1970.",
    "number": "Number of the last finished night.",
    "finished_time_seconds": "When the last finished night ended, in seconds since 1970.",
    "duration_seconds": "What the last finished night took; of one that was gone on with, its last start.",
    "errors": "What the last finished night could not do.",
    "hook_failed": "Whether the command of [after] failed.",
    "entries": "Entries that the sources of a set have.",
    "entries_new": "Entries that were new.",
    "entries_gone": "Entries that were gone.",
    "rejected": "New entries and faces that were left out, by reason.",
    "comparisons": "Comparisons done.",
    "comparisons_spared": "Comparisons that earlier nights had done.",
    "matches": "Matches of the set's run.",
    "findings": "Findings of the set's run.",
    "findings_new": "Findings that the night before had not.",
    "identities_named": "Identities that the verdict names.",
}
PREFIX = "scanner_night_"
Sample = tuple[str, dict[str, str], float]


def samples(account: Mapping[str, Any] | None, costs: Mapping[str, Any] | None) -> Iterator[Sample]:
    """Yield name, labels and value of everything that the last finished night says.

    Args:
        account: its `night.json`; None before the first.
        costs: its `costs.json`, if it is there.
    """
    if account is None:
        return
    yield "number", {}, account["night"]
    yield "errors", {}, len(account["errors"])
    if costs is not None:
        yield "finished_time_seconds", {}, datetime.fromisoformat(costs["ended_at"]).timestamp()
        yield "duration_seconds", {}, sum(stage["seconds"] for stage in costs["stages"])
    for kind, sets in account["sets"].items():
        for name, one in sets.items():
            label = {"set": f"{kind}/{name}"}
            yield "entries", label, one["entries"]
            yield "entries_new", label, one["new"]["entries"]
            yield "entries_gone", label, one["gone_entries"]
            for reason, count in one["new"]["reasons"].items():
                yield "rejected", {**label, "reason": reason}, count
    for name, run in account["runs"].items():
        label = {"set": f"queries/{name}"}
        findings = run["diff"]["findings"]
        yield "comparisons", label, run["compared"]
        yield "comparisons_spared", label, run["of"] - run["compared"]
        yield "matches", label, run["results"]["matches"]
        yield "findings", label, findings["now"]
        yield "findings_new", label, findings["new"]
        yield "identities_named", label, findings["named_now"]


def write_metrics(path: Path, job: str, found: Iterable[Sample]) -> None:
    """Write a file in Prometheus' text format, completely or not at all; others may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text_of(job, found).encode())
    path.chmod(0o644)  # node_exporter is another user


def text_of(job: str, found: Iterable[Sample]) -> str:
    """Return samples in Prometheus' text format, those of one name together, with a label `job`."""
    by_name: dict[str, list[str]] = {}
    for name, labels, value in found:
        marks = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"job": job, **labels}.items())
        by_name.setdefault(name, []).append(f"{PREFIX}{name}{{{marks}}} {value!r}")
    lines: list[str] = []
    for name, rows in by_name.items():
        lines += [f"# HELP {PREFIX}{name} {HELP[name]}", f"# TYPE {PREFIX}{name} gauge", *rows]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
