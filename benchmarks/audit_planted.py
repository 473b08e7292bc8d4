"""The release gate on real faces with a known leak rate: what does `scanner audit` measure, and what does it decide?

    python benchmarks/audit_planted.py --faces lfw.parquet --generated generated.parquet

Of the people with two photos or more, half become members by lot; one photo of each, drawn by lot, is its training photo
and shown to nobody else.  The training photos of a share of the members lie among the generated faces: these are given
away.  Non-members are the other half ("equal"), or these and all people with a single photo ("large").  Everybody is seen
through one photo.  Each round is a whole audit on files; both inputs come from `scanner embed`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import describe_machine
from numpy.typing import NDArray

from scanner.audit.audit import audit

SHARES = (0.0, 0.05, 0.2, 0.5)
NULLS = ("equal", "large")
RATES = ("auc", "tpr_1", "tpr_0.1")
AUDIT = """
[audit]
seed = {seed}
[people]
members = "members.parquet"
non_members = "non_members.parquet"
photos = 1
[[generator]]
name = "planted"
samples = "samples.parquet"
training = "training.parquet"
[gate]
leak_rate_max = {tolerated}
confidence = 0.95
fpr = 0.01
power_min = 0.8
"""


def parts_of(
    names: NDArray[np.str_], *, share: float, null: str, seed: int
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """Return rows of members, non-members and training photos, and of the training photos that are given away."""
    rng = np.random.default_rng([seed, 0xA0D])
    people, code, photos = np.unique(names, return_inverse=True, return_counts=True)
    several = rng.permutation(np.flatnonzero(photos > 1))
    member = np.zeros(len(people), np.bool_)
    member[several[: len(several) // 2]] = True
    order = rng.permutation(len(names))
    drawn = np.zeros(len(names), np.bool_)
    drawn[order[np.unique(code[order], return_index=True)[1]]] = True
    training = np.flatnonzero(drawn & member[code])
    others = ~member & (photos > 1) if null == "equal" else ~member
    rows = {
        "members": np.flatnonzero(member[code] & ~drawn),
        "non_members": np.flatnonzero(others[code]),
        "training": training,
    }
    return rows, np.sort(rng.permutation(training)[: round(share * len(training))])


def one_round(
    faces: pa.Table, generated: pa.Table, *, share: float, null: str, seed: int, tolerated: float
) -> dict[str, Any]:
    """Run an audit and return what it says, beside the truth."""
    rows, leaked = parts_of(np.array(faces["identity"].to_pylist(), np.str_), share=share, null=null, seed=seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for role, chosen in rows.items():
            pq.write_table(faces.take(chosen), folder / f"{role}.parquet")
        samples = pa.concat_tables([generated, faces.take(leaked).cast(generated.schema)])
        pq.write_table(samples, folder / "samples.parquet")
        (folder / "audit.toml").write_text(AUDIT.format(seed=seed, tolerated=tolerated))
        document = audit(folder / "audit.toml", out=folder / "out").document
    found = document["generators"][0]
    gate = found["gate"]
    return {
        "true": len(leaked) / len(rows["training"]), "gate": gate, "verdict": document["verdict"]["state"],
        "scores": found["scores"], "sets": found["sets"]["rows"], "guard": found["guard"],
        "named": found["evidence"]["below_level"], "samples": found["samples"], "seconds": time.monotonic() - started,
    }  # fmt: skip


def summarise(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over rounds of one kind; intervals are means of both ends, and `from`, `to` the spread of the values."""
    gates = [r["gate"] for r in rounds]
    true = rounds[0]["true"]
    scores = {
        name: {rate: _spread([r["scores"][name][rate] for r in rounds]) for rate in RATES}
        for name in rounds[0]["scores"]
    }
    sets: dict[str, dict[str, Any]] = {}
    for row in (row for r in rounds for row in r["sets"]):
        of = sets.setdefault(row["name"], {key: [] for key, value in row.items() if isinstance(value, int | float)})
        for key, values in of.items():
            values.append(row[key])
    return {
        "rounds": len(rounds),
        "true": true,
        "states": {state: sum(g["state"] == state for g in gates) for state in ("pass", "fail", "inconclusive")},
        "guard_fired": sum(r["guard"]["differ"] for r in rounds),
        "guard_auc": float(np.mean([r["guard"]["auc"] for r in rounds])),
        "leak_rate": {
            "value": float(np.mean([g["leak_rate"] for g in gates])),
            "from": min(g["leak_rate"] for g in gates), "to": max(g["leak_rate"] for g in gates),
            "low": float(np.mean([g["leak_low"] for g in gates])), "high": float(np.mean([g["leak_high"] for g in gates])),
            "covered": sum(g["leak_low"] <= true <= g["leak_high"] for g in gates),
        },
        "power": float(np.mean([g["power"] for g in gates])),
        "power_low": float(np.mean([g["power_low"] for g in gates])),
        "cut": float(np.mean([g["cut"] for g in gates])),
        "members": gates[0]["members"], "non_members": gates[0]["null_identities"], "planted_to_see": gates[0]["planted"],
        "possible": gates[0]["sizes"]["possible"], "likely": gates[0]["sizes"]["likely"],
        "member_hits": float(np.mean([g["member_hits"] for g in gates])),
        "null_hits": float(np.mean([g["null_hits"] for g in gates])),
        "named": float(np.mean([r["named"] for r in rounds])),
        "seconds": float(np.mean([r["seconds"] for r in rounds])),
        "sentence": gates[0]["sentence"],
        "scores": scores,
        "sets": {name: {key: _mean(values) for key, values in of.items()} for name, of in sets.items()},
    }  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _spread(estimates: Sequence[dict[str, float]]) -> dict[str, float]:
    values = [estimate["value"] for estimate in estimates]
    return {
        "value": float(np.mean(values)), "from": min(values), "to": max(values),
        "low": float(np.mean([estimate["low"] for estimate in estimates])),
        "high": float(np.mean([estimate["high"] for estimate in estimates])),
    }  # fmt: skip


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    lines = [
        "# The release gate on real faces, with planted training photos", "",
        f"{report['faces']} photos of {report['identities']} identities, {report['generated']} generated faces, {report['seeds']} "
        f"rounds of each kind, each a whole audit. Gate: leak_rate_max {report['tolerated']:g}, confidence 0.95, fpr 0.01, "
        "power_min 0.8. Estimates are means over rounds, in brackets the means of both ends of the 95 % intervals.", "",
        "| non-members | true leak rate, % | pass / fail / inconclusive | estimated, % | smallest to largest | truth inside bounds | "
        "power (lower bound) | guard fired | named |", "|---" * 9 + "|",
    ]  # fmt: skip
    for row in report["rounds"]:
        rate, states = row["leak_rate"], row["states"]
        lines.append(
            f"| {row['null']}: {row['non_members']} | {100 * row['true']:.1f} of {row['members']} | {states['pass']} / {states['fail']} / "
            f"{states['inconclusive']} | {_percent(rate)} | {100 * rate['from']:.1f} to {100 * rate['to']:.1f} | {rate['covered']} of "
            f"{row['rounds']} | {row['power']:.3f} ({row['power_low']:.3f}) | {row['guard_fired']} | {row['named']:.1f} |"
        )
    lines += ["", "What the gate says, first round of each kind:", ""]
    lines += [f"- {row['null']}, {100 * row['true']:.0f} %: {row['sentence']}" for row in report["rounds"]]
    for rate, title in zip(RATES, ("AUC", "TPR at FPR 1 %, %", "TPR at FPR 0.1 %, %"), strict=True):
        names = list(report["rounds"][0]["scores"])
        lines += [
            "",
            f"## {title}",
            "",
            "| non-members | true, % | " + " | ".join(names) + " |",
            "|---" * (len(names) + 2) + "|",
        ]
        for row in report["rounds"]:
            cells = [_value(row["scores"][name][rate], rate) for name in names]
            lines.append(f"| {row['null']} | {100 * row['true']:.1f} | {' | '.join(cells)} |")
    names = list(report["rounds"][0]["sets"])
    lines += ["", "## Measures of the whole set: mean value (mean p)", "", "| non-members | true, % | " + " | ".join(names) + " |",
              "|---" * (len(names) + 2) + "|"]  # fmt: skip
    for row in report["rounds"]:
        cells = [_set(row["sets"].get(name, {})) for name in names]
        lines.append(f"| {row['null']} | {100 * row['true']:.1f} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _percent(of: dict[str, float]) -> str:
    return f"{100 * of['value']:.1f} ({100 * of['low']:.1f} to {100 * of['high']:.1f})"


def _value(of: dict[str, float], rate: str) -> str:
    return f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f})" if rate == "auc" else _percent(of)


