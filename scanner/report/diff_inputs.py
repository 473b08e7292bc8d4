"""What differs between the inputs of two runs: what a reader must know before reading a difference as a leak."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.errors import EmbedderMismatch

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InputChange:
    """One input that differs, in words; None where a run has none."""

    what: str
    before: str | None
    now: str | None


def check_comparable(base: Path, run: Path, before: Summary, now: Summary) -> None:
    """Refuse runs of two embedders.

    Raises:
        EmbedderMismatch: their fingerprints differ.
    """
    one, other = before["road"]["embedder"], now["road"]["embedder"]
    if one["fingerprint"] != other["fingerprint"]:
        raise EmbedderMismatch(
            f"{base} was embedded by {one['name']} (fingerprint {one['fingerprint']}), {run} by {other['name']} (fingerprint "
            f"{other['fingerprint']}). Scores of two embedders cannot be compared, so nothing can be called new or gone. Name "
            "two runs of one embedder, or scan again with the other one's."
        )


def input_changes(before: Summary, now: Summary) -> tuple[InputChange, ...]:
    """Return what differs, from what `run.json` says of the two runs; nothing that equal inputs would not share."""
    one, other = dict(_inputs(before)), dict(_inputs(now))
    names = list(dict.fromkeys([*one, *other]))
    return tuple(
        InputChange(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)
    )


def _inputs(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield every input with its value in words."""
    evidence = summary.get("evidence") or {}
    yield "sources", ", ".join(summary["queries"])
    yield "scanned faces", _count(summary["results"]["queries"], "face")
    yield "rejected images and faces", str(summary["counts"]["rejected"] + summary["counts"]["faces_rejected"])
    for one in summary["indexes"]:
        yield f"index {one['name']}", f"{_count(one['rows'], 'reference')}, manifest {one['manifest_sha256'][:12]}"
    for one in evidence.get("nulls", ()):
        yield f"null {one['name']}", f"manifest {one['manifest_sha256'][:12]}"
    if evidence:
        yield "people in the null", str(evidence["null_identities"])
        yield "false discovery rate", f"{evidence['level']:g}"
    if summary.get("null_match"):
        yield "null match", "candidates and null brought to the queries' domain"
    yield "threshold", _threshold(summary["threshold"])
    faces = summary["road"]["faces"]
    if faces is not None:
        yield (
            "faces",
            f"{faces['mode']}, {faces['select']}, {faces['detector'] or 'no detector'} ({faces['fingerprint']})",
        )
        yield "gates", ", ".join(f"{name} {value:g}" for name, value in sorted((faces.get("gates") or {}).items()))
    if summary.get("copies"):
        yield "copy detection", str(summary["copies"]["name"])
    yield "seed", str(summary["seed"])
    yield "scanner", str(summary["versions"].get("identity-leak-scanner", "unknown"))


def _threshold(threshold: Mapping[str, Any]) -> str:
    on = threshold.get("calibrated_on")
    return f"{threshold['value']:.6f}, " + (f"calibrated on {on}" if on else "given by hand")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
