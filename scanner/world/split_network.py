"""A recogniser cut in two: what a stranger sees in the numbers that the first machine sends to the second.

The drawn recogniser is cut at three depths.  An inverse that was trained without a single photo (`world/split/inverse`,
made by `tools/make_demo_inverse.py`) turns the features back into faces, and a second recogniser, which the inverse never
saw, says whether they still show the person.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from scanner.audit.audit import audit
from scanner.progress import Progress

PEOPLE = 60
"""Outsiders whose photos are sent through the cut network, two of each."""
FMR = 0.01
_AUDIT = """\
# What do the features of a split recogniser give away?  scanner audit {toml} --out {out}
[embedder]
faces = "aligned"

[split]
network = "../models/drawn-face-128.onnx"
inverse = "inverse"
photos = "photos.tar"
judges = ["onnx:../models/drawn-judge-64.onnx"]       # a network that the inverse never saw
fmr = [{fmr}]
pictures = true                             # nobody in them is real
"""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is re-created from the features at one depth.

    Attributes:
        name: of the cut.
        layers: with weights, from the photo to the cut.
        psnr_db: mean over the photos.
        same_photo: share of re-created photos that match the photo itself, at a false match rate of `FMR` (type I).
        other_photo: share that match another photo of the person (type II).
    """

    name: str
    layers: int
    psnr_db: float
    same_photo: float
    other_photo: float


def write_split(pictures: Path) -> Path:
    """Write the network and the judge into `pictures`/models, the inverse and photos into `pictures`/split.

    Returns:
        The AUDIT.toml, in `pictures`/split.
    """
    world, out = files("scanner.world"), pictures / "split"
    for folder in (pictures / "models", out, out / "inverse"):
        folder.mkdir()
    for name in ("drawn-face-128", "drawn-judge-64"):
        for suffix in ("onnx", "json"):
            _copy(world / "models" / f"{name}.{suffix}", pictures / "models")
    for file in (world / "split" / "inverse").iterdir():
        _copy(file, out / "inverse")
    _first_people(pictures / "outsiders.tar", out / "photos.tar")
    toml = out / "audit.toml"
    toml.write_text(_AUDIT.format(toml=toml, out=out / "audit", fmr=FMR), "utf-8")
    return toml


def cut_through(toml: Path, *, progress: Progress) -> tuple[Cut, ...]:
    """Audit the split network, into `audit/` beside the file; return what is said of each cut, shallow to deep."""
    cuts = []
    for unit in audit(toml, out=toml.parent / "audit", progress=progress).document["split"]["units"]:
        (judged,) = unit["judges"]
        same, other = (judged["rates"][match][judged["headline"]]["value"] for match in ("type_1", "type_2"))
        cuts.append(Cut(unit["cut"], unit["layers"], unit["quality"]["psnr_db"]["mean"], same, other))
    return tuple(cuts)


def _copy(file: Traversable, folder: Path) -> None:
    (folder / file.name).write_bytes(file.read_bytes())


def _first_people(tar: Path, out: Path) -> None:
    """Copy the photos of the first `PEOPLE` people of a WebDataset tar."""
    people: set[str] = set()
    with tarfile.open(tar) as archive, tarfile.open(out, "w") as chosen:
        for member in archive:
            people.add(member.name.rpartition("-")[0])
            if len(people) > PEOPLE:
                return
            chosen.addfile(member, archive.extractfile(member))
