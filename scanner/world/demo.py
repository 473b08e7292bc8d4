"""The whole road on a world whose truth is known: drawn people, planted leaks, strangers, broken files.

Two candidate data sets are indexed.  The "generated" images hold new pictures of some of their people (leaks),
copies of some of their very photos, and strangers.  A third set, of people who are in neither, gives the threshold and
the null.  Afterwards what was found is held against what was planted.  Then two trained generators, a leaking and an
innocent one, are told apart by their samples (`world.two_generators`) and run backwards (`world.rewound`), and a
recogniser that is split between two machines gives away who was in front of the camera (`world.split_network`).
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexes.atomic import write_json
from scanner import artefacts
from scanner.images import encode_png
from scanner.jobs.folders import check_target, remove_folder, work_beside
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import ScanResult, scan
from scanner.progress import Progress, Silent
from scanner.world.draw import face_pixels
from scanner.world.rewound import PHOTOS, Rewound, draw_wanted, rewind
from scanner.world.split_network import Cut, cut_through, write_split
from scanner.world.two_generators import MEMBERS, Told, copy_generators, tell_apart, write_audit, write_tar

FACES = FaceOptions(embedder="drawn", faces="aligned")
GENERATORS_SEED = 909
"""The world that the two shipped generators were trained on."""
FIRST_PHOTO = 100
"""Photos with lower numbers are those that the generators were trained on."""
FIRST_OUTSIDER = 4000
"""People with lower numbers are candidates, strangers, or in a generator's training set."""
_NAME = "person-{:05d}"


