"""Images through a network to a cut, and back by its inverse: what a stranger can re-create, as a source for `scan`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.atomic import write_json
from scanner import artefacts
from scanner.errors import ModelError, RunMismatch, UsageError
from scanner.jobs.folders import check_same_sources, check_target, is_finished, remove_folder, sweep
from scanner.jobs.inverting.batches import inverted_elsewhere
from scanner.jobs.inverting.feature_inputs import FeatureOptions, open_attacked
from scanner.jobs.inverting.inverted import InvertedShard, ShardCounts
from scanner.jobs.inverting.latent import InversionResult
from scanner.jobs.inverting.parts import InversionParts
from scanner.jobs.inverting.pictures import Batch, Wanted, batches_of
from scanner.jobs.options import SourceOptions
from scanner.jobs.versions import versions
from scanner.jobs.workers import Workers, check_same
from scanner.progress import Progress, Silent
from scanner.sources.location import clean_uri

if TYPE_CHECKING:
    from torch import Tensor

    from scanner.inversion.features.stack import Inverse
    from scanner.inversion.plan import Recovered
    from scanner.jobs.inverting.batches import Inverted

FORMAT, VERSION = "identity-leak-inversions", 1
SHARD_IMAGES = 1024
BATCH = 64
_IMAGE_AXES, _COLOURS = 3, 3


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """An opened inverse and where its features come from.

    `sd` is the features' standard deviation at `cut`, in which feature errors are told.
    """

    inverse: Inverse
    cut: str
    sd: Tensor
    shape_px: tuple[int, int]

    @property
    def is_generator(self) -> bool:
        """True where what is re-created are latents, and the images are the features themselves."""
        return len(self.inverse.input_shape) == 1

    def recreate(self, wanted: Sequence[Wanted], *, first: int) -> list[Recovered]:
        """Return what the inverse makes of the images, in one pass for each batch; `first` is the first one's number."""
        import torch

        found: list[Recovered] = []
        for start in range(0, len(wanted), BATCH):
            pixels = np.stack([one.pixels_rgb_u8 for one in wanted[start : start + BATCH]])
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255.0).to(self.inverse.device)
            found += self._batch(images, first + start)
        return found

    def invert(self, batch: Batch, entries: int) -> Inverted:
        """Return what the inverse makes of a shard of `entries` entries."""
        from scanner.inversion.latent import Account

        found = self.recreate(batch.wanted, first=batch.number * entries)
        return found, Account(places=len(found), worked=len(found))

    def facts(self, folder: str | Path) -> dict[str, Any]:
        """Return what identifies the inverse in `folder`, its network and the cut."""
        inverse = artefacts.read_json(Path(folder) / "inverse.json")["weights_sha256"]
        return {"inverse": inverse, "network": self.inverse.network_fingerprint, "cut": self.cut}

    def _batch(self, images: Tensor, first: int) -> list[Recovered]:
        from scanner.inversion.plan import Recovered

        features = images if self.is_generator else self.inverse.features(images, self.cut)
        back = self.inverse.inputs(features, self.cut)
        again = self.inverse.features(back, self.cut)
        shown = again.clamp(0, 1) if self.is_generator else back
        feature = ((again - features) / self.sd).square().flatten(1).mean(1).tolist()
        error = (shown - images).square().flatten(1)
        pixel, size = error.mean(1).tolist(), images.square().flatten(1).sum(1).clamp_min(1e-12)
        relative = (error.sum(1) / size).sqrt().tolist()
        latents = back.cpu() if self.is_generator else back.new_zeros(len(back), 0).cpu()
        shown = shown.cpu()
        return [
            Recovered(
                number=first + k, latent=latents[k], label=None, image01=shown[k], loss=feature[k], pixel_mse=pixel[k],
                feature=feature[k], identity=float("nan"), relative_error=relative[k], restarts=1, steps=1,
                status="single_pass" if np.isfinite(pixel[k]) and np.isfinite(feature[k]) else "failed",
            )
            for k in range(len(images))
        ]  # fmt: skip


def open_attack(
    folder: str | Path, cut: str | None, *, network: str | Path | None, device: str, trusted: Sequence[str] = ()
) -> Attack:
    """Open an inverse and the network that it was made for.

    Args:
        folder: made by `scanner invert features`.
        cut: where features are taken; None: the deepest one.
        network: its description, where it is no longer at the path in the manifest.
        device: "auto", "cpu" or "cuda".
        trusted: packages whose factories may be called.

    Raises:
        ArtefactError: no inverse, a broken one, or one of another network.
        UsageError: no such cut; the network is not where it was.
        ModelError: a generator whose output is no image.
    """
    from scanner.inversion.features.store import load_inverse, read_manifest

    folder = Path(folder)
    manifest = read_manifest(folder)
    path = Path(network) if network is not None else (folder / str(manifest.get("network_path", ""))).resolve()
    if not path.is_file():
        raise UsageError(f"{folder} was made for {path}, which is not there. Name the network with --network NET.toml.")
    attacked, _ = open_attacked(path, FeatureOptions(device=device, trusted=tuple(trusted)))
    inverse = load_inverse(folder, attacked)
    is_generator = len(inverse.input_shape) == 1
    cut = cut or inverse.names[-1]
    shape = inverse.shape(cut) if is_generator else inverse.input_shape
    if len(shape) != _IMAGE_AXES or shape[0] != _COLOURS:
        raise ModelError(
            f"{folder} undoes a generator, whose images are its output; at {cut!r} the shape is {shape}. "
            f"Leave out --at, or use an inverse that was trained for the output."
        )
    return Attack(inverse, cut, inverse.spread(cut), (shape[1], shape[2]))


