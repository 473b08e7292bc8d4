"""Unit vectors, and the only checks of their shape, dtype and length.

`VectorBatch` refuses what is not a unit vector; it never normalises, for that is the embedder's work
and two places that do it hide each other's mistakes.

    batch = VectorBatch(vectors)          # raises VectorError and names the first bad rows
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from indexes.errors import VectorError

Float32Array: TypeAlias = npt.NDArray[np.float32]
"""Any array of float32; the docstring that takes one says its shape."""

NORM_TOLERANCE = 1e-3
"""How far a row's L2 norm may be from 1. Half-precision storage of a unit row moves it by 2e-4."""

MATRIX_NDIM = 2
_ROWS_NAMED = 5
_CHECK_ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class VectorBatch:
    """n unit vectors, one a row, checked when made.

    Args:
        vectors: float32 (n, d), C-contiguous, every row finite and of L2 norm 1 within 1e-3;
            n may be 0, d is at least 1. The array is kept, not copied.

    Raises:
        VectorError: anything else; names the first bad rows, never their values.
    """

    vectors: Float32Array

    def __post_init__(self) -> None:
        check_layout(self.vectors)
        check_unit_rows(self.vectors)

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return int(self.vectors.shape[0])

    @property
    def dim(self) -> int:
        """Number of components of each vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return self.rows

    def take(self, rows: npt.NDArray[np.int64]) -> "VectorBatch":
        """Return the named rows, in the order asked."""
        return VectorBatch(np.ascontiguousarray(self.vectors[rows]))

    def batches(self, rows_max: int) -> Iterator["VectorBatch"]:
        """Yield the rows in order, `rows_max` at a time, without copying."""
        for start in range(0, self.rows, rows_max):
            yield VectorBatch(self.vectors[start : start + rows_max])

    @classmethod
    def concat(cls, batches: Sequence["VectorBatch"]) -> "VectorBatch":
        """Return one batch of all rows, in order; there must be at least one batch."""
        return cls(np.concatenate([batch.vectors for batch in batches]))


def check_layout(vectors: Any) -> None:
    """Raise VectorError unless `vectors` is a C-contiguous float32 array of shape (n, d), d >= 1."""
    if not isinstance(vectors, np.ndarray):
        raise VectorError(
            f"vectors must be a numpy array, got {type(vectors).__name__}. "
            "Convert it first, for instance with numpy.asarray(vectors, dtype=numpy.float32)."
        )
    if vectors.dtype != np.float32:
        raise VectorError(
            f"vectors must be float32, got {vectors.dtype}. "
            "Convert them where they are made, with .astype(numpy.float32)."
        )
    if vectors.ndim != MATRIX_NDIM or vectors.shape[1] < 1:
        raise VectorError(
            f"vectors must have the shape (rows, components), got {vectors.shape}. A single vector is vectors[None, :]."
        )
    if not vectors.flags.c_contiguous:
        raise VectorError(
            f"vectors of shape {vectors.shape} must be C-contiguous, their strides are "
            f"{vectors.strides}. Pass numpy.ascontiguousarray(vectors)."
        )


def check_unit_rows(vectors: npt.NDArray[Any], *, what: str = "vectors") -> None:
    """Raise VectorError unless every row of (n, d) is finite and has L2 norm 1 within 1e-3; it begins with `what`.

    Works block by block, so a memory-mapped array of any size is checked in bounded memory.
    """
    for start in range(0, vectors.shape[0], _CHECK_ROWS):
        block = vectors[start : start + _CHECK_ROWS].astype(np.float32, copy=False)
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        # Written as a negation so that NaN, for which every comparison is false, counts as bad.
        bad = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
        if bad.size:
            raise VectorError(f"{what} {_describe_bad_rows(bad, norms, start)}")


def _describe_bad_rows(bad: npt.NDArray[np.int64], norms: Float32Array, start: int) -> str:
    named = ", ".join(f"row {start + row} (norm {norms[row]:.6g})" for row in bad[:_ROWS_NAMED])
    more = f" and {bad.size - _ROWS_NAMED} more close by" if bad.size > _ROWS_NAMED else ""
    return (
        f"must be finite with L2 norm 1 within {NORM_TOLERANCE:g}: {named}{more}. "
        "Normalise them where they are made; this library never does."
    )


def product_margin(dim: int) -> float:
    """Return by how much a float32 product of two unit vectors may differ from the exact one, in any order of summing.

    The bound is d·u·|x|·|y| with u = 2^-24 and norms within 1e-3 of 1; four more roundings cover the final rounding of
    the score and of the threshold to float32. At 256 components it is 1.6e-5.
    """
    return (dim + 4) * 2.0**-24 * 1.003
