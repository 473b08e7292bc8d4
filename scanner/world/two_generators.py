"""Two generators, one that memorised and one that did not, told apart by their samples.

`world/samples/` holds 300 faces of each (40 pixels wide; made by `tools/make_demo_samples.py`).  Both are scanned
against photos of people of the drawn world that were in no training set: the first 24 people are those whom the leaking
generator was trained on, by other photos.  Photos are 112 pixels wide, so candidates and null are brought to the samples'
resolution first (`--null-match`).
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scanner import artefacts
from scanner.images import decode_rgb, encode_png
from scanner.jobs.options import FaceOptions
from scanner.jobs.scan import ScanResult, scan
from scanner.jobs.scan_options import ScanOptions
from scanner.progress import Progress

GENERATORS = ("leaking", "innocent")
MEMBERS = 24
"""People whom the leaking generator was trained on: the world's first."""
OTHERS = 400
"""People outside training who are in the audit."""
_AUDIT = """\
# Which of these generators gives its training people away?  scanner audit {toml} --out {out}
[embedder]
spec = "drawn"
faces = "aligned"

[people]
members = "members.tar"       # other photos of the 24 people whom one generator was trained on
non_members = "others.tar"    # people whom neither was trained on

[[generator]]
name = "leaking"
samples = "leaking.tar"

[[generator]]
name = "innocent"
samples = "innocent.tar"

[sweep]
samples = [30, 100, 300]

[gate]
leak_rate_max = 0.25          # 24 people can show no less
fpr = 0.01
power_min = 0.5
"""


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


def tell_apart(
    candidates: Path, outsiders: Path, out: Path, *, fmr: float, name_of: str, progress: Progress
) -> dict[str, Told]:
    """Scan the samples of both generators; write a run folder for each below `out`.

    Args:
        candidates: index with crops of people of the world, the 24 members among them.
        outsiders: index with crops of people who were in neither training set.
        out: folder for the runs.
        fmr: false match rate of the threshold.
        name_of: how the world calls a person, as a format of the number.
        progress: where to report.
    """
    folder = files("scanner.world") / "samples"
    members = {name_of.format(number) for number in range(MEMBERS)}
    options = ScanOptions(
        fmr=fmr, calibrate_on=str(outsiders), null=(str(outsiders),), null_match=True, with_crops=True
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


def write_audit(pictures: Path, *, name_of: str) -> Path:
    """Write what `scanner audit` needs to attack both generators, at their samples' resolution; return the AUDIT.toml.

    Args:
        pictures: the drawn world, with `set-a/` and `outsiders.tar`.
        name_of: how the world calls a person, as a format of the number.
    """
    folder = files("scanner.world") / "samples"
    about = json.loads((folder / "samples.json").read_text("utf-8"))
    people = [pictures / "set-a" / name_of.format(number) for number in range(MEMBERS)]
    members = [
        (f"{person.name}-{photo.stem}", photo.read_bytes(), person.name)
        for person in people
        for photo in sorted(person.iterdir())
    ]
    out = pictures / "audit"
    out.mkdir()
    for name, photos in (("members", members), ("others", _others(pictures / "outsiders.tar"))):
        small = [(key, _reduced(png, about["side_px"]), identity) for key, png, identity in photos]
        write_tar(out / f"{name}.tar", small)
    for name in GENERATORS:
        (out / f"{name}.tar").write_bytes((folder / f"{name}.tar").read_bytes())
    toml = out / "audit.toml"
    toml.write_text(_AUDIT.format(toml=toml, out=pictures.parent / "audit"), "utf-8")
    return toml


def _others(tar: Path) -> list[tuple[str, bytes, str]]:
    """Return the photos of the first `OTHERS` people of a WebDataset tar."""
    found: list[tuple[str, bytes, str]] = []
    with tarfile.open(tar) as archive:
        for member in archive:
            key, _, suffix = member.name.rpartition(".")
            identity = key.rpartition("-")[0]
            file = archive.extractfile(member)
            if suffix == "png" and file is not None:
                found.append((key, file.read(), identity))
    chosen = set(sorted({identity for _, _, identity in found})[:OTHERS])
    return [photo for photo in found if photo[2] in chosen]


def _reduced(png: bytes, side_px: int) -> bytes:
    """Return a picture at the generators' resolution, as their training pictures were reduced."""
    small = cv2.resize(decode_rgb(png), (side_px, side_px), interpolation=cv2.INTER_AREA)
    return encode_png(np.asarray(small, np.uint8))


def write_tar(
    path: Path, photos: Iterable[tuple[str, bytes, str]], advance: Callable[[int], None] = lambda _: None
) -> None:
    """Write a WebDataset tar of (name, PNG, identity): NAME.png, and NAME.json with the identity."""
    with tarfile.open(path, "w") as tar:
        for name, png, identity in photos:
            label: dict[str, Any] = {"identity": identity}
            for suffix, data in (("png", png), ("json", json.dumps(label).encode())):
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            advance(1)
