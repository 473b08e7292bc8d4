"""Two generators, one that memorised and one that did not, told apart by their samples.

`world/samples/` holds 300 faces of each (40 pixels wide; made by `tools/make_demo_samples.py`).  Both are scanned
against photos of people of the drawn world that were in no training set: the first 24 people are those whom the leaking
generator was trained on, by other photos.  Photos are 112 pixels wide, so candidates and null are brought to the samples'
resolution first (`--null-match`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from scanner import artefacts
from scanner.jobs.options import FaceOptions
from scanner.jobs.scan import ScanResult, scan
from scanner.jobs.scan_options import ScanOptions
from scanner.progress import Progress

GENERATORS = ("leaking", "innocent")
FMR = 1e-4


@dataclass(frozen=True, slots=True)
class Told:
    """What a scan says of one generator.

    Attributes:
        verdict: state of the run.
        members: identities that the leaking generator was trained on; none of them the innocent one's.
        named: candidate identities named.
        named_rightly: of these, the generator's training identities.
        leak_seen: smallest share of the candidates whose leak would have been seen with probability 0.8, or None.
        report: page of the run.
    """

    verdict: str
    members: int
    named: int
    named_rightly: int
    leak_seen: float | None
    report: str


def tell_apart(candidates: Path, outsiders: Path, out: Path, *, name_of: str, progress: Progress) -> dict[str, Told]:
    """Scan the samples of both generators; write a run folder for each below `out`.

    Args:
        candidates: index with crops of people of the world, the 24 members among them.
        outsiders: index with crops of people who were in neither training set.
        out: folder for the runs.
        name_of: how the world calls a person, as a format of the number.
        progress: where to report.
    """
    folder = files("scanner.world") / "samples"
    about = json.loads((folder / "samples.json").read_text("utf-8"))
    first, last = next(one for one in about["sets"] if one["name"] == "leaking")["trained_on"]["people"]
    members = {name_of.format(number) for number in range(first, last + 1)}
    options = ScanOptions(
        fmr=FMR, calibrate_on=str(outsiders), null=(str(outsiders),), null_match=True, with_crops=True
    )
    told = {}
    for name in GENERATORS:
        with as_file(folder / f"{name}.tar") as tar:
            result = scan(
                str(tar), against=candidates, out=out / f"run-{name}", options=options,
                faces=FaceOptions(embedder="drawn", faces="aligned"), progress=progress,
            )  # fmt: skip
        told[name] = _told(result, members, leaks=name == "leaking")
    return told


def _told(result: ScanResult, members: set[str], *, leaks: bool) -> Told:
    table = artefacts.read_table(result.folder / "identities.parquet", "identities", columns=["identity", "q_value"])
    evidence = artefacts.read_json(result.folder / "evidence.json")
    named = {row["identity"] for row in table.to_pylist() if row["q_value"] <= evidence["identities"]["level"]}
    power = evidence["power"]
    return Told(
        evidence["verdict"]["state"], len(members), len(named), len(named & members) if leaks else 0,
        None if power is None else power["smallest"], str(result.folder / "report.html"),
    )  # fmt: skip
