"""`scanner check` on real embeddings: how often a person is told by a handful of photos, and how often wrongly.

    python benchmarks/evidence_check.py --faces lfw.parquet --generated generated.parquet

Each split makes three fifths of the people the null.  Of the others, a half of those with two photos or more are members:
one photo of each is put among the generated faces, as it is or mixed with a generated face (a blurred copy), and the check
sees their other photos only.  The rest are non-members.  `works` takes one photo each of many members, of whom all or a
tenth were planted.  The two embeddings files are made by `scanner embed`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import describe_machine
from numpy.typing import NDArray

from scanner.evidence.calibration import proportion_interval
from scanner.evidence.persons import person_power, weigh_person, weigh_works
from scanner.jobs.parts import vectors_of
from scanner.search import neighbours_of

LEVELS = (0.01, 0.05)
PERSON = (1, 2, 3, 4, 5, 6, 8)
WORKS = (5, 10, 20, 40, 70)
PEOPLE_MAX = 200
"""Checks of one side and number of photos in one split."""
SETS = 10
"""Sets of works of each kind in one split."""
COPIES = (1.0, 0.6, 0.5, 0.4)
"""Share of the member's photo in the planted vector; the rest is a generated face."""


@dataclass(frozen=True)
class Split:
    """Rows of the null, and rows of each member (the planted photo first) and non-member."""

    null: NDArray[np.int64]
    members: list[NDArray[np.int64]]
    others: list[NDArray[np.int64]]


