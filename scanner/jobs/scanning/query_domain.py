"""The looks of a job's queries: sizes from the embedded faces, compression and colour from their files."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from scanner.errors import ArtefactError, UsageError
from scanner.faces.domain import Domain, Landmarks, Look, domain_of, is_grey, jpeg_quality, span_px
from scanner.images import decode_rgb
from scanner.jobs.embedding.intake import Intake
from scanner.jobs.embedding.ready import is_embeddings
from scanner.jobs.options import SourceOptions
from scanner.progress import Progress, Silent
from scanner.records import Item, Quality

LOOKED_AT: Final = 4096
"""Queries whose look is taken; more would not move a quantile."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One query of the table pass."""

    item_id: str
    size_px: float
    sharpness: float


def measure_domain(
    intake: Intake,
    specs: Sequence[str],
    sources: SourceOptions,
    *,
    landmarks: Landmarks | None = None,
    progress: Progress | None = None,
) -> Domain:
    """Take the looks of the queries: sizes from the embedded faces, compression and colour from the files.

    The `LOOKED_AT` queries whose ids have the smallest hashes are looked at: any order of the source gives the same.
    Their files are read a second time, up to the last of them.

    Args:
        intake: the queries, embedded.
        specs: where they came from.  Of ready embeddings only the sizes are known.
        sources: how they are read.
        landmarks: of queries that are framed alike but not on the template (see `faces.domain.Domain`).
        progress: where to report.

    Raises:
        UsageError: the queries are ready embeddings that do not say how large their faces were.
    """
    progress = progress or Silent()
    chosen, queries = _chosen_queries(intake, landmarks)
    if not chosen:
        raise UsageError(
            f"--null-match needs to know how large the queries' faces are, and {', '.join(specs)} says it of none of "
            f"{queries}: vectors without the columns box and quality. Scan the images themselves, or embeddings that "
            "`scanner embed` wrote of them."
        )
    if any(is_embeddings(spec, sources) for spec in specs):
        looks = [Look(seen.size_px) for seen in chosen]
        return domain_of(
            looks, [s.sharpness for s in chosen], queries=queries, bytes_read=False, landmarks=landmarks,
        )  # fmt: skip
    found = _files(specs, sources, {seen.item_id for seen in chosen}, progress)
    missing = {seen.item_id for seen in chosen} - set(found)
    if missing:
        raise ArtefactError(
            f"{len(missing)} of {len(chosen)} pictures are no longer in {', '.join(specs)}: the source changed while it "
            "was scanned, and what the null is brought to would be another set. Scan it again with --force."
        )
    looks = [Look(seen.size_px, *found[seen.item_id][:2]) for seen in chosen]
    webp = sum(found[seen.item_id][2] for seen in chosen)
    return domain_of(looks, [s.sharpness for s in chosen], queries=queries, webp=webp, landmarks=landmarks)


def _chosen_queries(intake: Intake, landmarks: Landmarks | None) -> tuple[list[_Seen], int]:
    """Return the queries with the smallest hashes, of those that say how large they were, and the number of all."""
    heap: list[tuple[int, str, _Seen]] = []
    queries = 0
    for table in intake.faces():
        queries += table.num_rows
        columns = [table[name].to_pylist() for name in ("id", "item_id", "box", "quality")]
        for face_id, item_id, box, quality in zip(*columns, strict=True):
            if box is None or quality is None:
                continue
            size = span_px(box, Quality(**quality), landmarks=landmarks)
            if size <= 0:
                continue
            key = -int.from_bytes(sha256(face_id.encode()).digest()[:8], "big")
            entry = (key, face_id, _Seen(item_id, size, quality["sharpness"]))
            if len(heap) < LOOKED_AT:
                heapq.heappush(heap, entry)
            elif key > heap[0][0]:
                heapq.heapreplace(heap, entry)
    return [entry[2] for entry in heap], queries


def _files(
    specs: Sequence[str], sources: SourceOptions, wanted: set[str], progress: Progress
) -> dict[str, tuple[int | None, bool, bool]]:
    """Return JPEG quality, whether grey, and whether WebP, of the items `wanted`."""
    found: dict[str, tuple[int | None, bool, bool]] = {}
    progress.stage("queries' pictures", total=len(wanted), unit="images")
    for entry in sources.open(specs).entries():
        if not isinstance(entry, Item):
            continue
        item_id = entry.item_id
        if item_id not in wanted or item_id in found:
            continue
        webp = entry.data[:4] == b"RIFF" and entry.data[8:12] == b"WEBP"
        found[item_id] = (jpeg_quality(entry.data), is_grey(decode_rgb(entry.data)), webp)
        progress.advance(1)
        if len(found) == len(wanted):
            break
    return found
