"""What a job would cost, before the long work: `scanner embed`, `index build` and `scan` with `--dry-run`.

What can be measured on the user's own data is measured just now on a little of it: pictures into vectors, queries against
the index.  The rest is worked out by `scanner.costs` from the machine's profile.  Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from indexes.build import CODEC_ROWS_MIN
from scanner import costs
from scanner.jobs.embedding.ready import is_embeddings
from scanner.jobs.indexing.build import BuildOptions
from scanner.jobs.measuring.predict import faces_seconds, images_of, index_cost, join_cost, picture_size
from scanner.jobs.measuring.profile import KnownMachine, known_machine
from scanner.jobs.options import FaceOptions, SourceOptions, cores, like_index, open_road
from scanner.jobs.scanning.options import ScanOptions
from scanner.pipeline import Road, embed_source
from scanner.progress import Progress
from scanner.quantities import bytes_words, time_words
from scanner.records import Item, Reject
from scanner.search import Gallery, join, open_galleries
from scanner.sources import Source, open_embeddings

SAMPLE_ITEMS = 64
SAMPLE_QUERIES = 256
_QUERY_ROW_BYTES = 250
_MEASURED = "measured just now on a little of it, so good to a factor of about two"
_WORKED_OUT = "worked out from the machine's rates"
_UNKNOWN = "no rate is known"


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """A stage: `items` (None: the source does not know their number cheaply) at `items_per_s` (None: not known)."""

    name: str
    unit: str
    items: int | None
    items_per_s: float | None
    basis: str

    @property
    def seconds(self) -> float | None:
        """Predicted time; None where the number or the rate is not known."""
        return None if self.items is None or self.items_per_s is None else self.items / self.items_per_s

    def sentence(self) -> str:
        """Return the stage for people."""
        number = "an unknown number of" if self.items is None else str(self.items)
        rate = "" if self.items_per_s is None else f" at {self.items_per_s:.4g}/s"
        return f"{self.name}: {number} {self.unit}{rate}: {time_words(self.seconds)} ({self.basis})"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted cost of a job.

    `memory_bytes` is the process's own at its peak, `mapped_bytes` files that come on top while there is room; `disk_bytes`
    is what stays, `work_bytes` what lies there besides while the job runs.  Sizes are None where the number of images is
    not known.  Where `counted` is False, that number is a guess from the first pictures.  `engines` and `references` are
    a scan's.
    """

    job: str
    images: int | None
    counted: bool
    stages: tuple[StageEstimate, ...]
    memory_bytes: int
    mapped_bytes: int
    disk_bytes: int | None
    work_bytes: int | None
    machine: str
    references: int | None = None
    engines: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """All stages; None where one of them is not known."""
        known = [stage.seconds for stage in self.stages]
        return None if None in known else sum(second for second in known if second is not None)

    def sentence(self) -> str:
        """Return the estimate for people."""
        lines = [stage.sentence() for stage in self.stages]
        if not self.counted:
            lines.insert(
                0, "the number of images is a guess from the size of the first ones: the archive does not say it"
            )
        if self.references is not None:
            lines.append(f"{self.references} references ({', '.join(self.engines)})")
        mapped = f", and {bytes_words(self.mapped_bytes)} of files while there is room" if self.mapped_bytes else ""
        lines.append(f"memory at most {bytes_words(self.memory_bytes)}{mapped}")
        if self.disk_bytes is not None and self.work_bytes is not None:
            lines.append(f"disk {bytes_words(self.disk_bytes)}, and {bytes_words(self.work_bytes)} more while it runs")
        return "\n".join([*lines, f"in all {time_words(self.seconds)}; {self.machine}"])

    def document(self) -> dict[str, Any]:
        """Return the estimate as one JSON object."""
        stages = [{**asdict(stage), "seconds": stage.seconds} for stage in self.stages]
        return {**asdict(self), "stages": stages, "seconds": self.seconds}


def estimate_embed(
    specs: Sequence[str],
    *,
    faces: FaceOptions,
    sources: SourceOptions,
    keep_crops: bool,
    profile: Path | None,
    progress: Progress,
) -> Estimate:
    """Return the cost of `embed`; `profile` names a machine, None is this one, the rest as of `embed`."""
    machine = known_machine(profile)
    seen = _look(specs, faces, sources, machine, progress)
    size = None if seen.images is None else costs.embeddings_bytes(seen.images, seen.dim, crops=keep_crops)
    each_s = None if machine.profile is None else costs.writing_s(machine.profile.rates(), 1)
    return Estimate(
        job="embed",
        images=seen.images,
        counted=seen.counted,
        stages=(*seen.stages, _worked_out("writing", seen.images, each_s)),
        memory_bytes=seen.memory_bytes,
        mapped_bytes=0,
        disk_bytes=size,
        work_bytes=size,
        machine=machine.sentence,
    )


def estimate_build(
    specs: Sequence[str],
    *,
    options: BuildOptions,
    faces: FaceOptions,
    sources: SourceOptions,
    profile: Path | None,
    progress: Progress,
) -> Estimate:
    """Return the cost of `index build`, with a face a picture; see `estimate_embed`."""
    machine = known_machine(profile)
    seen = _look(specs, faces, sources, machine, progress)
    rows, dim, crops = seen.images or 0, seen.dim, options.with_crops
    coded = options.codec == "always" or (options.codec == "auto" and rows >= CODEC_ROWS_MIN)
    cost = index_cost(machine.profile, max(rows, 1), dim, dtype=options.dtype, coded=coded, crops=crops)
    value_bytes = np.dtype(options.dtype).itemsize
    size = costs.index_bytes(
        rows, dim, value_bytes=value_bytes, code_bytes=costs.code_bytes_of(dim) if coded else None, crops=crops
    )  # fmt: skip
    work = costs.embeddings_bytes(rows, dim, crops=crops) if seen.stages else 0
    return Estimate(
        job="index build",
        images=seen.images,
        counted=seen.counted,
        stages=(*seen.stages, _worked_out("index", seen.images, None if cost is None else cost.seconds / max(rows, 1))),
        memory_bytes=max(seen.memory_bytes, costs.build_memory_bytes(dim, coded=coded)),
        mapped_bytes=rows * dim * value_bytes if coded else 0,
        disk_bytes=None if seen.images is None else size,
        work_bytes=None if seen.images is None else work,
        machine=machine.sentence,
    )


