"""The bed's AUDIT.toml files, and the whole bed through `scanner audit`: every score and baseline in one table.

    python benchmarks/membership/audits.py BED            # BED was made by bed.py; about 5 minutes of one core

Non-members are drawn beyond those of the bed: a tail is fitted to the null from 1000 people on, and 2000 can show a false
positive rate of 0.1 %.  Writes BED/all.toml, BED/audit (with its page) and benchmarks/results/membership.{json,md}.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.machine import describe_machine
from benchmarks.membership.faces import HELD_OUT_PHOTOS, NON_MEMBERS, Crowd, draw_crowd
from benchmarks.membership.quick import embed, read_labelled, read_pictures
from benchmarks.membership.tars import write_photos
from scanner.jobs.audit import audit

HEAD = """\
[audit]
seed = 0

[embedder]
spec = "drawn"
faces = "aligned"

[people]
members = "{members}"
non_members = "{non_members}"
"""

GATE = """
[gate]
leak_rate_max = 0.05
confidence = 0.95
fpr = 0.01
power_min = 0.5
"""

SWEEPS = {
    "sizes": ("glo-20", "glo-50", "glo-100", "glo-200"),
    "training-time": ("glo-50-at-02500", "glo-50-at-05000", "glo-50-at-10000", "glo-50-at-20000", "glo-50"),
    "often": ("often-1", "often-5", "often-20"),
    "kinds": ("glo-20", "vae-20", "dcgan-20"),
    "innocent": ("shrunk", "underfit", "shifted"),
}
STRANGERS = (Crowd(NON_MEMBERS, 800, HELD_OUT_PHOTOS), Crowd(NON_MEMBERS + 800, 1_200, HELD_OUT_PHOTOS))
"""The bed's non-members, and more of them."""
OURS = ("best_match", "mean_of_k", "count_within", "calibrated", "learned")
BASELINES = ("min_match", "privet")
RATES = {"auc": "AUC", "tpr_1": "TPR at FPR 1 %", "tpr_0.1": "TPR at FPR 0.1 %"}
LEVEL = 0.05


def write_audit(out: Path, name: str) -> None:
    """Write OUT/NAME/audit.toml, of one generator."""
    head = HEAD.format(members="members.tar", non_members="../non_members.tar")
    (out / name / "audit.toml").write_text(head + _generator(out, name, folder="", up="../") + GATE)


def write_sweeps(out: Path) -> None:
    """Write OUT/SWEEP.toml for every sweep of which at least two generators are there."""
    for sweep, wanted in SWEEPS.items():
        names = _made(out, wanted)
        if len(names) >= 2:
            _write_sweep(out, sweep, names, non_members="non_members.tar")


def _made(out: Path, wanted: Sequence[str]) -> list[str]:
    return [name for name in wanted if (out / name / "truth.json").exists()]


def _write_sweep(out: Path, sweep: str, names: Sequence[str], *, non_members: str) -> Path:
    head = HEAD.format(members=f"{names[-1]}/members.tar", non_members=non_members)
    text = "".join(_generator(out, name, folder=f"{name}/", up="") for name in names)
    path = out / f"{sweep}.toml"
    path.write_text(head + text + GATE)
    return path


def _generator(out: Path, name: str, *, folder: str, up: str) -> str:
    truth = json.loads((out / name / "truth.json").read_text())
    lines = [
        "",
        "[[generator]]",
        f'name = "{name}"',
        f'samples = "{folder}samples.tar"',
        f'members = "{folder}members.tar"',
        f'training = "{folder}training.tar"',
        f"identities = {truth['training_identities']}",
        f"step = {truth['passes']}",
    ]
    if name != "reference":
        lines.append(f'reference = "{up}reference/samples.tar"')
    if (out / name / "shares.csv").exists():
        lines.append(f'shares = "{folder}shares.csv"')
    return "\n".join([*lines, ""])


def audit_all(bed: Path) -> dict[str, Any]:
    """Audit every generator of the sweeps, each once, and return what is recorded."""
    shared = bed / f"non_members-{sum(crowd.people for crowd in STRANGERS)}.tar"
    if not shared.exists():
        write_photos(shared, *((crowd, draw_crowd(crowd, bed / "faces")) for crowd in STRANGERS))
    names = _made(bed, list(dict.fromkeys(name for wanted in SWEEPS.values() for name in wanted)))
    began = time.monotonic()
    result = audit(_write_sweep(bed, "all", names, non_members=shared.name), out=bed / "audit", force=True)
    seconds = time.monotonic() - began
    table = pq.read_table(result.folder / "scores.parquet")
    rows = []
    for found in result.document["generators"]:
        truth = json.loads((bed / found["name"] / "truth.json").read_text())
        row = {key: found[key] for key in ("name", "scores", "sets", "gate", "evidence", "guard", "samples", "people")}
        row |= {key: truth[key] for key in ("what", "memorises", "members_were_trained_on", "training_identities")}
        if found["dose"] is not None:
            row["often"] = often(found, table)
            row["often"]["hits"] = hits(bed / found["name"], row["often"]["identity"], found["samples"]["radius"])
        rows.append(row | {"against": {rate: against(row, rate) for rate in RATES}})
    return {"machine": describe_machine(), "seconds": round(seconds, 1), "sentence": result.document["verdict"]["sentence"],
            "policy_sha256": result.document["policy_sha256"], "rows": rows}  # fmt: skip


