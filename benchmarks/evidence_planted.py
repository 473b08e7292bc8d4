"""Are planted members named, and nobody else?

    python benchmarks/evidence_planted.py --faces lfw.parquet --generated generated.parquet

Half of the identities become candidates, the other half the null.  In a leaking round a photo of some candidates lies
among the generated faces (and is taken out of the candidates); in an innocent one none does.  Both files come from
`scanner embed`, by one embedder; the first with identities.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import describe_machine

from scanner import ScanOptions, build, scan
from scanner.artefacts import read_table

PHOTOS_MAX = 20


def split(table: pa.Table, leaks: int, seed: int) -> tuple[dict[str, pa.Table], set[str]]:
    """Return candidates, null and planted photos, and whose photos were planted."""
    names = table["identity"].to_pylist()
    people, counts = np.unique(names, return_counts=True)
    rng = np.random.default_rng(seed)
    candidates = set(rng.permutation(people)[: len(people) // 2].tolist())
    many = [
        p for p, n in zip(people.tolist(), counts.tolist(), strict=True) if p in candidates and 2 <= n <= PHOTOS_MAX
    ]
    planted = set(rng.choice(many, leaks, replace=False).tolist()) if leaks else set()
    taken: set[str] = set()
    roles = []
    for name in names:
        if name in planted and name not in taken:
            taken.add(name)
            roles.append("planted")
        else:
            roles.append("candidates" if name in candidates else "null")
    masks = {role: pa.array([r == role for r in roles]) for role in ("candidates", "null", "planted")}
    return {role: table.filter(mask) for role, mask in masks.items()}, planted


def one_round(faces: pa.Table, generated: pa.Table, *, leaks: int, seed: int) -> dict[str, int]:
    """Return how many identities were planted, named, and named rightly, by each rule."""
    parts, planted = split(faces, leaks, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts["queries"] = pa.concat_tables([generated, parts.pop("planted").cast(generated.schema)])
        for role, table in parts.items():
            pq.write_table(table, folder / f"{role}.parquet")
        for role in ("candidates", "null"):
            build(folder / role, str(folder / f"{role}.parquet"))
        options = ScanOptions(fmr=1e-4, calibrate_on=str(folder / "null"), null=(str(folder / "null"),), seed=seed)
        scan(str(folder / "queries.parquet"), against=folder / "candidates", out=folder / "run", options=options)
        rows = read_table(folder / "run" / "identities.parquet", "identities").to_pylist()
    result = {"planted": len(planted)}
    for rule in ("q_value", "q_by", "q_conformal"):
        named = {row["identity"] for row in rows if row[rule] <= 0.05}
        result |= {f"{rule}_named": len(named), f"{rule}_right": len(named & planted)}
    return result


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    lines = [
        "# Planted members against people known not to be in training",
        "",
        f"{report['faces']} photos of {report['identities']} identities, {report['generated']} generated faces, "
        f"{report['seeds']} splits each; sums over the splits, at a false discovery rate of 0.05.",
        "",
        "| planted a split | planted | BH named (right) | BY named (right) | without tail named (right) |",
        "|---|---|---|---|---|",
    ]
    for leaks, sums in report["rounds"].items():
        cells = [f"{sums[f'{r}_named']} ({sums[f'{r}_right']})" for r in ("q_value", "q_by", "q_conformal")]
        lines.append(f"| {leaks} | {sums['planted']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run all rounds and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--generated", type=Path, required=True)
    parser.add_argument("--leaks", type=int, nargs="*", default=[0, 3, 30])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    faces, generated = pq.read_table(args.faces), pq.read_table(args.generated)
    rounds: dict[str, dict[str, int]] = {}
    for leaks in args.leaks:
        sums: dict[str, int] = {}
        for seed in range(args.seeds):
            for name, count in one_round(faces, generated, leaks=leaks, seed=seed).items():
                sums[name] = sums.get(name, 0) + count
        rounds[str(leaks)] = sums
        print(leaks, sums, file=sys.stderr)
    report = {
        "machine": describe_machine(), "faces": faces.num_rows, "identities": len(set(faces["identity"].to_pylist())),
        "generated": generated.num_rows, "seeds": args.seeds, "rounds": rounds,
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evidence_planted.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / "evidence_planted.md").write_text(to_markdown(report))
    print(json.dumps(rounds))


if __name__ == "__main__":
    main()
