"""The compressed form: a turn of the axes, then four bits for each pair of them.

The axes are the eigenvectors of the uncentred second moment XᵀX/n, because the score is an inner
product: a centred PCA drops the mean direction, which all scores share. Strong axes are paired with
weak ones so that the products of the eigenvalues are alike, and k-means spends the four bits of a
pair where its variance is (the closed form of optimised product quantisation: Ge, He, Ke, Sun 2013,
§ 3.2). On face embeddings this leaves a quarter less error than a random rotation at equal size.

The error of the compressed score is measured on held-out rows; the engine's completeness rests on it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexes import faiss_lib
from indexes.errors import IndexesError
from indexes.vectors import Float32Array

TRAIN_ROWS_MIN = 64
TRAIN_ROWS = 12_288
"""Rows that the codec is fitted on; a third more are held out to measure its error."""

ENERGY_DROPPED = 1e-4
"""Share of the second moment that may lie outside the kept axes. Its effect on a score
is a hundredth of the quantiser's own error; where the spectrum has no tail, all axes are kept."""

SIGMAS = 4.0
"""How many standard deviations below the expected compressed score a pair is still looked at. A
normal error exceeds it once in 30 000 pairs that score exactly the threshold; one deviation above
the threshold once in 3 million."""

_PLANTED_SCORES = (-1.0, -0.5, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_REST_MIN = 1e-3
"""Two rows closer than this have no direction between them to plant a pair along."""

_TABLES_SD = 2e-3
"""Error of faiss's 8-bit look-up tables, which decoding does not show: measured 1.5e-3 standard deviation and
9.5e-3 at most on 200 queries x 300 hits among 50 000 face-like rows."""


@dataclass(frozen=True, slots=True)
class CodecError:
    """How compressed scores differ from exact ones, measured level by level.

    Args:
        score: levels of the exact score, ascending from -1 to 1.
        mean: mean compressed score of pairs at each level; below the level, for a quantiser shrinks
            what it cannot tell.
        sd: standard deviation about that mean.
        worst: largest shortfall below that mean.
        pairs: number of pairs measured at each level.
    """

    score: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    worst: tuple[float, ...]
    pairs: int

    def floor(self, score: npt.NDArray[np.floating[Any]]) -> Float32Array:
        """Return the compressed score that pairs of exact score >= `score` do not fall below."""
        # The two errors are independent, so they add up as squares.
        room = np.hypot(np.maximum(SIGMAS * np.asarray(self.sd), self.worst), SIGMAS * _TABLES_SD)
        levels = np.asarray(self.mean) - room
        # A pair above the threshold must pass as well: no level's floor above a higher level's.
        levels = np.minimum.accumulate(levels[::-1])[::-1]
        floors: Float32Array = np.interp(score, self.score, levels).astype(np.float32)
        return floors

    def widest(self, other: "CodecError") -> "CodecError":
        """Return an error that covers both: the lower mean and the larger spread of each level."""
        return CodecError(
            score=self.score,
            mean=tuple(map(min, self.mean, other.mean)),
            sd=tuple(map(max, self.sd, other.sd)),
            worst=tuple(map(max, self.worst, other.worst)),
            pairs=self.pairs + other.pairs,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "CodecError":
        """Read what `as_json` returned."""
        columns = ("score", "mean", "sd", "worst")
        levels = {name: tuple(float(value) for value in document[name]) for name in columns}
        return cls(**levels, pairs=int(document["pairs"]))


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """A fitted codec.

    Args:
        axes: float32 (d, 2m), kept axes in their pairs; zero columns fill up the last pairs.
        centroids: float32 (m, 16, 2).
        error: measured on held-out rows.
        kept: how many axes are not zero.
        seed: that the codec was fitted with.
        faiss_version: that fitted it.
    """

    axes: Float32Array
    centroids: Float32Array
    error: CodecError
    kept: int
    seed: int
    faiss_version: str

    @property
    def dim(self) -> int:
        """Number of components of an uncompressed vector."""
        return int(self.axes.shape[0])

    @property
    def code_bytes(self) -> int:
        """Bytes of one compressed vector."""
        return int(self.axes.shape[1]) // 4

    def turn(self, vectors: Float32Array) -> Float32Array:
        """Return vectors along the kept axes: (n, d) -> float32 (n, 2m)."""
        turned: Float32Array = vectors @ self.axes
        return turned

    def encode(self, vectors: Float32Array) -> npt.NDArray[np.uint8]:
        """Compress: float32 (n, d) -> uint8 (n, code_bytes)."""
        return faiss_lib.encode(self.centroids, self.turn(vectors))

    def measure(self, vectors: Float32Array, *, seed: int) -> CodecError:
        """Measure the error on some rows: float32 (n, d), n >= 2, best not trained on."""
        return measure_error(self.axes, self.centroids, vectors, seed=seed)


def fit_codec(sample: Float32Array, *, seed: int) -> Codec:
    """Fit a codec.

    Args:
        sample: float32 (n, d), a random sample of the rows to compress; a quarter of them is held
            out to measure the error, unless there are fewer than 256.
        seed: same sample and seed, same codec.

    Raises:
        IndexesError: fewer than 64 rows.
    """
    n, _ = sample.shape
    if n < TRAIN_ROWS_MIN:
        raise IndexesError(
            f"a codec needs at least {TRAIN_ROWS_MIN} rows to be fitted, got {n}. "
            "Build the index with codec='none' or 'auto'."
        )
    order = np.random.default_rng(seed).permutation(n)
    cut = n if n < 4 * TRAIN_ROWS_MIN else n - n // 4
    train, held_out = sample[np.sort(order[:cut])], sample[np.sort(order[cut:])]
    axes, kept = pair_axes(train)
    centroids = faiss_lib.train_centroids(train @ axes, seed=seed)
    measured = held_out if held_out.shape[0] else train
    error = measure_error(axes, centroids, measured, seed=seed)
    return Codec(axes, centroids, error, kept, seed, faiss_lib.faiss_version())


def pair_axes(sample: Float32Array) -> tuple[Float32Array, int]:
    """Return (axes float32 (d, 2m), number kept): as many as the spectrum needs, m even."""
    n, d = sample.shape
    wide = sample.astype(np.float64)
    values, vectors = np.linalg.eigh(wide.T @ wide / n)
    values, vectors = np.maximum(values[::-1], 1e-12), vectors[:, ::-1]
    # A column's sign is the solver's whim; fix it, so that equal data give equal bytes.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(d)])
    tail = 1 - np.cumsum(values) / values.sum()
    kept = int(np.searchsorted(-tail, -ENERGY_DROPPED)) + 1
    columns = -(-kept // 4) * 4
    kept = min(columns, d)
    axes = np.zeros((d, columns))
    # Strongest with weakest, and so on inwards.
    pairs = columns // 2
    for place in range(kept):
        pair = place if place < pairs else columns - 1 - place
        axes[:, 2 * pair + (place >= pairs)] = vectors[:, place]
    return axes.astype(np.float32), kept


def measure_error(axes: Float32Array, centroids: Float32Array, vectors: Float32Array, *, seed: int) -> CodecError:
    """Measure compressed against exact scores on pairs planted at known scores.

    Each row is paired with s times itself plus the rest of another row, so that the pair's exact
    score is s and its noise is like the data's. High-scoring pairs are what counts, and a sample
    of strangers' embeddings holds too few of its own.
    """
    n, _ = vectors.shape
    stand_for = faiss_lib.decode(centroids, faiss_lib.encode(centroids, vectors @ axes))
    back = stand_for @ axes.T
    others = np.roll(vectors[np.random.default_rng(seed).permutation(n)], 1, axis=0)
    rest = others - np.einsum("ij,ij->i", others, vectors)[:, None] * vectors
    length = np.linalg.norm(rest, axis=1)
    usable = length > _REST_MIN
    rest[usable] /= length[usable, None]
    along = np.einsum("ij,ij->i", vectors, back)[usable]
    across = np.einsum("ij,ij->i", rest, back)[usable]
    if not along.size:
        worst = (2.0,) * len(_PLANTED_SCORES)
        return CodecError(_PLANTED_SCORES, _PLANTED_SCORES, worst, worst, 0)
    levels = [s * along + np.sqrt(1 - s * s) * across for s in _PLANTED_SCORES]
    return CodecError(
        score=_PLANTED_SCORES,
        mean=tuple(float(scores.mean()) for scores in levels),
        sd=tuple(float(scores.std()) for scores in levels),
        worst=tuple(float(scores.mean() - scores.min()) for scores in levels),
        pairs=int(along.size),
    )
