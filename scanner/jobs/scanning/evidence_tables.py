"""What the evidence rests on, as two tables of the run folder: what lies near each photo, and near each scanned face.

Everything that is said of a run follows from `photos.parquet`, `samples.parquet` and the policy (`jobs.statement`), so
anybody who has the folder can work it out again.  All query vectors are in memory, 4 x dim bytes each, and so is a row
a labelled photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import References, VectorBatch
from indexes.exact import ExactEngine
from indexes.rescore import score_pairs
from scanner import artefacts
from scanner.decision import Threshold
from scanner.evidence.clusters import lead_clusters
from scanner.evidence.guards import FOLDS, two_sample
from scanner.evidence.hubs import Side, find_hubs
from scanner.evidence.kind import are_apart
from scanner.evidence.neighbours import Neighbours
from scanner.jobs.scanning.comparisons import Comparisons
from scanner.jobs.scanning.nulls import Matched, match_sizes
from scanner.progress import Progress
from scanner.search import Gallery

NEAREST = 5
"""How many of the best scores of a photo are kept."""
COMPARED_MAX = 5000
"""Identities of each side that the two-sample tests look at, and that mated scores are taken of."""
HUB = "hub"
"""Flag of a photo that is close to everything: its matches say less than others."""
_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Scanned:
    """The scanned faces, and each one's best candidate.

    Attributes:
        query_id: n ids.
        vectors: (n, dim) float32, unit rows.
        best_score: (n,) float32 best score over all candidate galleries.
        best_gallery: (n,) int16 where that reference lies.
        best_reference_id: (n,) int64 its id.
    """

    query_id: tuple[str, ...]
    vectors: NDArray[np.float32]
    best_score: NDArray[np.float32]
    best_gallery: NDArray[np.int16]
    best_reference_id: NDArray[np.int64]


def write_evidence_tables(
    out: Path,
    scanned: Scanned,
    galleries: Sequence[Gallery],
    nulls: Sequence[Gallery],
    *,
    threshold: Threshold,
    fingerprint: str,
    seed: int,
    comparisons: Comparisons,
    progress: Progress,
) -> dict[str, Any]:
    """Write `photos.parquet` and `samples.parquet`; return what the two-sample tests saw, which they cannot hold."""
    total = sum(gallery.index.rows for gallery in (*galleries, *nulls))
    progress.stage("evidence", total=total, unit="references")
    sides = [
        _Photos.of(side, of, scanned, seed, comparisons, progress)
        for side, of in (("candidate", galleries), ("null", nulls))
    ]
    cluster = lead_clusters(scanned.vectors, radius=threshold.value)
    null_best, people, pairs = _null_hits(nulls, scanned.vectors, threshold, comparisons)
    hubs, figures = find_hubs(
        sides[0].side(galleries, (scanned.best_gallery, scanned.best_reference_id), scanned.best_score),
        sides[1].side(nulls, null_best[:2], null_best[2]),
        cluster,
    )
    schema = artefacts.stamped(artefacts.PHOTOS, "photos", fingerprint=fingerprint)
    none = np.zeros(len(sides[1].mean), np.bool_)
    artefacts.write_tables(out / "photos.parquet", schema, [*sides[0].tables(hubs), *sides[1].tables(none)])
    matched = match_sizes(galleries, nulls, seed=seed)
    samples = _samples(scanned, cluster, matched) | {"null_identities": people, "null_pairs": pairs}
    schema = artefacts.stamped(artefacts.samples_schema(scanned.vectors.shape[1]), "samples", fingerprint=fingerprint)
    artefacts.write_tables(out / "samples.parquet", schema, [artefacts.table_of(schema, samples)])
    return {
        **_fits(galleries, nulls, scanned.vectors, cluster, seed),
        "candidate_references": sum(gallery.index.rows for gallery in galleries),
        "matched_photos": len(matched[0].identity),
        "matched_people": len(set(matched[0].identity)),
        "hubs": asdict(figures),
    }


@dataclass(frozen=True, slots=True)
class _Photos:
    """All references of one side: the columns of labelled ones a gallery, and what the hub test needs of each.

    `identity` has a code for each reference (one of its own where there is no label), `labelled` says which have one,
    `mean` is the mean score over all scanned faces; all three are (references,).
    """

    columns: tuple[dict[str, Any], ...]
    identity: NDArray[np.int64]
    labelled: NDArray[np.bool_]
    mean: NDArray[np.float64]

    @classmethod
    def of(
        cls, side: str, galleries: Sequence[Gallery], scanned: Scanned, seed: int, by: Comparisons, progress: Progress
    ) -> _Photos:
        columns, labels, labelled, means = [], list[str](), [], []
        for number, gallery in enumerate(galleries):
            near = by.of_references(gallery, scanned.vectors, k=NEAREST)
            names = gallery.index.column("identity").to_pylist()
            known = np.array([name is not None for name in names])
            columns.append(_columns(side, gallery, near, names, np.flatnonzero(known), scanned, seed))
            labels += [f"{number}/{name}" if name is not None else f"{number}//{i}" for i, name in enumerate(names)]
            labelled.append(known)
            means.append(near.mean)
            progress.advance(gallery.index.rows)
        codes = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)[1].astype(np.int64)
        return cls(tuple(columns), codes, np.concatenate(labelled), np.concatenate(means))

    def side(
        self,
        galleries: Sequence[Gallery],
        best: tuple[NDArray[np.integer], NDArray[np.integer]],
        score: NDArray[np.float32],
    ) -> Side:
        """Return what the hub test needs, given each scanned face's best reference as (gallery, id)."""
        rows, start = np.zeros(len(score), np.int64), 0
        for number, gallery in enumerate(galleries):
            references = gallery.index.references()
            mine = best[0] == number
            rows[mine] = start + np.searchsorted(references.ids[references.live_rows()], best[1][mine])
            start += gallery.index.rows
        return Side(self.identity, self.mean, rows, score)

    def tables(self, hubs: NDArray[np.bool_]) -> Iterator[pa.Table]:
        """Yield the rows of `photos.parquet`, a table a gallery; `hubs` is (references,)."""
        flags = iter(hubs[self.labelled].tolist())
        for columns in self.columns:
            marked = [[HUB] if next(flags) else [] for _ in columns["side"]]
            yield artefacts.table_of(artefacts.PHOTOS, {**columns, "flags": marked})