def split(codes: NDArray[np.int64], seed: int) -> Split:
    """Split people, not photos."""
    rng = np.random.default_rng([seed, 0])
    people = rng.permutation(codes.max() + 1)
    is_null = np.zeros(len(people), np.bool_)
    is_null[people[: len(people) * 3 // 5]] = True
    rest = [rng.permutation(np.flatnonzero(codes == code)) for code in np.flatnonzero(~is_null)]
    able = [place for place, rows in enumerate(rest) if len(rows) > 1]
    chosen = set(rng.permutation(able)[: len(able) // 2].tolist())
    return Split(
        np.flatnonzero(is_null[codes]),
        [rows for place, rows in enumerate(rest) if place in chosen],
        [rows for place, rows in enumerate(rest) if place not in chosen],
    )


def plant(photos: NDArray[np.float32], generated: NDArray[np.float32], share: float, seed: int) -> NDArray[np.float32]:
    """Return copies of photos, each mixed with a generated face of its own."""
    mixed = (
        share * photos
        + (1.0 - share) * generated[np.random.default_rng([seed, 1]).integers(len(generated), size=len(photos))]
    )
    return np.ascontiguousarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


def persons(
    best: NDArray[np.float32], codes: NDArray[np.int64], parts: Split, seed: int
) -> Iterator[tuple[str, int, float]]:
    """Yield (members or others, photos, p) of every person with as many photos."""
    null_codes = np.unique(codes[parts.null], return_inverse=True)[1]
    for photos in PERSON:
        for side, people in (("members", [rows[1:] for rows in parts.members]), ("others", parts.others)):
            for rows in [rows for rows in people if len(rows) >= photos][:PEOPLE_MAX]:
                found = weigh_person(best[rows[:photos]], best[parts.null], null_codes, seed=seed)
                yield side, photos, found.p_value


def works(
    best: NDArray[np.float32], codes: NDArray[np.int64], parts: Split, seed: int
) -> Iterator[tuple[str, int, float]]:
    """Yield (side, photos, p) of sets of works: members, a tenth members, others."""
    null_codes = np.unique(codes[parts.null], return_inverse=True)[1]
    rng = np.random.default_rng([seed, 2])
    others = np.array([rows[0] for rows in parts.others])
    members = np.array([rows[1] for rows in parts.members])
    for photos in [n for n in WORKS for _ in range(SETS)]:
        stranger, member = rng.permutation(others)[:photos], rng.permutation(members)[:photos]
        leaks = max(1, photos // 10)
        tenth = np.r_[member[:leaks], stranger[leaks:]]
        for side, rows in (("members", member), ("a tenth", tenth), ("others", stranger)):
            yield side, photos, weigh_works(best[rows], best[parts.null], null_codes, draws=2000, seed=seed).p_value


def summary(values: list[float]) -> dict[str, Any]:
    """Return how many p-values there are, and which share is at most each level."""
    p = np.array(values)
    shares = {}
    for level in LEVELS:
        hits = int((p <= level).sum())
        low, high = proportion_interval(hits, len(p))
        shares[f"{level:g}"] = {"share": hits / len(p), "low": low, "high": high}
    return {"checks": len(p), "median_p": float(np.median(p)), "at_most": shares}


def expected(
    vectors: NDArray[np.float32],
    best: NDArray[np.float32],
    codes: NDArray[np.int64],
    null: NDArray[np.int64],
    seed: int,
) -> dict[str, float]:
    """Return the power that a check would print for this null at the first level."""
    order = null[np.argsort(codes[null], kind="stable")]
    after = np.roll(order, -1)
    start = np.r_[True, codes[order][1:] != codes[order][:-1]]
    first = np.maximum.accumulate(np.where(start, np.arange(len(order)), 0))
    after = np.where(codes[after] == codes[order], after, order[first])
    mated = np.where(after == order, np.nan, np.einsum("ij,ij->i", vectors[order], vectors[after])).astype(np.float32)
    names = np.unique(codes[order], return_inverse=True)[1]
    points = person_power(best[order], mated, names, level=LEVELS[0], photos_max=max(PERSON), seed=seed)
    return {str(point.photos): point.reached.value for point in points}


def measure(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], generated: NDArray[np.float32], seeds: int
) -> dict[str, Any]:
    """Return the shares for all kinds of copies."""
    plain = neighbours_of(vectors, generated, k=1).score[:, 0]
    report: dict[str, Any] = {"expected": expected(vectors, plain, codes, split(codes, 0).null, 0)}
    for share in COPIES:
        values: dict[str, dict[tuple[str, int], list[float]]] = {"person": {}, "works": {}}
        for seed in range(seeds):
            parts = split(codes, seed)
            planted = plant(vectors[[rows[0] for rows in parts.members]], generated, share, seed)
            best = np.maximum(plain, neighbours_of(vectors, planted, k=1).score[:, 0])
            for way, found in (
                ("person", persons(best, codes, parts, seed)),
                ("works", works(best, codes, parts, seed)),
            ):
                for side, photos, p in found:
                    values[way].setdefault((side, photos), []).append(p)
        report[f"{share:g}"] = {
            way: {
                side: {str(n): summary(p) for (s, n), p in of.items() if s == side}
                for side in dict.fromkeys(s for s, _ in of)
            }
            for way, of in values.items()
        }
        print(share, json.dumps(report[f"{share:g}"])[:200], file=sys.stderr)
    return report


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    lines = [
        "# A handful of photos: was this person in training?", "",
        f"{report['faces']} photos of {report['identities']} identities, {report['generated']} generated faces, "
        f"{report['seeds']} splits. Share of checks with p <= 0.01 (95 % Clopper-Pearson, as if checks of one split were "
        "independent). Copies: share of the member's photo in the planted vector. Other photos of the member are checked. "
        "A tenth: a tenth of the works (one of 5) are members'.", "",
    ]  # fmt: skip
    found = report["found"]
    for way, sizes, title in (("person", PERSON, "One person"), ("works", WORKS, "Works of many")):
        lines += [
            f"## {title}",
            "",
            "| copies | who | " + " | ".join(f"{n}" for n in sizes) + " |",
            "|" + "---|" * (len(sizes) + 2),
        ]
        for share in COPIES:
            for side, cells in found[f"{share:g}"][way].items():
                shown = [cells.get(str(n)) for n in sizes]
                text = [
                    "-" if c is None else "{share:.3f} ({low:.3f} to {high:.3f})".format(**c["at_most"]["0.01"])
                    for c in shown
                ]
                lines.append(f"| {share:g} | {side} | {' | '.join(text)} |")
        lines.append("")
    said = ", ".join(f"{n}: {value:.3f}" for n, value in found["expected"].items())
    return "\n".join(
        [*lines, f"Power that the check itself states for a copy as close as another photo, by photos: {said}.", ""]
    )


def main() -> None:
    """Run all splits and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--generated", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    faces, generated = pq.read_table(args.faces), pq.read_table(args.generated)
    names, codes = np.unique(np.array(faces["identity"].to_pylist(), np.str_), return_inverse=True)
    report = {
        "machine": describe_machine(), "faces": faces.num_rows, "identities": len(names), "generated": generated.num_rows,
        "seeds": args.seeds, "found": measure(vectors_of(faces), codes, vectors_of(generated), args.seeds),
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evidence_check.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / "evidence_check.md").write_text(to_markdown(report))
    print(json.dumps(report["found"]["expected"]))


if __name__ == "__main__":
    main()