def often(found: dict[str, Any], table: Any) -> dict[str, Any]:
    """Return how the identity with the largest share stands among the members and among the non-members."""
    person = max(found["dose"]["people"], key=lambda one: one["share"])
    mine = np.array(table["generator"].to_pylist()) == found["name"]
    identity, member = (np.array(table[name].to_pylist())[mine] for name in ("identity", "member"))
    place = int(np.flatnonzero(identity == person["identity"])[0])
    ranks = {}
    for name in (*OURS, *BASELINES):
        values = table[name].to_numpy()[mine]
        higher = values > values[place]
        ranks[name] = {"members_above": int(higher[member].sum()), "non_members_above": int(higher[~member].sum())}
    return {**person, "members": int(member.sum()), "above": ranks, "rising": found["dose"]["rising"]}


def hits(folder: Path, identity: str, radius: float) -> float:
    """Return the share of the samples that reach a score with one of an identity's photos."""
    photos, samples = read_labelled(folder / "members.tar"), embed(read_pictures(folder / "samples.tar"))
    person = embed(photos.pictures[photos.identities == identity])
    return float(((person @ samples.T).max(0) >= radius).mean())


def against(row: dict[str, Any], rate: str) -> dict[str, Any]:
    """Set the best of our scores against the best of the baselines that score identities."""
    value = {name: score[rate]["value"] for name, score in row["scores"].items()}
    ours, theirs = (max(names, key=lambda name: value[name]) for names in (OURS, BASELINES))
    return {"ours": ours, "value": value[ours], "baseline": theirs, "its_value": value[theirs],
            "more": value[ours] - value[theirs], "each": {n: value[n] - value[theirs] for n in OURS}}  # fmt: skip


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    rows, people = report["rows"], report["rows"][0]["people"]
    lines = [
        "# The membership test bed through `scanner audit`", "",
        f"{people['non_members']['identities']} non-members, {people['photos_each']} photos a person, none of them in training; "
        f"{rows[0]['samples']['faces']} samples a generator; one audit of {report['seconds']:.0f} s. In brackets 95 % intervals.",
        "", "## What the audit says", "",
        "| generator | identities in training | memorises | members | named, q <= 0.05 | gate | given away, % | guard fired |",
        "|---" * 8 + "|",
    ]  # fmt: skip
    for row in rows:
        gate = row["gate"]
        bounds = ", ".join(f"{100 * gate[key]:.1f}" for key in ("leak_low", "leak_high"))
        lines.append(
            f"| {row['name']} | {row['training_identities']} | {_yes(row['memorises'])} | {gate['members']} | "
            f"{row['evidence']['below_level']} | {gate['state']} | {100 * gate['leak_rate']:.1f} [{bounds}] | "
            f"{_yes(row['guard']['differ'])} |"
        )
    names = (*OURS, *BASELINES)
    for rate, title in RATES.items():
        lines += ["", f"## {title}: ours, then the baselines {' and '.join(BASELINES)}", "",
                  "| generator | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]  # fmt: skip
        for row in rows:
            lines.append(f"| {row['name']} | " + " | ".join(_cell(row["scores"][n][rate]) for n in names) + " |")
    lines += _set_lines(rows) + _seen_lines(rows) + _against_lines(rows) + _often_lines(rows) + _target_lines(rows)
    return "\n".join([*lines, ""])


def _set_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = [row["name"] for row in rows[0]["sets"]["rows"]]
    lines = ["", "## Baselines of the whole set: value / what copying nobody gives (p)", "",
             "They compare the samples with the training photos, `ks` and `mre_gap` with the members' other photos.", "",
             "| generator | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]  # fmt: skip
    for row in rows:
        cells = []
        for found in row["sets"]["rows"]:
            p_value = "" if found["p_value"] is None else f" ({found['p_value']:.2g})"
            cells.append(f"{found['value']:.3f} / {found['expected']:.3f}{p_value}")
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return lines


def _against_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["", "## Our best score against the better of min_match and privet", "",
             "The best of five scores is chosen after the fact here; the last columns hold one score fixed. Innocent rows are left out: "
             "there every score should be at chance.", "",
             "| generator | rate | ours | baseline | more by | in members | best_match more by | learned more by |",
             "|---" * 8 + "|"]  # fmt: skip
    below = []
    for row in (row for row in rows if row["memorises"]):
        for rate, of in row["against"].items():
            people = f"{of['more'] * row['gate']['members']:+.0f}" if rate != "auc" else ""
            lines.append(
                f"| {row['name']} | {RATES[rate]} | {of['ours']} {of['value']:.3f} | {of['baseline']} {of['its_value']:.3f} | "
                f"{of['more']:+.3f} | {people} | {of['each']['best_match']:+.3f} | {of['each']['learned']:+.3f} |"
            )
            if of["more"] < 0:
                ours, theirs = (row["scores"][of[side]][rate] for side in ("ours", "baseline"))
                apart = ours["high"] < theirs["low"]
                why = (
                    "the intervals lie apart"
                    if apart
                    else "chance can do that: each value lies in the other's interval"
                )
                below.append(
                    f"- {row['name']}, {RATES[rate]}: {-of['more']:.3f} below {of['baseline']} ({people} members); {why}."
                )
    return [*lines, "", "Rows in which a baseline is above our best:", "", *(below or ["- none"])]


def _seen_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Count the rows in which each measure says that something was memorised."""
    says = {
        f"{name}: AUC above a half": [row["scores"][name]["auc"]["low"] > 0.5 for row in rows]
        for name in (*OURS, *BASELINES)
    }
    says["somebody named"] = [row["evidence"]["below_level"] > 0 for row in rows]
    says["gate fails"] = [row["gate"]["state"] == "fail" for row in rows]
    for place, found in enumerate(rows[0]["sets"]["rows"]):
        if found["p_value"] is not None:
            says[f"{found['name']}: p < {LEVEL}"] = [row["sets"]["rows"][place]["p_value"] < LEVEL for row in rows]
    lines = ["", "## In how many rows each measure speaks of memorisation", "", "| measure | memorising | innocent | which innocent |",
             "|---" * 4 + "|"]  # fmt: skip
    guilty = sum(row["memorises"] for row in rows)
    for name, flags in says.items():
        right = sum(flag for flag, row in zip(flags, rows, strict=True) if row["memorises"])
        wrong = [row["name"] for flag, row in zip(flags, rows, strict=True) if flag and not row["memorises"]]
        lines.append(f"| {name} | {right} of {guilty} | {len(wrong)} of {len(rows) - guilty} | {', '.join(wrong)} |")
    return lines


def _often_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["", "## One over-represented identity", "",
             "| generator | its share | of the samples | best match | p | q | members above it | non-members above it (best_match, count_within, calibrated, "
             "learned, min_match, privet) | rho of share and best match, all members (p) |", "|---" * 9 + "|"]  # fmt: skip
    for row in (row for row in rows if "often" in row):
        of = row["often"]
        names = ("best_match", "count_within", "calibrated", "learned", *BASELINES)
        above = ", ".join(str(of["above"][name]["non_members_above"]) for name in names)
        rising = of["rising"]["best_match"]
        lines.append(
            f"| {row['name']} | {100 * of['share']:.0f} % | {100 * of['hits']:.1f} % | {of['best_match']:.3f} | {of['p_value']:.2g} | {of['q_value']:.2g} | "
            f"{of['above']['best_match']['members_above']} of {of['members']} | {above} | {rising['rho']:.2f} ({rising['p_value']:.2g}) |"
        )
    return lines


def _target_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    by_name = {row["name"]: row for row in rows}
    lines = ["", "## Targets", ""]
    for name in ("glo-20", "glo-50"):
        scores = by_name[name]["scores"]
        met = [n for n in OURS if scores[n]["auc"]["value"] >= 0.95 and scores[n]["tpr_1"]["value"] >= 0.5]
        lines.append(f"- {name}: AUC >= 0.95 and TPR >= 0.5 at FPR 1 % by {', '.join(met) or 'no score'}.")
    for score in OURS:
        areas = [by_name[name]["scores"][score]["auc"]["value"] for name in SWEEPS["sizes"]]
        falling = all(a > b for a, b in itertools.pairwise(areas))
        listed = ", ".join(f"{area:.3f}" for area in areas)
        lines.append(f"- AUC of {score} over 20, 50, 100, 200 identities: {listed}; falling: {_yes(falling)}.")
    for row in (row for row in rows if "often" in row):
        found = "found" if row["often"]["q_value"] < LEVEL else "not found"
        lines.append(
            f"- {row['name']}: the over-represented identity is {found} at q < {LEVEL} (q = {row['often']['q_value']:.2g})."
        )
    return lines


def _cell(of: dict[str, Any]) -> str:
    return f"{of['value']:.3f} [{of['low']:.2f}, {of['high']:.2f}]" + (
        "*" if of["note"].endswith("above all of them") else ""
    )


def _yes(flag: bool) -> str:  # noqa: FBT001
    return "yes" if flag else "no"


def main() -> None:
    """Audit the bed and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bed", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    report = audit_all(args.bed)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "membership.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / "membership.md").write_text(to_markdown(report))
    print(to_markdown(report))


if __name__ == "__main__":
    main()
