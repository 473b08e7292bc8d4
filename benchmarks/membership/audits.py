"""The bed's AUDIT.toml files: one a generator, and one for each sweep over generators."""

from __future__ import annotations

import json
from pathlib import Path

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


def write_audit(out: Path, name: str) -> None:
    """Write OUT/NAME/audit.toml, of one generator."""
    head = HEAD.format(members="members.tar", non_members="../non_members.tar")
    (out / name / "audit.toml").write_text(head + _generator(out, name, folder="", up="../") + GATE)


def write_sweeps(out: Path) -> None:
    """Write OUT/SWEEP.toml for every sweep of which at least two generators are there."""
    for sweep, wanted in SWEEPS.items():
        names = [name for name in wanted if (out / name / "truth.json").exists()]
        if len(names) < 2:
            continue
        head = HEAD.format(members=f"{names[-1]}/members.tar", non_members="non_members.tar")
        text = "".join(_generator(out, name, folder=f"{name}/", up="") for name in names)
        (out / f"{sweep}.toml").write_text(head + text + GATE)


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