def estimate(
    queries: Sequence[str],
    *,
    against: Sequence[str],
    options: ScanOptions,
    faces: FaceOptions,
    sources: SourceOptions,
    progress: Progress,
    profile: Path | None = None,
) -> Estimate:
    """Return the cost of a scan, with a face a picture; `profile` as of `estimate_embed`, the rest as of `scan`."""
    machine = known_machine(profile)
    galleries = open_galleries([Path(p) for p in against], memory_bytes=options.memory_bytes, engine=options.engine)
    manifest = galleries[0].index.manifest
    seen = _look(queries, like_index(faces, manifest.embedder), sources, machine, progress)
    rows = sum(gallery.index.rows for gallery in galleries)
    coded = any(gallery.engine.name == "compressed" for gallery in galleries)
    if machine.foreign and machine.profile is not None:
        number = seen.images or SAMPLE_QUERIES
        search = _worked_out("search", seen.images, join_cost(machine.profile, galleries, number).seconds / number)
    else:
        rate = _queries_per_s(galleries, seed=options.seed)
        search = StageEstimate("search", "faces", seen.images, rate, _MEASURED)
    faces_bytes = costs.embeddings_bytes(seen.images or 0, manifest.dim, crops=options.with_crops) if seen.stages else 0
    return Estimate(
        job="scan",
        images=seen.images,
        counted=seen.counted,
        stages=(*seen.stages, search),
        memory_bytes=max(seen.memory_bytes, costs.join_memory_bytes(rows, cores=cores(), coded=coded)),
        mapped_bytes=rows * manifest.dim * np.dtype(manifest.dtype).itemsize,
        disk_bytes=None if seen.images is None else seen.images * _QUERY_ROW_BYTES,
        work_bytes=None if seen.images is None else faces_bytes,
        machine=machine.sentence,
        references=rows,
        engines=tuple(gallery.engine.name for gallery in galleries),
    )


def speed_of(source: Source, road: Road) -> float:
    """Embed the first `SAMPLE_ITEMS` images of a source, for nothing but the time: images a second."""
    started = time.perf_counter()
    seen = sum(shard.counts.entries for shard in embed_source(_Head(source), road))
    return seen / max(time.perf_counter() - started, 1e-9)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of the sources; `stages` is empty for ready embeddings."""

    images: int | None
    counted: bool
    dim: int
    stages: tuple[StageEstimate, ...]
    memory_bytes: int


def _look(
    specs: Sequence[str], faces: FaceOptions, sources: SourceOptions, machine: KnownMachine, progress: Progress
) -> _Seen:
    """Open the sources and embed a few of their pictures; for another machine only look at their size."""
    if all(is_embeddings(spec, sources) for spec in specs):
        ready = [open_embeddings(spec) for spec in specs]
        return _Seen(
            sum(one.count() for one in ready),
            True,
            ready[0].dim,
            (),
            costs.embedding_memory_bytes(0, cores=0, megapixels=0.0),
        )
    opened = open_road(faces)
    for note in opened.notes:
        progress.note(note)
    source = sources.open(list(specs))
    size = picture_size(source)
    images, counted = images_of(source, size)
    if machine.foreign:
        predicted = faces_seconds(machine.profile, opened.description, specs, sources)[0].get("faces")
        stage = _worked_out("faces", images, None if predicted is None else predicted(1), unit="images")
    else:
        progress.stage("sample", total=SAMPLE_ITEMS, unit="images")
        stage = StageEstimate("faces", "images", images, speed_of(source, opened.road), _MEASURED)
    memory = costs.embedding_memory_bytes(
        images or 0, cores=opened.road.workers, megapixels=0.0 if size is None else size.megapixels
    )
    return _Seen(images, counted, opened.road.embedder.dim, (stage,), memory)


def _worked_out(name: str, items: int | None, each_s: float | None, *, unit: str = "faces") -> StageEstimate:
    rate = None if each_s is None else 1.0 / max(each_s, 1e-12)
    return StageEstimate(name, unit, items, rate, _UNKNOWN if rate is None else _WORKED_OUT)


def _queries_per_s(galleries: Sequence[Gallery], *, seed: int) -> float:
    """Search drawn vectors, for nothing but the time."""
    dim = galleries[0].index.dim
    vectors = np.random.default_rng(seed).standard_normal((SAMPLE_QUERIES, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    started = time.perf_counter()
    for gallery in galleries:
        join(gallery, vectors, threshold=0.99)
    return SAMPLE_QUERIES / (time.perf_counter() - started)


class _Head:
    """The first entries of a source."""

    def __init__(self, source: Source) -> None:
        self.uri = source.uri
        self._source = source

    def describe(self) -> dict[str, str | int]:
        return self._source.describe()

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        return islice(self._source.entries(skip=skip), SAMPLE_ITEMS)

    def count(self) -> int | None:
        return SAMPLE_ITEMS