def _set(of: dict[str, float | None]) -> str:
    value, p = of.get("value"), of.get("p_value")
    return "-" if value is None else f"{value:.3f}" + ("" if p is None else f" ({p:.2g})")


def main() -> None:
    """Run all rounds and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--generated", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shares", type=float, nargs="*", default=list(SHARES))
    parser.add_argument("--tolerated", type=float, default=0.1, help="leak_rate_max of the gate")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    faces, generated = pq.read_table(args.faces), pq.read_table(args.generated)
    rows = []
    for null in NULLS:
        for share in args.shares:
            rounds = [
                one_round(faces, generated, share=share, null=null, seed=seed, tolerated=args.tolerated)
                for seed in range(args.seeds)
            ]
            rows.append({"null": null, **summarise(rounds)})
            print(
                null,
                share,
                rows[-1]["states"],
                rows[-1]["leak_rate"],
                f"{rows[-1]['seconds']:.1f} s each",
                file=sys.stderr,
            )
    report = {
        "machine": describe_machine(), "faces": faces.num_rows, "identities": len(set(faces["identity"].to_pylist())),
        "generated": generated.num_rows, "seeds": args.seeds, "tolerated": args.tolerated, "rounds": rows,
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "audit_planted.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / "audit_planted.md").write_text(to_markdown(report))
    print(json.dumps([{key: row[key] for key in ("null", "true", "states")} for row in rows]))


if __name__ == "__main__":
    main()
