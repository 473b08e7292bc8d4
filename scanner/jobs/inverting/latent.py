"""Latents of a source's images: OUT/inversions.parquet, reconstructions as a source for `scan`, inversions.json last.

Entries are worked on in shards, each with slots of its own, and a finished shard is never done again: a killed job
that is resumed leaves the bytes of one that was not killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexes.atomic import write_json
from scanner import artefacts
from scanner.errors import RunMismatch
from scanner.jobs.folders import check_same_sources, check_target, is_finished, remove_folder, sweep
from scanner.jobs.inverting.batches import InvertBatches, inverted_elsewhere
from scanner.jobs.inverting.inverted import InvertedShard, ShardCounts
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.inverting.parts import InversionParts
from scanner.jobs.inverting.pictures import Batch, batches_of
from scanner.jobs.options import SourceOptions
from scanner.jobs.versions import versions
from scanner.jobs.workers import Workers
from scanner.progress import Progress, Silent
from scanner.sources.location import clean_uri

if TYPE_CHECKING:
    from scanner.inversion.latent import Recovered
    from scanner.jobs.inverting.tools import Tools

FORMAT, VERSION = "identity-leak-inversions", 1
SHARD_PIXELS = 1 << 25
"""Pixels of a shard's images at most: they wait in memory, as float32, until the shard is written (400 MB)."""


@dataclass(frozen=True, slots=True)
class InversionResult:
    """What was made: the folder, what became of every entry, and quantiles of the errors."""

    path: Path
    counts: ShardCounts
    summary: dict[str, Any]


def invert_latent(
    generator: str | Path,
    images: Sequence[str],
    out: str | Path,
    *,
    options: InvertOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> InversionResult:
    """Search, for every image, the latent that makes it.

    Args:
        generator: its description (GEN.toml).
        images: folders, archives, URLs, `generated:...`.
        out: the folder to be made, for its owner alone.
        options: how it is done.
        sources: how the images are read.
        resume: go on with interrupted work.
        force: replace what is there.
        workers: who inverts; None for this process, which trains an encoder in any case.
        progress: where to report.

    Raises:
        UsageError: options that do not fit; something is there already.
        ModelError: a network cannot be opened, or not even one image fits into memory.
        NothingScanned: not one image could be inverted.
    """
    from scanner.jobs.inverting.tools import open_tools

    options, sources, progress, out = (
        options or InvertOptions(),
        sources or SourceOptions(),
        progress or Silent(),
        Path(out),
    )
    work = out / "unfinished"
    check_target(out, work, kind="inversions", resume=resume, force=force)
    if is_finished(out, work, resume=resume):
        return _finished(out, generator, images)
    tools = open_tools(generator, options, work=work)
    for note in tools.notes:
        progress.note(note)
    source = sources.open(images)
    plan = json.loads(json.dumps({
        "job": "invert latent", "generator": tools.generator_facts, "source": source.describe(),
        "source_options": sources.plan(), "options": options.plan(), "networks": tools.network_facts,
    }))  # fmt: skip
    if force:
        remove_folder(out)
    parts = InversionParts(out, generator_fingerprint=tools.generator.fingerprint)
    done = parts.begin(plan, resume=resume)
    sweep(out)
    tools.make_encoder(options, progress)
    slots, entries = parts.slots(tools, options), shard_entries(tools, options)
    progress.stage("inversion", total=source.count(), unit="images", done=parts.counts().entries)
    if not parts.is_read_out(entries):
        batches = batches_of(
            source, first=done, entries=entries, shape_px=tools.generator.shape_px, share=options.centre, seen=parts.seen()
        )  # fmt: skip
        inverting = InvertBatches.like(tools, generator, options, slots=slots, entries=entries)
        for shard in _shards(batches, tools, inverting, workers, progress):
            parts.write(shard)
    parts.check_any(source.uri, done="inverted")
    counts, summary = parts.counts(), parts.merge()
    _write_account(out, generator, images, options, tools, counts, summary, slots)
    remove_folder(work)
    return InversionResult(out, counts, summary)


def shard_entries(tools: Tools, options: InvertOptions) -> int:
    """Return how many entries are a shard: what was asked for, or fewer where the generator's images are large."""
    height, width = tools.generator.shape_px
    return max(1, min(options.shard_images, SHARD_PIXELS // (height * width)))


def _shards(
    batches: Iterator[Batch], tools: Tools, inverting: InvertBatches, workers: Workers | None, progress: Progress
) -> Iterator[InvertedShard]:
    """Yield the inverted shards in order, made by workers or in this process."""
    from scanner.inversion.latent import Account

    if workers is not None:
        yield from inverted_elsewhere(workers, inverting, batches, progress)
        return
    options, slots = inverting.options, inverting.slots
    for batch in batches:
        progress.advance(len(batch.rejects))
        account = Account()
        found: list[Recovered] = []
        number = batch.number * inverting.entries
        for one in tools.invert(batch.wanted, options, slots=slots, number=number, account=account):
            found.append(one)
            progress.advance(1)
        yield InvertedShard(batch.number, batch.wanted, found, batch.rejects, account)


def _write_account(
    out: Path,
    generator: str | Path,
    images: Sequence[str],
    options: InvertOptions,
    tools: Tools,
    counts: ShardCounts,
    summary: dict[str, Any],
    slots: int,
) -> None:
    """Write the manifest: no clock, so that equal runs have equal bytes."""
    assert counts.add_up, counts
    document = {
        "format": FORMAT,
        "format_version": VERSION,
        "sources": [clean_uri(spec) for spec in images],
        "generator_file": Path(generator).name,
        "generator": tools.generator_facts,
        "networks": tools.network_facts,
        "options": options.plan(),
        "slots": slots,
        "device": tools.generator.device.type,
        "counts": asdict(counts),
        "utilisation": round(counts.worked / max(1, counts.places), 4),
        "summary": summary,
        "versions": versions(),
    }
    write_json(out / "inversions.json", document)


def _finished(out: Path, generator: str | Path, images: Sequence[str]) -> InversionResult:
    account = artefacts.read_json(out / "inversions.json")
    check_same_sources(out, account, images)
    if account["generator_file"] != Path(generator).name:
        raise RunMismatch(
            f"{out} is finished, and was made with {account['generator_file']}. "
            "Choose another name, or pass --force to replace it."
        )
    return InversionResult(out, ShardCounts(**account["counts"]), account["summary"])
