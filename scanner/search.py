"""The one place where the scanner meets the index library: galleries, their canaries, and joins against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexes import Engine, Hits, Index, References, SelfJoin, VectorBatch, open_index
from indexes.errors import IndexesError
from indexes.exact import ExactEngine
from scanner.errors import ArtefactError, EmbedderMismatch
from scanner.evidence.calibration import ScoreCounts
from scanner.evidence.neighbours import Neighbours, concatenate

CANARIES = 8
CALIBRATION_ROWS_MAX = 20_000
_TILE_ROWS = 2048
_SWAPPED_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Gallery:
    """An opened index, the engine that searches it, and why this engine.

    `name` is the index folder's name: what matches call it.  `original` is the user's index where `index` is a copy of
    it with other vectors (`--null-match`): the copy's ids count the original's references that are not erased.
    """

    name: str
    index: Index
    engine: Engine
    engine_reason: str
    original: Index | None = None

    @property
    def stored(self) -> Index:
        """The index that the user named: what matches are looked up in."""
        return self.original or self.index

    def stored_ids(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids in `stored` of references found in `index`."""
        if self.original is None:
            return ids
        references = self.original.references()
        return references.ids[references.live_rows()][ids]


@dataclass(frozen=True, slots=True)
class Canaries:
    """Planted queries with a known outcome: references searched for themselves must be found with score 1."""

    planted: int
    found: int


def open_galleries(paths: Sequence[Path], *, memory_bytes: int, engine: str = "auto") -> list[Gallery]:
    """Open the indexes to search; all must stem from one embedder.

    Raises:
        EmbedderMismatch: two of them do not.
        ArtefactError: two have one name, or one is empty.
    """
    galleries: list[Gallery] = []
    for path in paths:
        index = open_index(path)
        if index.rows == 0:
            raise ArtefactError(f"The index {path} is empty: nothing can be found in it. Add to it, or leave it out.")
        if galleries:
            check_fingerprint(index, galleries[0].index.fingerprint, what=f"the index {galleries[0].name}")
        name = path.resolve().name
        if name in {gallery.name for gallery in galleries}:
            raise ArtefactError(f"Two of the indexes are called {name!r}; matches could not be told apart. Rename one.")
        chosen, reason = index.engine(memory_bytes=memory_bytes, want=engine)
        galleries.append(Gallery(name, index, chosen, reason))
    return galleries


def check_fingerprint(index: Index, fingerprint: str, *, what: str) -> None:
    """Refuse to compare vectors of two embedders."""
    if index.fingerprint != fingerprint:
        known = index.manifest.embedder.get("name", "?")
        raise EmbedderMismatch(
            f"The index {index.path.name} was built with embedder {known} (fingerprint {index.fingerprint}), "
            f"{what} has fingerprint {fingerprint}. Scores between them mean nothing. "
            f"Use --embedder {known}, or build the index again with the embedder of the queries."
        )


def join(gallery: Gallery, vectors: NDArray[np.float32], *, threshold: float) -> Hits:
    """Return every pair that reaches `threshold`, and each query's best reference whether or not it does.

    Args:
        gallery: what to search.
        vectors: (n, dim) float32, unit rows.
        threshold: inclusive.
    """
    return gallery.engine.search(VectorBatch(vectors), threshold=threshold, k=1)


def self_join(index: Index, *, threshold: float, memory_bytes: int, engine: str, block_rows: int) -> SelfJoin:
    """Return the join of an index's references with themselves; arguments as of `open_galleries` and `SelfJoin`."""

    def open_engine(references: References) -> Engine:
        return index.engine(memory_bytes=memory_bytes, want=engine, references=references)[0]

    return SelfJoin(index.references(), open_engine, threshold=threshold, block_rows=block_rows)


def try_canaries(gallery: Gallery) -> Canaries:
    """Search evenly spaced references for themselves, by the engine that the run will use."""
    references = gallery.index.references()
    alive = references.live_rows()
    rows = alive[np.unique(np.linspace(0, len(alive) - 1, CANARIES).astype(np.int64))]
    vectors = references.gather(rows)
    # Stored as float16 a vector is not exactly of unit length, so its score with itself may fall short of 1.
    own_scores = np.einsum("ij,ij->i", vectors, vectors)
    unit = np.ascontiguousarray(vectors / np.sqrt(own_scores)[:, None])
    hits = join(gallery, unit, threshold=min(1.0, float(np.sqrt(own_scores.min()))) - 1e-5)
    own = references.ids[rows]
    found = sum(int(own[place] in hits.of_query(place).reference_id) for place in range(len(rows)))
    if found < len(rows):
        raise IndexesError(
            f"Only {found} of {len(rows)} planted references were found in the index {gallery.name}: a scan would miss "
            f"matches. Run: scanner index verify {gallery.index.path}"
        )
    return Canaries(len(rows), found)


Nearest = tuple[NDArray[np.float32], NDArray[np.int64]]
"""The k best samples of n photos: (n, k) float32 scores, best first, and (n, k) int64 rows; -1 where there are fewer."""


def gallery_neighbours(
    gallery: Gallery,
    samples: NDArray[np.float32],
    *,
    k: int,
    radii: Sequence[float] = (),
    known: Nearest | None = None,
) -> Neighbours:
    """Return what lies near every reference that is not erased, in order of id; see `neighbours_of`.

    The join with its sides changed: references are streamed from disk and searched among the samples; with `known`, what
    that search would find, only means and spreads are worked out.
    """
    references = gallery.index.references()
    alive = np.zeros(references.rows_stored, np.bool_)
    alive[references.live_rows()] = True
    around, parts, start = _Around(samples, k, radii), list[Neighbours](), 0
    for tile in references.tiles(_SWAPPED_ROWS):
        photos = np.ascontiguousarray(tile.vectors[alive[tile.row_start : tile.row_start + len(tile.vectors)]])
        rows = slice(start, start + len(photos))
        parts.append(around.of(photos, None if known is None else (known[0][rows], known[1][rows])))
        start += len(photos)
    return concatenate(parts)


