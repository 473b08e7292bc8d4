"""Two generators, one that memorised and one that did not, told apart by their samples.

`world/generators/` holds both (40 pixels wide; made by `tools/make_demo_generators.py`).  Samples of each are scanned
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
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner import artefacts
from scanner.images import decode_rgb, encode_png
from scanner.jobs.options import FaceOptions
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import ScanResult, scan
from scanner.progress import Progress

GENERATORS = ("leaking", "innocent")
MEMBERS = 24
"""People whom the leaking generator was trained on: the world's first."""
OTHERS = 400
"""People outside training who are in the audit."""
SAMPLES = 300
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
samples = "generated:../generators/leaking.toml?n={samples}&seed=0"
model = "../generators/leaking.toml"
training = "../rewound/leaking-training.tar"

[[generator]]
name = "innocent"
samples = "generated:../generators/innocent.toml?n={samples}&seed=0"
model = "../generators/innocent.toml"
training = "../rewound/innocent-training.tar"

[sweep]
samples = [30, 100, {samples}]

[recovery]                    # run them backwards: are training photos re-created better than others?
space = "w"
images_max = 48
restarts = 1
steps = 40

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


def copy_generators(folder: Path) -> None:
    """Copy the two generators into a new folder, where their owner can try the other commands on them."""
    folder.mkdir()
    for file in (files("scanner.world") / "generators").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


def trained_on(generators: Path, name: str) -> tuple[range, range]:
    """Return the numbers of the people and of the photos that a generator was trained on."""
    record = json.loads((generators / f"{name}.training.json").read_text("utf-8"))
    people, photos = record["trained_on"]["people"], record["trained_on"]["photos"]
    return range(people[0], people[1] + 1), range(photos[0], photos[1] + 1)


def side_px(generators: Path) -> int:
    """Return the width and height of the generators' images."""
    return int(json.loads((generators / "leaking.training.json").read_text("utf-8"))["side_px"])


def tell_apart(
    generators: Path, candidates: Path, outsiders: Path, out: Path, *, fmr: float, name_of: str, progress: Progress
) -> dict[str, Told]:
    """Scan the samples of both generators; write a run folder for each below `out`.

    Args:
        generators: folder that `copy_generators` made.
        candidates: index with crops of people of the world, the 24 members among them.
        outsiders: index with crops of people who were in neither training set.
        out: folder for the runs.
        fmr: false match rate of the threshold.
        name_of: how the world calls a person, as a format of the number.
        progress: where to report.
    """
    members = {name_of.format(number) for number in range(MEMBERS)}
    options = ScanOptions(
        fmr=fmr, calibrate_on=str(outsiders), null=(str(outsiders),), null_match=True, with_crops=True
    )
    told = {}
    for name in GENERATORS:
        result = scan(
            f"generated:{generators / name}.toml?n={SAMPLES}&seed=0", against=candidates, out=out / f"run-{name}",
            options=options, faces=FaceOptions(embedder="drawn", faces="aligned"), progress=progress,
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
        pictures: the drawn world, with `set-a/`, `outsiders.tar`, `generators/` and the photos of `rewound/`.
        name_of: how the world calls a person, as a format of the number.
    """
    side = side_px(pictures / "generators")
    people = [pictures / "set-a" / name_of.format(number) for number in range(MEMBERS)]
    members = [
        (f"{person.name}-{photo.stem}", photo.read_bytes(), person.name)
        for person in people
        for photo in sorted(person.iterdir())
    ]
    out = pictures / "audit"
    out.mkdir()
    for name, photos in (("members", members), ("others", _others(pictures / "outsiders.tar"))):
        small = [(key, encode_png(reduced(decode_rgb(png), side)), identity) for key, png, identity in photos]
        write_tar(out / f"{name}.tar", small)
    toml = out / "audit.toml"
    toml.write_text(_AUDIT.format(toml=toml, out=pictures.parent / "audit", samples=SAMPLES), "utf-8")
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


def reduced(pixels_rgb_u8: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a picture at the generators' resolution, as their training pictures were reduced."""
    return np.asarray(cv2.resize(pixels_rgb_u8, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


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
