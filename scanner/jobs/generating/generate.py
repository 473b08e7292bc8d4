"""`n` images of a generator -> a folder of shards, each written once, whoever is killed in between."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from indexes.atomic import write_json
from scanner import artefacts
from scanner.errors import NothingScanned, RunMismatch, UsageError
from scanner.jobs.folders import check_target, is_finished, remove_folder, sweep
from scanner.jobs.generating.generated_shards import Form, Made, shard_name, write_shard
from scanner.jobs.generating.image_pieces import images_by, images_here
from scanner.jobs.numbered import Numbered
from scanner.jobs.parts import begin_work
from scanner.jobs.versions import versions
from scanner.jobs.workers import Workers
from scanner.progress import Progress, Silent
from scanner.records import Reason
from scanner.sources.generated import NOT_FINITE, image_uri

if TYPE_CHECKING:
    from scanner.generators import Generator

SHARD_IMAGES: Final = 1000
FORMS: Final = ("tar", "parquet")


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """What lies in the folder: `entries == images + rejected`."""

    path: Path
    fingerprint: str
    entries: int
    images: int
    rejected: int
    shards: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GenerateEstimate:
    """Predicted cost of `images` images, from one block of them, made and encoded on this machine just now."""

    images: int
    device: str
    images_per_s: float
    seconds: float
    bytes: int

    def sentence(self) -> str:
        """Return the estimate for people."""
        return (
            f"{self.images} images at {self.images_per_s:.1f} images/s on {self.device}: {self.seconds:.0f} s, "
            f"{self.bytes / (1 << 20):.1f} MiB; measured on a small sample just now, so good to a factor of about two"
        )


def generate(
    generator: str | Path,
    out: str | Path,
    *,
    count: int,
    seed: int = 0,
    form: Form = "tar",
    device: str = "auto",
    trusted: Sequence[str] = (),
    resume: bool = False,
    force: bool = False,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> GenerateResult:
    """Write `out` with images-000000.tar and so on (1 000 images each), rejects.parquet, and generated.json last.

    Image i depends on the generator, the seed and i alone, and is the one that `generated:GEN.toml?n=...` hands over.

    Args:
        generator: its description (GEN.toml).
        out: the folder to be made, for its owner alone.
        count: how many images.
        seed: which ones.
        form: "tar" (WebDataset, 000017.png) or "parquet" (image, number, label).
        device: "auto", "cpu" or "cuda".
        trusted: packages besides `scanner` whose factories may run.
        resume: finish interrupted work; same bytes as without the interruption.
        force: replace what is there.
        workers: who makes the images; None for this process, which writes them in any case.
        progress: where to report.

    Raises:
        UsageError: wrong count, seed or form, or something is there already.
        RunMismatch: the unfinished, or finished, work had other images to make.
        ModelError: see `scanner.generators.description.open_generator`.
        NothingScanned: not one image came out.
    """
    from scanner.generators.description import open_generator

    _check(count, seed, form)
    out, progress = Path(out), progress or Silent()
    work = out / "unfinished"
    check_target(out, work, kind="generated", resume=resume, force=force)
    opened = open_generator(generator, device=device, trusted=trusted)
    plan = {"job": "generate", "generator": opened.facts, "count": count, "seed": seed, "form": form}
    if is_finished(out, work, resume=resume):
        return _finished(out, plan)
    for note in opened.notes:
        progress.note(note)
    if force:
        remove_folder(out)
    artefacts.make_private_folder(out)
    begin_work(work, plan, resume=resume)
    sweep(out)
    sweep(work)
    make = images_by(workers, generator, opened, seed, progress, device=device, trusted=trusted)
    markers = _make_shards(opened, out, work, plan, make, progress)
    bad = [number for marker in markers for number in marker["bad"]]
    if len(bad) == count:
        remove_folder(out)
        raise NothingScanned(
            f"All {count} images of {opened.name} hold NaN or infinities; nothing was kept. Look at its weights, and at the "
            f"law of its latents in {generator}."
        )
    _write_rejects(out / "rejects.parquet", opened, seed, bad)
    account = _account(opened, plan, markers, bad)
    write_json(out / "generated.json", account)
    remove_folder(work)
    return _result(out, account)


def estimate_generate(
    generator: str | Path, *, count: int, seed: int = 0, device: str = "auto", trusted: Sequence[str] = ()
) -> GenerateEstimate:
    """Make and encode one block, write nothing; raises what `generate` raises."""
    from scanner.generators.description import open_generator
    from scanner.generators.sample import block_images

    _check(count, seed, "tar")
    opened = open_generator(generator, device=device, trusted=trusted)  # which warms it up as well
    started = time.perf_counter()
    made = list(images_here(opened, seed, Silent(), 0, block_images(opened)))
    rate = len(made) / max(time.perf_counter() - started, 1e-9)
    size = sum(len(one.png) for one in made if one.png is not None) / len(made)
    return GenerateEstimate(count, str(opened.device), rate, count / rate, round(count * size))


def _make_shards(
    opened: Generator,
    out: Path,
    work: Path,
    plan: dict[str, Any],
    make: Callable[[int, int], Iterator[Made]],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Write every shard that is not there yet, its marker after it; return all markers.

    `make` takes the number of the first image and how many, and yields them.
    """
    count, form = plan["count"], plan["form"]
    shards = -(-count // SHARD_IMAGES)
    parts = Numbered(work)
    done = len(parts.numbers())
    first = min(done * SHARD_IMAGES, count)
    progress.stage("images", total=count, unit="images", done=first)
    images = make(first, count - first)
    for number in range(done, shards):
        path = out / shard_name(number, form)
        good, bad = write_shard(path, form, islice(images, SHARD_IMAGES), fingerprint=opened.fingerprint)
        shard = {"name": path.name, "images": good, **(_file_facts(path) if good else {})}
        parts.finish(number, {"shard": shard, "bad": bad})
    return parts.documents()


def _account(
    opened: Generator, plan: dict[str, Any], markers: Sequence[dict[str, Any]], bad: Sequence[int]
) -> dict[str, Any]:
    """Return generated.json."""
    count = plan["count"]
    return {
        **plan,
        "device": str(opened.device),
        "counts": {"entries": count, "images": count - len(bad), "rejected": len(bad), "reasons": _reasons(bad)},
        "shards": [marker["shard"] for marker in markers if marker["shard"]["images"]],
        "versions": {**versions(), "torch": _torch_version()},
    }


def _file_facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write_rejects(path: Path, opened: Generator, seed: int, bad: Sequence[int]) -> None:
    schema = artefacts.stamped(artefacts.REJECTS, "rejects")
    columns = {
        "uri": [image_uri(opened.name, seed, number) for number in bad],
        "item_id": [""] * len(bad),
        "identity": [None] * len(bad),
        "level": ["item"] * len(bad),
        "reason": [Reason.NOT_FINITE.value] * len(bad),
        "detail": [NOT_FINITE] * len(bad),
    }
    artefacts.write_tables(path, schema, [artefacts.table_of(schema, columns)])


def _finished(out: Path, plan: dict[str, Any]) -> GenerateResult:
    """Return the result that is there, if it is what was asked for."""
    account = artefacts.read_json(out / "generated.json")
    changed = sorted(key for key, value in plan.items() if account.get(key) != value)
    if changed:
        raise RunMismatch(
            f"{out} is finished, and was made with other {', '.join(changed)}. Choose another name, or pass --force to replace "
            "it."
        )
    return _result(out, account)


def _result(out: Path, account: dict[str, Any]) -> GenerateResult:
    counts = account["counts"]
    names = tuple(shard["name"] for shard in account["shards"])
    fingerprint = account["generator"]["fingerprint"]
    return GenerateResult(out, fingerprint, counts["entries"], counts["images"], counts["rejected"], names)


def _check(count: int, seed: int, form: str) -> None:
    if count < 1 or seed < 0:
        raise UsageError(
            f"{count} images with seed {seed}: at least 1 image, and a seed from 0 on. Give -n and --seed."
        )
    if form not in FORMS:
        raise UsageError(f"Images are not written as {form!r}; the forms are {', '.join(FORMS)}.")


def _reasons(bad: Sequence[int]) -> dict[str, int]:
    return {Reason.NOT_FINITE.value: len(bad)} if bad else {}


def _torch_version() -> str:
    import torch

    return str(torch.__version__)
