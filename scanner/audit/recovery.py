"""Run a generator backwards: are its training photos re-created better than photos of people it never saw?

Equally many photos of both sides, drawn by the seed, go through one inversion in a mixed order, all framed alike: the
middle of each picture at the generator's own size.  With `scan`, what was re-created is embedded like any other picture, and
asked whether it shows the person: by the person's other photos, never by the photo that was inverted.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexes.atomic import atomic_path
from indexes.sealed import create
from scanner import artefacts
from scanner.audit.config import AuditConfig, GeneratorSection, place_of
from scanner.audit.recovery_config import RecoverySection
from scanner.audit.recovery_scan import scan_recovered
from scanner.audit.sources import Faces, Reader
from scanner.errors import CalibrationError
from scanner.evidence.guards import FOLDS, TwoSample
from scanner.evidence.kind import are_apart
from scanner.evidence.membership import join_photos
from scanner.evidence.recovery import RecoveryEvidence, weigh_recovery
from scanner.jobs.folders import remove_folder
from scanner.jobs.inverting.latent import invert_latent
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.options import SourceOptions
from scanner.progress import Progress
from scanner.records import Item

SHARD_IMAGES = 128
LEVEL = 0.05
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A photo that is inverted: the hash of its bytes, whose it is, and on which side."""

    item_id: str
    person: str
    member: bool


def invert_options(section: RecoverySection, *, device: str) -> InvertOptions:
    """Return how the photos are inverted."""
    return InvertOptions(
        restarts=section.restarts, steps_max=section.steps, space=section.space, centre=section.centre, seed=section.seed,
        encoder="train" if section.encoder else "none", shard_images=SHARD_IMAGES, device=device,
    )  # fmt: skip


def recover(
    generator: GeneratorSection, config: AuditConfig, folder: Path, reader: Reader, work: Path, progress: Progress
) -> tuple[dict[str, Any] | None, dict[str, float]]:
    """Invert photos of both sides and compare what is left of them.

    Args:
        generator: its section; without a `model` nothing is done.
        config: the file.
        folder: where AUDIT.toml lies.
        reader: has read the people of both sides.
        work: the audit's work folder; finished shards lie in `work/recovery/NAME`.
        progress: where to report.

    Returns:
        The entry "recovery" of the generator in `audit.json`, None without a model; and a score per identity, higher
        where its photos are re-created better.

    Raises:
        CalibrationError: too few people whose photos could be inverted, or somebody stands on both sides.
    """
    section = config.recovery
    if section is None or generator.model is None:
        return None, {}
    inside = generator.training or generator.members or config.people.members
    outside = config.people.non_members
    chosen = choose(reader.read(inside), reader.read(outside), section, what=generator.name)
    place = work / "recovery" / generator.name
    artefacts.make_private_folder(place)
    tar = place / "photos.tar"
    if not tar.exists():
        stage(tar, chosen, [place_of(name, folder) for name in (inside, outside)], config.sources())
    options = invert_options(section, device=config.embedder.device)
    models = {"model": generator.model, "reference": generator.reference_model}
    tables = {
        name: _inverted(place_of(model, folder), tar, place / name, options, progress)
        for name, model in models.items()
        if model is not None
    }
    good = [photo for photo in chosen if all(photo.item_id in errors for errors, _ in tables.values())]
    codes, member, names = _people(good)
    errors = {name: np.array([found[photo.item_id] for photo in good]) for name, (found, _) in tables.items()}
    found = weigh_recovery(errors["model"], codes, member, seed=config.audit.seed)
    calibrated = None
    if "reference" in errors:
        calibrated = weigh_recovery(errors["model"] - errors["reference"], codes, member, seed=config.audit.seed)
    kinds = _kinds([reader.read(inside), reader.read(outside)], config.audit.seed)
    inverted = tables["model"][1]
    document = {
        "generator": inverted["generator"]["name"],
        "fingerprint": inverted["generator"]["fingerprint"],
        "training_photos": generator.training is not None,
        "framing": f"the middle of each picture ({100 * section.centre:g} % of the largest box of the generator's aspect)",
        "inversion": {**asdict(found), "left_out": len(chosen) - len(good), "statuses": inverted["counts"]["statuses"]},
        "calibrated": None if calibrated is None else _rates_only(calibrated),
        "psnr_db": {
            side: sorted((-10 * np.log10(np.maximum(errors["model"][member[codes] == is_in], 1e-10))).round(4).tolist())
            for side, is_in in (("members", True), ("non_members", False))
        },
        "scan": _scan(config, generator, folder, reader, good, place, progress) if section.scan else None,
        "guard": None if kinds is None else {"auc": kinds.auc, "p_value": kinds.p_value, "differ": kinds.differ},
        "differ": differs(found) and kinds is not None and not kinds.differ,
        "says": sentence(found, training=generator.training is not None, kinds=kinds),
    }
    scores = join_photos(-errors["model"], codes)
    return document, dict(zip(names, scores.tolist(), strict=True))


