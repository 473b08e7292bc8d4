"""What comparing an index with itself would cost, from a few of its own references: before the long work, not after."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexes.self_join import STRIPS
from scanner.jobs.indexing.threshold import choose_threshold
from scanner.jobs.options import FaceOptions, SourceOptions, like_index
from scanner.jobs.scanning.options import ScanOptions
from scanner.progress import Progress
from scanner.search import open_galleries

SAMPLE_ROWS = 512
PAIR_BYTES = 40
"""Of one pair on disk, with its names and in its unfinished part: 16 on LFW, 40 where nearly every group is of two."""


@dataclass(frozen=True, slots=True)
class DedupeEstimate:
    """Predicted cost; seconds and pairs were scaled up from `SAMPLE_ROWS` references, so good to a factor of about two."""

    references: int
    threshold: float
    queries_per_s: float
    engine: str
    memory_bytes: int
    search_s: float
    pairs: int
    disk_bytes: int

    def sentence(self) -> str:
        """Return the estimate for people."""
        return (
            f"{self.references} references against each other at {self.queries_per_s:.0f} queries/s ({self.engine}): "
            f"search about {self.search_s:.0f} s\n"
            f"about {self.pairs} pairs at {self.threshold:.4f} or above, {self.disk_bytes / (1 << 20):.0f} MiB on disk; "
            f"memory of the search: at most {self.memory_bytes / (1 << 30):.1f} GiB"
        )


def estimate(
    path: str, *, options: ScanOptions, faces: FaceOptions, sources: SourceOptions, progress: Progress
) -> DedupeEstimate:
    """Search a few references, evenly spaced, and scale up; nothing is written.  Arguments as of `dedupe`."""
    (gallery,) = open_galleries([Path(path)], memory_bytes=options.memory_bytes, engine=options.engine)
    faces = like_index(faces, gallery.index.manifest.embedder)
    threshold = choose_threshold(options, [gallery], faces, sources, progress)
    references = gallery.index.references()
    alive = references.live_rows()
    rows = alive[np.unique(np.linspace(0, len(alive) - 1, SAMPLE_ROWS).astype(np.int64))]
    started = time.perf_counter()
    hits = gallery.engine.search(np.ascontiguousarray(references.gather(rows)), threshold=threshold.value)
    queries_per_s = len(rows) / max(time.perf_counter() - started, 1e-9)
    pairs = round(max(0, len(hits) - len(rows)) / 2 * len(alive) / len(rows))
    share = (STRIPS + 1) / (2 * STRIPS)
    return DedupeEstimate(
        references=len(alive),
        threshold=threshold.value,
        queries_per_s=queries_per_s,
        engine=gallery.engine.name,
        memory_bytes=options.memory_bytes,
        search_s=share * len(alive) / queries_per_s,
        pairs=pairs,
        disk_bytes=pairs * PAIR_BYTES,
    )
