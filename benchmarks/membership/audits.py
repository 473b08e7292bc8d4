"""The bed's AUDIT.toml files, and the whole bed through `scanner audit`: every score and baseline in one table.

    python benchmarks/membership/audits.py BED            # BED was made by bed.py; about 5 minutes of one core

Non-members are drawn beyond those of the bed: a tail is fitted to the null from 1000 people on, and 2000 can show a false
positive rate of 0.1 %.  Writes BED/all.toml, BED/audit (with its page) and benchmarks/results/membership.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.machine import describe_machine
from benchmarks.membership.faces import HELD_OUT_PHOTOS, NON_MEMBERS, Crowd, draw_crowd
from benchmarks.membership.pages import BASELINES, OURS, RATES, SIZES, audit_page
from benchmarks.membership.quick import embed, read_labelled, read_pictures
from benchmarks.membership.tars import write_photos
from scanner.audit.audit import audit

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
    "sizes": SIZES,
    "training-time": ("glo-50-at-02500", "glo-50-at-05000", "glo-50-at-10000", "glo-50-at-20000", "glo-50"),
    "often": ("often-1", "often-5", "often-20"),
    "kinds": ("glo-20", "vae-20", "dcgan-20"),
    "innocent": ("shrunk", "underfit", "shifted"),
}
STRANGERS = (Crowd(NON_MEMBERS, 800, HELD_OUT_PHOTOS), Crowd(NON_MEMBERS + 800, 1_200, HELD_OUT_PHOTOS))
"""The bed's non-members, and more of them."""


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


def main() -> None:
    """Audit the bed and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bed", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    report = audit_all(args.bed)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "membership.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / "membership.md").write_text(audit_page(report))
    print(audit_page(report))


if __name__ == "__main__":
    main()
