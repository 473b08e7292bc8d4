"""The compressed form: a turn of the axes, then one byte for each axis, and bounds that are proven.

The axes are the leading eigenvectors of the uncentred second moment XᵀX/n, because the score is an inner
product: a centred PCA drops the mean direction, which all scores share.  Directions that the data never
use are left out.  A random rotation of what is kept makes all components alike, so that one scale serves
them all.

Rows are compressed in blocks of `BLOCK_ROWS`.  A block carries three numbers, from which follows by how
much a compressed score of any of its rows may differ from the exact one: not an estimate, an inequality
(`score_error`).  A block of odd rows gets wide bounds and harms nobody but itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexes.errors import IndexesError
from indexes.vectors import Float32Array, product_margin

Int8Array = npt.NDArray[np.int8]

BLOCK_ROWS = 4096
"""Rows that share bounds: one tile of the search."""

BOUNDS = 3
"""Numbers of a block: scale, longest stand-in, largest residual."""

TRAIN_ROWS_MIN = 64
TRAIN_ROWS = 16_384
"""Rows that the axes are fitted on."""

ENERGY_DROPPED = 1e-4
"""Share of the second moment that may lie outside the kept axes: a residual of 0.01, which is what rounding to bytes
costs besides; where the spectrum has no tail, all axes are kept."""

_LEVELS = 127
_COLUMNS = 32
"""Columns come in whole numbers of these: what the processors' byte products work on at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Compressed rows.

    Args:
        codes: int8 (n, columns), each within -127..127; a memory map is welcome.
        bounds: float32 (blocks, 3), of every `BLOCK_ROWS` rows: scale; longest ‖scale · code‖; largest ‖x - x̂‖, where
            x̂ = scale · axes · code stands for the row x.
    """

    codes: Int8Array
    bounds: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Compressed queries.

    Args:
        codes: int8 (q, columns).
        scale: float64 (q,).
        rest: float64 (q,), ‖axesᵀ q - scale · code‖: what rounding took.
    """

    codes: Int8Array
    scale: npt.NDArray[np.float64]
    rest: npt.NDArray[np.float64]

    def __getitem__(self, some: slice) -> "Queries":
        """Return some of them."""
        return Queries(self.codes[some], self.scale[some], self.rest[some])


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """A fitted codec.

    Args:
        axes: float32 (d, columns).
        kept: how many directions of the data they span.
        seed: that it was fitted with.
    """

    axes: Float32Array
    kept: int
    seed: int

    @property
    def dim(self) -> int:
        """Number of components of an uncompressed vector."""
        return int(self.axes.shape[0])

    @property
    def code_bytes(self) -> int:
        """Bytes of one compressed vector."""
        return int(self.axes.shape[1])

    def encode(self, vectors: Float32Array) -> Codes:
        """Compress float32 (n, d), whose first row begins a block."""
        starts = range(0, vectors.shape[0], BLOCK_ROWS)
        blocks = [self._encode_block(vectors[start : start + BLOCK_ROWS]) for start in starts]
        codes = np.concatenate([np.empty((0, self.code_bytes), np.int8), *(codes for codes, _ in blocks)])
        return Codes(codes, np.array([bounds for _, bounds in blocks], np.float32).reshape(-1, BOUNDS))

    def encode_queries(self, queries: Float32Array) -> Queries:
        """Compress float32 (q, d); in float64, so that nothing but the rounding to bytes is lost."""
        turned = queries.astype(np.float64) @ self.axes.astype(np.float64)
        scale = np.maximum(np.abs(turned).max(axis=1), 1e-30) / _LEVELS
        codes = np.rint(turned / scale[:, None])
        rest = np.linalg.norm(turned - codes * scale[:, None], axis=1)
        return Queries(codes.astype(np.int8), scale, rest)

    def _encode_block(self, vectors: Float32Array) -> tuple[Int8Array, tuple[float, float, float]]:
        turned = vectors @ self.axes
        scale = np.float32(max(float(np.abs(turned).max()), 1e-30) / _LEVELS)
        codes = np.clip(np.rint(turned / scale), -_LEVELS, _LEVELS).astype(np.int8)
        stand_in = codes.astype(np.float32) * scale
        residual = np.linalg.norm(vectors - stand_in @ self.axes.T, axis=1)
        # What the float32 product above may be off by, in length: its margin in each component.
        slack = product_margin(self.code_bytes) * np.linalg.norm(self.axes)
        length = float(np.linalg.norm(stand_in, axis=1).max()) * (1 + 1e-5)
        return codes, (float(scale), length, float(residual.max()) + float(slack))


def score_error(rest: Any, length: Any, residual: Any) -> Any:
    """Return by how much compressed scores of a block may differ from exact ones, for each query: float64 (q,).

    `rest` is that of `Queries`, `length` and `residual` are bounds of a block; arrays or tensors, broadcast.

    With x̂ = A s c for a row x and ŷ = s_y c_y for the turned query Aᵀy:
    ⟨y, x⟩ - s s_y ⟨c_y, c⟩ = ⟨y, x - x̂⟩ + ⟨Aᵀy - ŷ, s c⟩, at most ‖y‖·‖x - x̂‖ + ‖Aᵀy - ŷ‖·‖s c‖ (Cauchy, Schwarz).
    ‖y‖ is within 1e-3 of 1.
    """
    return 1.001 * residual + rest * length


def fit_codec(sample: Float32Array, *, seed: int) -> Codec:
    """Fit a codec.

    Args:
        sample: float32 (n, d), a random sample of the rows to compress.
        seed: same sample and seed, same codec.

    Raises:
        IndexesError: fewer than 64 rows.
    """
    n = sample.shape[0]
    if n < TRAIN_ROWS_MIN:
        raise IndexesError(
            f"a codec needs at least {TRAIN_ROWS_MIN} rows to be fitted, got {n}. "
            "Build the index with codec='none' or 'auto'."
        )
    directions, needed = main_directions(sample)
    columns = -(-needed // _COLUMNS) * _COLUMNS
    kept = min(columns, directions.shape[1])  # columns that are there anyway carry what they can
    turn, triangle = np.linalg.qr(np.random.default_rng(seed).standard_normal((columns, columns)))
    turn = turn * np.sign(np.diagonal(triangle))  # a column's sign is the solver's whim
    return Codec((directions[:, :kept] @ turn[:kept]).astype(np.float32), kept, seed)


def main_directions(sample: Float32Array) -> tuple[npt.NDArray[np.float64], int]:
    """Return orthonormal directions (d, d), strongest first, and how many of them the data's spectrum needs."""
    wide = sample.astype(np.float64)
    values, vectors = np.linalg.eigh(wide.T @ wide / sample.shape[0])
    values, vectors = np.maximum(values[::-1], 1e-12), vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    tail = 1 - np.cumsum(values) / values.sum()
    return vectors, min(int(np.searchsorted(-tail, -ENERGY_DROPPED)) + 1, len(values))