def differs(found: RecoveryEvidence) -> bool:
    """Tell whether members' photos are re-created better than chance explains."""
    return found.ks_p <= LEVEL and found.mre_gap.low > 0


def sentence(found: RecoveryEvidence, *, training: bool, kinds: TwoSample | None) -> str:
    """Say what recovery errors say, in one sentence; of pictures of two kinds they say nothing."""
    gap = found.mre_gap
    whose = "photos that it was trained on" if training else "other photos of members"
    start = (
        f"{whose[0].upper()}{whose[1:]} are re-created with a median error of {found.median[0]:.2g}, non-members' photos with "
        f"{found.median[1]:.2g} (MRE-gap {100 * gap.value:.0f} %, {100 * gap.low:.0f} to {100 * gap.high:.0f} %; "
        f"Kolmogorov-Smirnov p = {found.ks_p:.2g}, people shuffled)"
    )
    if kinds is None:
        return (
            f"{start}: too few people to say whether both are pictures of one kind, so this says nothing of training."
        )
    if kinds.differ:
        return (
            f"{start}: but these are pictures of two kinds (a classifier tells them apart with AUC {kinds.auc:.2f}, p = "
            f"{kinds.p_value:.2g}), so this says nothing of training."
        )
    if differs(found):
        return (
            f"{start}: the generator makes {'them' if training else 'these'} better than those of people it never saw."
        )
    return f"{start}: nothing says that it knows {'its training photos' if training else 'members'} better."


def _kinds(sides: Sequence[Faces], seed: int) -> TwoSample | None:
    """Tell whether the photos of the two sides are pictures of one kind, by one of each person; None: too few.

    A generator of grey pictures re-creates grey photos better, whoever is on them.  The inverted photos are drawn by lot
    from these, so all people of both sides say it for them, and with less chance than the inverted ones alone.
    """
    vectors = []
    for faces in sides:
        first: dict[str, int] = {}
        for row, name in enumerate(faces.identities):
            first.setdefault(f"photo {row}" if name is None else name, row)
        vectors.append(faces.vectors[sorted(first.values())])
    if min(map(len, vectors)) < 2 * FOLDS:
        return None
    return are_apart(*vectors, seed=seed)


def choose(inside: Faces, outside: Faces, section: RecoverySection, *, what: str) -> list[Chosen]:
    """Draw equally many photos of both sides, everybody's first before anybody's second, in the order of their hashes.

    A photo without an identity is somebody of its own.  Bytes that lie on both sides take no part.

    Raises:
        CalibrationError: somebody stands on both sides.
    """
    sides = [_photos(faces) for faces in (inside, outside)]
    both = set(sides[0]) & set(sides[1])
    people = [{person for item, person in side.items() if item not in both} for side in sides]
    shared = sorted(people[0] & people[1])
    if shared:
        raise CalibrationError(
            f"{len(shared)} people are recovered as members and as non-members of {what} ({', '.join(shared[:3])}): non-members "
            "must be people known not to be in training. Take them out of one of the two."
        )
    ordered = [_in_rounds({i: p for i, p in side.items() if i not in both}, section.seed) for side in sides]
    count = min(section.images_max, *map(len, ordered))
    chosen = [
        Chosen(item, person, member)
        for side, member in zip(ordered, (True, False), strict=True)
        for item, person in side[:count]
    ]
    return sorted(chosen, key=lambda photo: photo.item_id)


def item_of(marks: Sequence[str]) -> str | None:
    """Return the hash of the bytes that a face was cut from; None where vectors were brought ready."""
    return marks[0].split(" ")[1] if marks and marks[0].startswith("item ") else None