def apply_inverse(
    folder: str | Path,
    images: Sequence[str],
    out: str | Path,
    *,
    cut: str | None = None,
    network: str | Path | None = None,
    device: str = "auto",
    trusted: Sequence[str] = (),
    shard_images: int = SHARD_IMAGES,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> InversionResult:
    """Re-create images from what the network makes of them at a cut.

    Args:
        folder: the inverse.
        images: folders, archives, URLs, `generated:...`; brought to the network's size by their centre.
        out: the folder to be made, for its owner alone: inversions.parquet, reconstructions-*.tar, inversions.json last.
        cut: see `open_attack`, as for the next three.
        network: its description.
        device: where to run.
        trusted: packages.
        shard_images: entries per shard, the unit of resuming.
        sources: how images are read.
        resume: go on with interrupted work.
        force: replace what is there.
        workers: who re-creates; None for this process.
        progress: where to report.

    Raises:
        ScannerError: see `open_attack`; something is there already; not one image could be read.
    """
    out, progress, sources = Path(out), progress or Silent(), sources or SourceOptions()
    check_target(out, out / "unfinished", kind="inversions", resume=resume, force=force)
    attack = open_attack(folder, cut, network=network, device=device, trusted=trusted)
    facts = attack.facts(folder)
    if is_finished(out, out / "unfinished", resume=resume):
        return _finished(out, facts, images)
    source = sources.open(images)
    plan = json.loads(json.dumps({
        "job": "invert apply", **facts, "source": source.describe(), "source_options": sources.plan(), "shard": shard_images,
    }))  # fmt: skip
    if force:
        remove_folder(out)
    parts = InversionParts(out, generator_fingerprint=attack.inverse.network_fingerprint)
    done = parts.begin(plan, resume=resume)
    sweep(out)
    progress.stage("re-creating", total=source.count(), unit="images", done=parts.counts().entries)
    if not parts.is_read_out(shard_images):
        batches = batches_of(
            source, first=done, entries=shard_images, shape_px=attack.shape_px, share=1.0, seen=parts.seen()
        )
        if workers is None:
            shards = _shards(batches, attack, entries=shard_images, progress=progress)
        else:
            work = ApplyBatches(
                str(folder), attack.cut, None if network is None else str(network), device, tuple(trusted), shard_images,
                {**facts, "device": attack.inverse.device.type}, needs_gpu=attack.inverse.device.type == "cuda",
            )  # fmt: skip
            shards = inverted_elsewhere(workers, work, batches, progress)
        for shard in shards:
            parts.write(shard)
    return _finish(parts, attack, facts, images, source.uri)


def _finish(
    parts: InversionParts, attack: Attack, facts: dict[str, Any], images: Sequence[str], uri: str
) -> InversionResult:
    """Write the tables and then the manifest, and clear the work away; raises NothingScanned."""
    parts.check_any(uri, done="re-created")
    out, counts, summary = parts.out, parts.counts(), parts.merge()
    account = {
        "format": FORMAT, "format_version": VERSION, "sources": [clean_uri(spec) for spec in images], **facts,
        "device": attack.inverse.device.type, "counts": asdict(counts), "summary": summary, "versions": versions(),
    }  # fmt: skip
    write_json(out / "inversions.json", account)
    remove_folder(parts.folder)
    return InversionResult(out, counts, summary)


def _shards(batches: Iterator[Batch], attack: Attack, *, entries: int, progress: Progress) -> Iterator[InvertedShard]:
    """Yield the re-created shards, one after the other, made in this process."""
    for batch in batches:
        found, account = attack.invert(batch, entries)
        progress.advance(len(batch.wanted) + len(batch.rejects))
        yield InvertedShard(batch.number, batch.wanted, found, batch.rejects, account)


@dataclass(frozen=True, slots=True)
class ApplyBatches:
    """Re-creates batches; see `workers.Work`.  `seen_here` is what the machine that asks knows of inverse and network."""

    folder: str
    cut: str
    network: str | None
    device: str
    trusted: tuple[str, ...]
    entries: int
    seen_here: dict[str, Any]
    threads: int = 1
    needs_gpu: bool = False

    def name(self, batch: Batch) -> str:
        """See `Work`."""
        return f"Shard {batch.number} of the pictures to re-create ({len(batch.wanted)} pictures)"

    def open(self) -> Callable[[Batch], Inverted]:
        """See `Work`."""
        attack = open_attack(self.folder, self.cut, network=self.network, device=self.device, trusted=self.trusted)
        there = {**attack.facts(self.folder), "device": attack.inverse.device.type}
        check_same(f"the inverse {self.folder}", self.seen_here, there)
        return partial(attack.invert, entries=self.entries)


def _finished(out: Path, facts: dict[str, Any], images: Sequence[str]) -> InversionResult:
    account = artefacts.read_json(out / "inversions.json")
    check_same_sources(out, account, images)
    changed = [name for name, value in facts.items() if account.get(name) != value]
    if changed:
        raise RunMismatch(
            f"{out} is finished, and was made with another {' and '.join(changed)}. "
            "Choose another name, or pass --force to replace it."
        )
    return InversionResult(out, ShardCounts(**account["counts"]), account["summary"])
