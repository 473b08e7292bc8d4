"""Sources in, faces with vectors out: images by way of the road, ready embeddings as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from scanner.errors import NothingScanned, UsageError
from scanner.jobs.embedding.embed_shards import embed_elsewhere
from scanner.jobs.embedding.ready import ReadyFaces, is_embeddings
from scanner.jobs.options import FaceOptions, OpenedRoad, SourceOptions, open_road
from scanner.jobs.parts import Parts
from scanner.jobs.workers import Workers
from scanner.pipeline import SHARD_ENTRIES, embed_source
from scanner.progress import Progress
from scanner.records import Counts
from scanner.sources import Source


class Intake(Protocol):
    """Faces of a source, as tables of `artefacts.embeddings_schema`, in an order that never changes."""

    fingerprint: str
    dim: int
    description: dict[str, Any]

    def faces(self) -> Iterator[pa.Table]:
        """Yield all faces."""
        ...

    def rejects(self) -> Iterator[pa.Table]:
        """Yield all rejects, as tables of `artefacts.REJECTS`."""
        ...

    def counts(self) -> Counts:
        """Return what became of every entry; complete once `faces` has been read to its end."""
        ...

    def done(self) -> None:
        """Remove what was only needed to resume."""
        ...


class RoadIntake:
    """Images that have walked the road; its finished shards lie in `parts`."""

    def __init__(self, opened: OpenedRoad, parts: Parts) -> None:
        self.fingerprint = opened.fingerprint
        self.dim = opened.road.embedder.dim
        self.description = opened.description
        self._parts = parts
        self.faces = parts.faces
        self.rejects = parts.rejects
        self.counts = parts.counts
        self.done = parts.remove


def take_in(
    specs: Sequence[str],
    *,
    work: Path,
    sources: SourceOptions,
    faces: FaceOptions,
    progress: Progress,
    plan: dict[str, Any],
    resume: bool = False,
    keep_crops: bool = False,
    embedded_by: str | None = None,
    opened: OpenedRoad | None = None,
    workers: Workers | None = None,
    make_room: Callable[[], None] = lambda: None,
) -> Intake:
    """Embed every face of `specs`, taking up where a killed job was.

    Args:
        specs: folders, archives, URLs; or files of ready embeddings.
        work: folder for finished shards, until `Intake.done`.
        sources: how they are read.
        faces: how pictures become vectors; not used for ready embeddings.
        progress: where to report.
        plan: what else must be unchanged for a resumed job to be the same job.
        resume: take up the work in `work`.
        keep_crops: keep every crop as PNG.
        embedded_by: name of the embedder of ready embeddings that do not say it themselves.
        opened: the road, if the caller has opened it already, from `faces`.
        workers: who embeds; None for this process.
        make_room: called when all is opened and nothing is written yet: what `--force` throws away is kept till then.

    Raises:
        NothingScanned: not one face came out.
    """
    ready = [is_embeddings(spec, sources) for spec in specs]
    if any(ready) and not all(ready):
        raise UsageError("Images and ready embeddings cannot be mixed in one call. Name them in two.")
    if all(ready):
        return _ready(specs, work, sources, plan, resume=resume, embedded_by=embedded_by, make_room=make_room)
    opened = opened or open_road(faces, keep_crops=keep_crops)
    opened = replace(opened, road=replace(opened.road, keep_crops=keep_crops))
    for note in opened.notes:
        progress.note(note)
    source = sources.open(specs)
    fingerprint, dim = opened.fingerprint, opened.road.embedder.dim
    parts = Parts(work, dim=dim, fingerprint=fingerprint, keep_crops=keep_crops)
    whole_plan = _whole_plan(plan, source, sources, opened)
    make_room()
    done = parts.begin(whole_plan, resume=resume)
    before = parts.counts()
    progress.stage("faces", total=source.count(), unit="images", done=before.entries)
    if before.entries == done * SHARD_ENTRIES:  # else the last shard was cut short by the end of the source
        if workers is None:
            shards = embed_source(source, opened.road, first_shard=done, seen=parts.seen())
        else:
            shards = embed_elsewhere(
                workers, tuple(specs), source, opened, sources=sources, faces=faces, shard_entries=SHARD_ENTRIES,
                first_shard=done, seen=parts.seen(),
            )  # fmt: skip
        for shard in shards:
            parts.write(shard)
            progress.advance(shard.counts.entries)
    counts = parts.counts()
    if counts.faces == 0:
        parts.remove()
        raise NothingScanned(_nothing(counts, source.uri))
    return RoadIntake(opened, parts)


def _ready(
    specs: Sequence[str],
    work: Path,
    sources: SourceOptions,
    plan: dict[str, Any],
    *,
    resume: bool,
    embedded_by: str | None,
    make_room: Callable[[], None],
) -> Intake:
    if len(specs) != 1:
        raise UsageError(f"One file of ready embeddings is read at a time, {len(specs)} were named.")
    intake = ReadyFaces(specs[0], sources, embedded_by=embedded_by)
    make_room()
    intake.begin(work, {**plan, "source": intake.describe()}, resume=resume)
    return intake


def _whole_plan(plan: dict[str, Any], source: Source, sources: SourceOptions, opened: OpenedRoad) -> dict[str, Any]:
    """Return what a resumed job must find unchanged, as JSON gives it back."""
    whole = {
        **plan,
        "source": source.describe(),
        "source_options": sources.plan(),
        "road": _without_device(opened.description),
        "keep_crops": opened.road.keep_crops,
    }
    document: dict[str, Any] = json.loads(json.dumps(whole))
    return document


def _without_device(description: dict[str, Any]) -> dict[str, Any]:
    """Leave out what may differ between two runs of one job."""
    embedder = {k: v for k, v in description["embedder"].items() if not k.startswith("device")}
    return {**description, "embedder": embedder}


def _nothing(counts: Counts, uri: str) -> str:
    """Say why not one face came out, and what would help most."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.reasons.items(), key=lambda r: -r[1]))
    hint = "Look at the pictures, and at --faces (detect, aligned, whole)."
    if counts.reasons.get("no_face", 0) * 2 > counts.entries:
        hint = "If the pictures are aligned crops already, pass --faces aligned; if they are no faces, --faces whole."
    found = f"{counts.entries} entries in {uri}, no usable face ({reasons or 'no entry at all'})"
    return f"Nothing was scanned: {found}. {hint}"