def neighbours_of(
    photos: NDArray[np.float32], samples: NDArray[np.float32], *, k: int, radii: Sequence[float] = ()
) -> Neighbours:
    """Return what lies near each photo among the samples: its `k` best, exactly, and how many within each radius.

    Args:
        photos: (n, dim) float32, unit rows.
        samples: (m, dim) float32, unit rows, m >= 1; all in memory.
        k: how many of the best, at least 1.
        radii: scores in (-1, 1]; counts are of float32 products, so a score within 1e-6 of a radius may fall either way.
    """
    around = _Around(samples, k, radii)
    starts = range(0, max(1, len(photos)), _SWAPPED_ROWS)
    return concatenate([around.of(np.ascontiguousarray(photos[start : start + _SWAPPED_ROWS])) for start in starts])


def nearest_among(references: References, rows: NDArray[np.int64], samples: NDArray[np.float32], *, k: int) -> Nearest:
    """Return the k best samples of some references: what `neighbours_of` says of them, without means and counts.

    Args:
        references: all of them.
        rows: (n,) int64 stored rows, ascending.
        samples: (m, dim) float32, unit rows; in memory.
        k: how many of the best.
    """
    around = _Around(samples, k, ())
    starts = range(0, max(1, len(rows)), _SWAPPED_ROWS)
    found = [around.nearest(references.gather(rows[start : start + _SWAPPED_ROWS])) for start in starts]
    return np.concatenate([score for score, _ in found]), np.concatenate([row for _, row in found])


class _Around:
    """Samples, made ready to say what lies near a photo."""

    def __init__(self, samples: NDArray[np.float32], k: int, radii: Sequence[float]) -> None:
        self._samples, self._k, self._radii = samples, k, np.asarray(radii, np.float64)
        self._engine = ExactEngine(References.from_memory(np.arange(len(samples)), VectorBatch(samples)))
        exact = samples.astype(np.float64)
        self._mean, self._moment = exact.mean(0), exact.T @ exact / len(exact)

    def of(self, photos: NDArray[np.float32], known: Nearest | None = None) -> Neighbours:
        score, row = known or self.nearest(photos)
        exact = photos.astype(np.float64)
        # Row by row, unlike a product of matrices: what is said of a photo does not depend on the tile it came in.
        mean = np.einsum("ij,j->i", exact, self._mean)
        # The mean square of a photo's scores is a quadratic form of the photo: no score need be kept.
        spread = np.einsum("ij,ij->i", exact @ self._moment, exact) - mean**2
        within = self._count(photos)
        return Neighbours(score, row, within, self._radii, mean, np.sqrt(np.maximum(spread, 0.0)), len(self._samples))

    def nearest(self, photos: NDArray[np.float32]) -> Nearest:
        n, m, k = len(photos), len(self._samples), self._k
        score, row = np.full((n, k), -1.0, np.float32), np.full((n, k), -1, np.int64)
        if n and m:
            found = self._engine.search(photos, k=min(k, m))
            score[:, : min(k, m)] = found.score.reshape(n, -1)
            row[:, : min(k, m)] = found.reference_id.reshape(n, -1)
        return score, row

    def _count(self, photos: NDArray[np.float32]) -> NDArray[np.int64]:
        counts = np.zeros((len(photos), len(self._radii)), np.int64)
        if len(self._radii):
            for start in range(0, len(self._samples), _TILE_ROWS):
                products = photos @ self._samples[start : start + _TILE_ROWS].T
                counts += np.stack([(products >= np.float32(r)).sum(1) for r in self._radii], axis=1)
        return counts


def count_pairs(
    vectors: NDArray[np.float32], identities: Sequence[str | None], *, seed: int
) -> tuple[ScoreCounts, ScoreCounts, int]:
    """Count the scores of all pairs of labelled vectors.

    Args:
        vectors: (n, d) float32, unit rows.
        identities: n labels; rows without one are left out.
        seed: draws `CALIBRATION_ROWS_MAX` rows when there are more.

    Returns:
        Counts of non-mated pairs, of mated pairs, and the number of identities.
    """
    labelled = np.array([i for i, name in enumerate(identities) if name is not None], np.int64)
    if len(labelled) > CALIBRATION_ROWS_MAX:
        labelled = np.sort(np.random.default_rng(seed).choice(labelled, CALIBRATION_ROWS_MAX, replace=False))
    names, codes = np.unique(np.array([identities[i] for i in labelled], dtype=np.object_), return_inverse=True)
    chosen = np.ascontiguousarray(vectors[labelled])
    non_mated, mated = ScoreCounts(), ScoreCounts()
    for start in range(0, len(chosen), _TILE_ROWS):
        left, left_codes = chosen[start : start + _TILE_ROWS], codes[start : start + _TILE_ROWS]
        for other in range(start, len(chosen), _TILE_ROWS):
            scores = left @ chosen[other : other + _TILE_ROWS].T
            same = left_codes[:, None] == codes[None, other : other + _TILE_ROWS]
            once = np.ones_like(same) if other > start else np.triu(np.ones_like(same), 1)
            non_mated.add(scores[once & ~same])
            mated.add(scores[once & same])
    return non_mated, mated, len(names)