def _columns(
    side: str, gallery: Gallery, near: Neighbours, names: Sequence[str | None], labelled: NDArray[np.int64],
    scanned: Scanned, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return the columns of `photos.parquet` for the labelled references of a gallery."""
    references, chosen, scores = gallery.index.references(), pa.array(labelled), near.score[labelled]
    return {
        "side": [side] * len(labelled),
        "index": [gallery.name] * len(labelled),
        "reference_id": gallery.stored_ids(references.ids[references.live_rows()[labelled]]),
        "reference_uri": gallery.index.column("uri").take(chosen),
        "item_id": gallery.index.column("item_id").take(chosen),
        "identity": [names[place] for place in labelled.tolist()],
        "best_score": scores[:, 0],
        "best_query_id": [scanned.query_id[row] for row in near.row[labelled, 0].tolist()],
        "scores": [row[row > -1.0].tolist() for row in scores],
        "centrality": near.mean[labelled],
        "mated_score": _mated_scores(gallery, names, labelled, seed),
    }


def _mated_scores(gallery: Gallery, names: Sequence[str | None], labelled: NDArray[np.int64], seed: int) -> pa.Array:
    """Return for the first photo of a person its score with the second one, where there are two; else null.

    What another photo of the same person scores is the model of a leak (`evidence.power`).  Photos that are the very same
    file are no other photo.
    """
    items = gallery.index.column("item_id").to_pylist()
    of: dict[str | None, list[int]] = {}
    for place in labelled.tolist():
        photos = of.setdefault(names[place], [])
        if len(photos) < 2 and (not photos or not items[place] or items[place] != items[photos[0]]):  # noqa: PLR2004
            photos.append(place)
    pairs = np.array([photos for photos in of.values() if len(photos) > 1], np.int64).reshape(-1, 2)
    pairs = pairs[np.sort(np.random.default_rng([seed, 0x3A7E]).permutation(len(pairs))[:COMPARED_MAX])]
    references = gallery.index.references()
    left, right = (references.gather(references.live_rows()[column]) for column in pairs.T)
    scores = dict(zip(pairs[:, 0].tolist(), score_pairs(left, right).tolist(), strict=True))
    return pa.array([scores.get(place) for place in labelled.tolist()], pa.float32())


def _samples(scanned: Scanned, cluster: NDArray[np.int32], matched: tuple[Matched, Matched]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "query_id": list(scanned.query_id),
        "cluster": cluster,
        "best_score": scanned.best_score,
        "usual": scanned.vectors @ np.concatenate([side.vectors for side in matched]).mean(0, dtype=np.float64),
    }
    for name, side in zip(("candidate", "null"), matched, strict=True):
        score, row = _best(side.vectors, scanned.vectors)
        columns[f"{name}_score"] = score
        columns[f"{name}_identity"] = ["/".join(side.identity[i]) for i in row.tolist()]
    flat = pa.array(scanned.vectors.reshape(-1), pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, scanned.vectors.shape[1])
    return columns


def _best(
    references: NDArray[np.float32], queries: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return each query's best score among references in memory, and the row of the reference."""
    engine = ExactEngine(References.from_memory(np.arange(len(references)), VectorBatch(references)))
    hits = engine.search(queries, k=1)
    return hits.score, hits.reference_id


_Best = tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.float32]]