def _photos(faces: Faces) -> dict[str, str]:
    items = [(item_of(marks), identity) for marks, identity in zip(faces.marks, faces.identities, strict=True)]
    return {item: identity if identity is not None else f"photo {item}" for item, identity in items if item is not None}


def _in_rounds(photos: Mapping[str, str], seed: int) -> list[tuple[str, str]]:
    """Return (photo, person): everybody's first photo, then everybody's second; both orders drawn by the seed."""
    rng = np.random.default_rng([seed, len(photos)])
    names = sorted(photos)
    taken: dict[str, int] = {}
    drawn: list[tuple[int, int, str, str]] = []
    for place, row in enumerate(rng.permutation(len(names))):
        person = photos[names[row]]
        taken[person] = taken.get(person, -1) + 1
        drawn.append((taken[person], place, names[row], person))
    return [(item, person) for _, _, item, person in sorted(drawn)]


def stage(tar: Path, chosen: Sequence[Chosen], places: Sequence[str], sources: SourceOptions) -> None:
    """Write the chosen photos, byte for byte as they are, into one WebDataset tar."""
    wanted = {photo.item_id: photo for photo in chosen}
    data: dict[str, tuple[str, bytes]] = {}
    for place in dict.fromkeys(places):
        for entry in sources.open([place]).entries():
            if isinstance(entry, Item) and entry.item_id in wanted and entry.item_id not in data:
                suffix = Path(entry.uri).suffix.lower()
                data[entry.item_id] = (suffix if suffix in _SUFFIXES else ".png", entry.data)
    with atomic_path(tar) as temporary:
        temporary.touch(mode=0o600)
        with create(temporary) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for photo in chosen:
                suffix, picture = data[photo.item_id]
                label = json.dumps({"identity": photo.person}).encode()
                for name, content in ((f"{photo.item_id}{suffix}", picture), (f"{photo.item_id}.json", label)):
                    member = tarfile.TarInfo(name)
                    member.size, member.mode = len(content), 0o600
                    archive.addfile(member, io.BytesIO(content))


def _inverted(
    model: str, tar: Path, out: Path, options: InvertOptions, progress: Progress
) -> tuple[dict[str, float], dict[str, Any]]:
    """Invert the photos, or take up where a killed audit was; return errors by photo, and `inversions.json`."""
    if out.exists() and not (out / "inversions.json").exists() and not (out / "unfinished" / "plan.json").exists():
        remove_folder(out)  # killed before anything was planned
    if not (out / "inversions.json").exists() or (out / "unfinished").exists():
        invert_latent(model, [str(tar)], out, options=options, resume=True, progress=progress)
    table = artefacts.read_table(out / "inversions.parquet", "inversions", columns=["item_id", "status", "pixel_mse"])
    errors = {row["item_id"]: row["pixel_mse"] for row in table.to_pylist() if row["status"] != "failed"}
    return errors, artefacts.read_json(out / "inversions.json")


def _people(photos: Sequence[Chosen]) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[str]]:
    names = sorted({(not photo.member, photo.person) for photo in photos})
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place[(not photo.member, photo.person)] for photo in photos], np.int64)
    return codes, np.array([not is_other for is_other, _ in names]), [person for _, person in names]


def _rates_only(found: RecoveryEvidence) -> dict[str, Any]:
    """Return what is meaningful of errors less a reference's: those may be below 0, so a gap is not."""
    whole = asdict(found)
    return {key: whole[key] for key in ("ks", "ks_p", "by_photo", "by_identity")}


def _scan(
    config: AuditConfig,
    generator: GeneratorSection,
    folder: Path,
    reader: Reader,
    photos: Sequence[Chosen],
    place: Path,
    progress: Progress,
) -> dict[str, Any]:
    members = reader.read(generator.members or config.people.members)
    others = reader.read(config.people.non_members)
    training = None if generator.training is None else reader.read(generator.training)
    tars = sorted(str(path) for path in (place / "model").glob("reconstructions-*.tar"))
    sides = {photo.item_id: (photo.person, photo.member) for photo in photos}
    return scan_recovered(
        tars, sides, members=members, others=others, training=training, faces=config.faces(folder),
        work=place / "faces", seed=config.audit.seed, progress=progress,
    )  # fmt: skip
