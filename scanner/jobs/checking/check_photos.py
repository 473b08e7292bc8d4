"""The photos of `scanner check`, embedded in memory by a run's own embedder: no vector and no crop is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.errors import EmbedderMismatch, NothingScanned, UsageError
from scanner.faces.domain import Domain
from scanner.jobs.embedding.ready import ReadyFaces, is_embeddings
from scanner.jobs.options import FaceOptions, SourceOptions, like_index, open_road
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.domain_file import bring_faces
from scanner.pipeline import embed_source
from scanner.progress import Progress
from scanner.records import Counts


def embed_photos(
    specs: Sequence[str],
    summary: Mapping[str, Any],
    fingerprint: str,
    faces: FaceOptions,
    sources: SourceOptions,
    progress: Progress,
    *,
    embedded_by: str | None,
    domain: Domain | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float32], list[str], Counts]:
    """Embed photos as a run embedded its faces.

    Args:
        specs: folders, archives, images; or ready embeddings.
        summary: the run's `run.json`.
        fingerprint: of the run's embedder.
        faces: how pictures become vectors; what is left open is as in the run.
        sources: how sources are read.
        progress: where to report.
        embedded_by: name of the embedder of ready embeddings that do not say it.
        domain: of the run's scanned faces, when its null was brought to it: the photos are, too.
        seed: draws which look each photo is given.

    Returns:
        (n, dim) float32 unit rows; the ids of their files, "" where not known; and what became of every entry.

    Raises:
        EmbedderMismatch: the embedder is not the run's.
        NothingScanned: not one face came out.
    """
    ready = [is_embeddings(spec, sources) for spec in specs]
    if any(ready) and not all(ready):
        raise UsageError("Images and ready embeddings cannot be mixed in one call. Name them in two.")
    if all(ready) and domain is not None:
        raise UsageError(
            "The run's null was brought to the scanned faces' size and compression, and ready embeddings cannot be. "
            "Bring the photos themselves."
        )
    if all(ready):
        return _ready(specs, fingerprint, sources, embedded_by)
    recipe = summary["road"]
    opened = open_road(like_index(faces, {**recipe["embedder"], "faces": recipe["faces"]}))
    _check(opened.fingerprint, fingerprint, "they were embedded by")
    for note in opened.notes:
        progress.note(note)
    # Without a domain the road drops each crop when it is embedded; to be brought anywhere it is needed.
    road = replace(opened.road, keep_crops=domain is not None)
    source = sources.open(specs)
    progress.stage("faces", total=source.count(), unit="images")
    vectors, items, counts = [np.empty((0, opened.road.embedder.dim), np.float32)], list[str](), Counts()
    for shard in embed_source(source, road):
        own = shard.vectors
        if domain is not None:
            own = bring_faces(shard.faces, own, domain, road, seed=seed)
        vectors.append(own)
        items += [face.item_id for face in shard.faces]
        counts = counts + shard.counts
        progress.advance(shard.counts.entries)
    if counts.faces == 0:
        reasons = ", ".join(f"{n} {reason}" for reason, n in counts.reasons.items()) or "no entry at all"
        raise NothingScanned(
            f"Nothing to check: {counts.entries} entries in {source.uri}, no usable face ({reasons}). "
            "Look at the pictures, and at --faces (detect, aligned, whole)."
        )
    return np.concatenate(vectors), items, counts


def _ready(
    specs: Sequence[str], fingerprint: str, sources: SourceOptions, embedded_by: str | None
) -> tuple[NDArray[np.float32], list[str], Counts]:
    vectors, items, counts = list[NDArray[np.float32]](), list[str](), Counts()
    for spec in specs:
        faces = ReadyFaces(spec, sources, embedded_by=embedded_by)
        _check(faces.fingerprint, fingerprint, f"{spec} was made by")
        for table in faces.faces():
            vectors.append(vectors_of(table))
            items += table["item_id"].to_pylist()
        counts = counts + faces.counts()
    return np.concatenate(vectors), items, counts


def _check(found: str, fingerprint: str, what: str) -> None:
    if found != fingerprint:
        raise EmbedderMismatch(
            f"The photos cannot be compared with the run: {what} the embedder with fingerprint {found}, the run has "
            f"{fingerprint}. Name the run's own embedder with --embedder, or bring embeddings that it made."
        )
