"""What a scan would cost, from a few of its own images and this machine: before the long work, not after."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from scanner.jobs.options import FaceOptions, SourceOptions, like_index, open_road
from scanner.jobs.ready import is_embeddings
from scanner.jobs.scan_options import ScanOptions
from scanner.pipeline import Road, embed_source
from scanner.progress import Progress
from scanner.records import Item, Reject
from scanner.search import join, open_galleries
from scanner.sources import Source, open_embeddings

SAMPLE_ITEMS = 64
SAMPLE_QUERIES = 256


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted cost of a scan.

    `images` is None where the source does not know its number cheaply; then so are the seconds of the faces.
    `images_per_s` and `queries_per_s` were measured just now, on `SAMPLE_ITEMS` images and `SAMPLE_QUERIES` vectors.
    """

    images: int | None
    images_per_s: float | None
    references: int
    queries_per_s: float
    engines: tuple[str, ...]
    memory_bytes: int
    faces_s: float | None
    search_s: float | None

    def sentence(self) -> str:
        """Return the estimate for people."""
        number = "an unknown number of" if self.images is None else str(self.images)
        speed = "ready embeddings" if self.images_per_s is None else f"{self.images_per_s:.1f} images/s"
        faces = "not known" if self.faces_s is None else _time(self.faces_s)
        search = "not known" if self.search_s is None else _time(self.search_s)
        return (
            f"{number} images at {speed}: faces {faces}\n"
            f"{self.references} references at {self.queries_per_s:.0f} queries/s ({', '.join(self.engines)}): search {search}\n"
            f"memory of the search: at most {self.memory_bytes / (1 << 30):.1f} GiB; measured on a small sample just now, so "
            "good to a factor of about two"
        )


def estimate(
    queries: Sequence[str],
    *,
    against: Sequence[str],
    options: ScanOptions,
    faces: FaceOptions,
    sources: SourceOptions,
    progress: Progress,
) -> Estimate:
    """Embed a few images, search a few vectors, and scale up; nothing is written.  Arguments as of `scan`."""
    galleries = open_galleries([Path(p) for p in against], memory_bytes=options.memory_bytes, engine=options.engine)
    rng = np.random.default_rng(options.seed)
    dim = galleries[0].index.dim
    vectors = rng.standard_normal((SAMPLE_QUERIES, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    started = time.perf_counter()
    for gallery in galleries:
        join(gallery, vectors, threshold=0.99)
    queries_per_s = SAMPLE_QUERIES / (time.perf_counter() - started)
    if all(is_embeddings(spec, sources) for spec in queries):
        images: int | None = sum(open_embeddings(spec).count() for spec in queries)
        images_per_s: float | None = None
        faces_s: float | None = 0.0
    else:
        opened = open_road(like_index(faces, galleries[0].index.manifest.embedder))
        source = sources.open(list(queries))
        progress.stage("sample", total=SAMPLE_ITEMS, unit="images")
        speed = speed_of(source, opened.road)
        images_per_s, images = speed, source.count()
        faces_s = None if images is None else images / speed
    return Estimate(
        images=images,
        images_per_s=images_per_s,
        references=sum(gallery.index.rows for gallery in galleries),
        queries_per_s=queries_per_s,
        engines=tuple(gallery.engine.name for gallery in galleries),
        memory_bytes=options.memory_bytes,
        faces_s=faces_s,
        search_s=None if images is None else images / queries_per_s,
    )


def speed_of(source: Source, road: Road) -> float:
    """Embed the first `SAMPLE_ITEMS` images of a source, for nothing but the time: images a second."""
    started = time.perf_counter()
    seen = sum(shard.counts.entries for shard in embed_source(_Head(source), road))
    return seen / max(time.perf_counter() - started, 1e-9)


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


def _time(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