@dataclass(frozen=True, slots=True)
class World:
    """How large the world is; every picture follows from `seed` and its numbers.

    Attributes:
        seed: of the drawn people; 1 is what the embedder was trained on, 2 what it was tested on, 909 what the two
            generators were trained on: with another seed they are left out.
        people: identities in each of the two candidate sets, two photos each.
        strangers: generated images of people in no set.
        leaks: generated images that show candidates, in new pictures.
        copies: generated images that are candidates' photos, compressed anew.
        outsiders: identities known to be in neither set, two photos each: the calibration and the null.
        fmr: false match rate that the threshold is set to.
    """

    seed: int = 909
    people: int = 350
    strangers: int = 240
    leaks: int = 36
    copies: int = 12
    outsiders: int = 1100
    fmr: float = 1e-5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found, held against what was planted; all counts are of generated images.

    `named` identities are closer than outsiders at a false discovery rate of 5 %, `named_rightly` of them were planted.

    `generators` is what the scans of the two trained generators' samples say, `rewound` what running them backwards
    does; both empty for a world that is not theirs.  `split` has the cuts of the split recogniser, shallow to deep.

    `found` planted images are matched to the person they show; `missed` are not.  `false_images` match somebody whom
    they do not show; `false_pairs` are those matches, one by one.
    """

    planted: int
    found: int
    missed: int
    strangers: int
    false_images: int
    false_pairs: int
    false_pairs_expected: float | None
    named: int
    named_rightly: int
    generators: dict[str, Told]
    rewound: dict[str, Rewound]
    split: tuple[Cut, ...]


def run_demo(
    out: str | Path, *, world: World | None = None, force: bool = False, progress: Progress | None = None
) -> tuple[ScanResult, Outcome]:
    """Draw the world, index its candidates, scan its generated images, and compare with the truth.

    Args:
        out: folder to make: `world/` (pictures, truth.json, generators/, audit/, rewound/, models/, split/), `indexes/`, `run/`
            (the report), `run-leaking/`, `run-innocent/`.
        world: how large.
        force: replace what is there.
        progress: where to report.
    """
    out, world, progress = Path(out), world or World(), progress or Silent()
    check_target(out, work_beside(out), kind="demo", resume=False, force=force)
    if force:
        remove_folder(out)
    artefacts.make_private_folder(out)
    pictures, indexes = out / "world", out / "indexes"
    artefacts.make_private_folder(pictures)
    artefacts.make_private_folder(indexes)
    truth = _draw(world, pictures, progress)
    by_folder = SourceOptions(identity_from="folder")
    keep = BuildOptions(with_crops=True)
    build(indexes / "set-a", str(pictures / "set-a"), faces=FACES, sources=by_folder, options=keep, progress=progress)
    build(indexes / "set-b", str(pictures / "set-b.tar"), faces=FACES, options=keep, progress=progress)
    outsiders = indexes / "outsiders"
    build(outsiders, str(pictures / "outsiders.tar"), faces=FACES, options=keep, progress=progress)
    result = scan(
        str(pictures / "generated"),
        against=[indexes / "set-a", indexes / "set-b"],
        out=out / "run",
        options=ScanOptions(fmr=world.fmr, calibrate_on=str(outsiders), null=(str(outsiders),), with_crops=True),
        faces=FACES,
        progress=progress,
    )
    outcome = replace(compare(result, truth), split=cut_through(write_split(pictures), progress=progress))
    if world.seed == GENERATORS_SEED and world.people >= MEMBERS:
        outcome = replace(outcome, **_generators(world, out, progress))
    write_json(out / "outcome.json", asdict(outcome))
    return result, outcome


def _generators(world: World, out: Path, progress: Progress) -> dict[str, Any]:
    """Tell the two generators apart, and run them backwards; return both for the outcome."""
    pictures, fmr = out / "world", 10 * world.fmr
    candidates, outsiders = out / "indexes" / "set-a", out / "indexes" / "outsiders"
    copy_generators(pictures / "generators")
    draw_wanted(
        pictures, functools.partial(face_pixels, world.seed), outsiders=range(FIRST_OUTSIDER, FIRST_OUTSIDER + world.outsiders),
        photo=FIRST_PHOTO + PHOTOS, name_of=_NAME,
    )  # fmt: skip
    write_audit(pictures, name_of=_NAME)
    told = tell_apart(pictures / "generators", candidates, outsiders, out, fmr=fmr, name_of=_NAME, progress=progress)
    rewound = rewind(pictures, candidates=candidates, outsiders=outsiders, fmr=fmr, progress=progress)
    return {"generators": told, "rewound": rewound}


def compare(result: ScanResult, truth: dict[str, str | None]) -> Outcome:
    """Hold a run against the truth.

    Args:
        result: the run.
        truth: for each generated file name the identity it shows, None for strangers and broken files.
    """
    shown = {name: identity for name, identity in truth.items() if identity is not None}
    found: set[str] = set()
    false_images: set[str] = set()
    false_pairs = 0
    for row in result.matches().select(["query_uri", "identity"]).to_pylist():
        name = row["query_uri"].rpartition("/")[2]
        if shown.get(name) == row["identity"]:
            found.add(name)
        else:
            false_images.add(name)
            false_pairs += 1
    rows = artefacts.read_table(result.folder / "identities.parquet", "identities", columns=["identity", "q_value"])
    named = {row["identity"] for row in rows.to_pylist() if row["q_value"] <= result.summary["evidence"]["level"]}
    return Outcome(
        planted=len(shown),
        found=len(found),
        missed=len(shown) - len(found),
        strangers=len(truth) - len(shown),
        false_images=len(false_images),
        false_pairs=false_pairs,
        false_pairs_expected=result.summary["results"]["false_matches_expected"],
        named=len(named),
        named_rightly=len(named & set(shown.values())),
        generators={},
        rewound={},
        split=(),
    )


def _draw(world: World, folder: Path, progress: Progress) -> dict[str, str | None]:
    """Draw every picture; return who is shown in each generated one."""
    total = 4 * world.people + 2 * world.outsiders + world.strangers + world.leaks + world.copies
    progress.stage("drawing", total=total, unit="faces")
    for number in range(world.people):
        person = folder / "set-a" / _name(number)
        person.mkdir(parents=True)
        for photo in range(2):
            (person / f"{photo}.png").write_bytes(encode_png(_picture(world, number, photo)))
            progress.advance(1)
    others = range(world.people, 2 * world.people)
    write_tar(folder / "set-b.tar", _photos(world, others, 2), progress.advance)
    last = FIRST_OUTSIDER + world.outsiders
    write_tar(folder / "outsiders.tar", _photos(world, range(FIRST_OUTSIDER, last), 2), progress.advance)
    truth: dict[str, str | None] = {}
    generated = folder / "generated"
    generated.mkdir()
    for number, (pixels, identity) in enumerate(_generated(world)):
        file = f"sample-{number:04d}.png"
        (generated / file).write_bytes(encode_png(pixels))
        truth[file] = identity
        progress.advance(1)
    truth |= _write_broken(generated)
    write_json(folder / "truth.json", truth)
    return truth


def _generated(world: World) -> Iterator[tuple[NDArray[np.uint8], str | None]]:
    """Yield what the "generator" made, leaks and copies mixed among strangers in an order that `seed` draws."""
    rng = np.random.default_rng([world.seed, 1])
    leaked = rng.choice(2 * world.people, world.leaks + world.copies, replace=False)
    kinds = np.concatenate([leaked, -1 - np.arange(world.strangers)])
    new = set(leaked[: world.leaks].tolist())
    for number in rng.permutation(kinds).tolist():
        if number < 0:
            yield _picture(world, 2 * world.people - 1 - number, 0), None
        elif number in new:
            yield _picture(world, number, 2), _name(number)
        else:
            yield _compressed(_picture(world, number, 0)), _name(number)


def _picture(world: World, number: int, photo: int) -> NDArray[np.uint8]:
    return face_pixels(world.seed, number, FIRST_PHOTO + photo)


def _compressed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture after a JPEG of quality 60: a near copy whose bytes differ."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _name(number: int) -> str:
    return _NAME.format(number)


def _photos(world: World, numbers: range, photos: int) -> Iterator[tuple[str, bytes, str]]:
    for number in numbers:
        for photo in range(photos):
            yield f"{_name(number)}-{photo}", encode_png(_picture(world, number, photo)), _name(number)


def _write_broken(folder: Path) -> dict[str, str | None]:
    """Write the files that every real collection has: cut short, empty, no picture, twice the same."""
    samples = sorted(folder.glob("sample-*.png"))
    whole = samples[0].read_bytes()
    broken = {
        "cut-short.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "no-picture.png": b"this is a text",
        "the-same-again.png": whole,
    }
    for name, data in broken.items():
        (folder / name).write_bytes(data)
    return dict.fromkeys(broken)