def _null_hits(
    nulls: Sequence[Gallery], vectors: NDArray[np.float32], threshold: Threshold, by: Comparisons
) -> tuple[_Best, NDArray[np.int32], NDArray[np.int32]]:
    """Return every query's best null reference, and how many null identities and photos reach the threshold."""
    n = len(vectors)
    gallery, best_id, score = np.zeros(n, np.int16), np.zeros(n, np.int64), np.full(n, -2.0, np.float32)
    people, pairs = np.zeros(n, np.int32), np.zeros(n, np.int32)
    for number, null in enumerate(nulls):
        names = null.index.column("identity").to_pylist()
        references = null.index.references()
        ids = references.ids[references.live_rows()]
        codes = np.unique(np.array([name if name is not None else "" for name in names]), return_inverse=True)[1]
        known = np.array([name is not None for name in names])
        for start in range(0, n, _BLOCK_ROWS):
            block = vectors[start : start + _BLOCK_ROWS]
            part = slice(start, start + len(block))
            hits = by.of_queries(null, start, block, threshold=threshold.value)
            first = hits.best(1)
            better = first.score > score[part]
            gallery[part][better] = number
            best_id[part][better], score[part][better] = first.reference_id[better], first.score[better]
            hits = hits.take(threshold.decide(hits.score))
            place = np.searchsorted(ids, hits.reference_id)
            row, code = hits.query_row[known[place]], codes[place][known[place]]
            pairs[part] += np.bincount(row, minlength=len(block)).astype(np.int32)
            once = np.unique(np.stack([row, code], axis=1), axis=0)
            people[part] += np.bincount(once[:, 0], minlength=len(block)).astype(np.int32)
    return (gallery, best_id, score), people, pairs


def _fits(
    galleries: Sequence[Gallery], nulls: Sequence[Gallery], vectors: NDArray[np.float32], cluster: NDArray[np.int32],
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return what the two-sample tests say: candidates against null, and scanned faces against null."""
    faces, null_faces = (_one_each(side, seed) for side in (galleries, nulls))
    null_fit = are_apart(faces, null_faces, seed=seed)
    found: dict[str, Any] = {
        "null_fit": {**asdict(null_fit), "differ": null_fit.differ},
        "domain_fit": None,
    }
    leaders = np.sort(np.unique(cluster, return_index=True)[1])[:COMPARED_MAX]
    if len(leaders) >= 2 * FOLDS:
        domain = two_sample(np.ascontiguousarray(vectors[leaders]), null_faces, seed=seed)
        found["domain_fit"] = {**asdict(domain), "differ": domain.differ}
    return found


def _one_each(galleries: Sequence[Gallery], seed: int) -> NDArray[np.float32]:
    """Return the vectors of at most `COMPARED_MAX` identities, one photo each."""
    faces = [np.empty((0, galleries[0].index.dim), np.float32)]
    for gallery in galleries:
        references = gallery.index.references()
        first: dict[str, int] = {}
        for place, name in enumerate(gallery.index.column("identity").to_pylist()):
            if name is not None:
                first.setdefault(name, place)
        faces.append(references.gather(references.live_rows()[np.sort(np.array(list(first.values()), np.int64))]))
    people = np.concatenate(faces)
    return people[np.sort(np.random.default_rng(seed).permutation(len(people))[:COMPARED_MAX])]
