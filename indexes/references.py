"""References: the searchable rows that an engine works on.

One or many parts, in memory or memory-mapped, float32 or float16, seen as one list of rows. It owns
which row is where, which id it carries and whether it is alive. It scores nothing.

    references = References.from_memory(ids, batch)
    for tile in references.tiles(8192): ...
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from indexes.codec import BLOCK_ROWS, Codes, Int8Array
from indexes.errors import MismatchError, VectorError
from indexes.vectors import MATRIX_NDIM, Float32Array, VectorBatch


class Tile(NamedTuple):
    """Some neighbouring rows.

    Args:
        row_start: row of `references` that the first row of the tile is.
        vectors: float32 (t, d), C-contiguous; a view where the part is float32.
        dead: rows of the tile, ascending, that have been removed.
    """

    row_start: int
    vectors: Float32Array
    dead: npt.NDArray[np.int64]


class CodeTile(NamedTuple):
    """One block of compressed rows.

    Args:
        row_start: row of `references` that the first row of the tile is.
        codes: int8 (t, columns), a view.
        bounds: float32 (3,), see `Codes`.
        vectors: float32 or float16 (t, d), what the codes were made of; a view, not to be touched without need.
        dead: rows of the tile, ascending, that have been removed.
    """

    row_start: int
    codes: Int8Array
    bounds: npt.NDArray[np.float32]
    vectors: npt.NDArray[Any]
    dead: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One stretch of references.

    Args:
        vectors: float32 or float16 (n, d), C-contiguous, unit rows; a memory map or `SealedRows` is welcome.
        ids: int64 (n,), unique.
        alive: bool (n,), False for removed rows; None where nothing was removed.
        codes: the compressed form of the rows, dead ones included; or None.
    """

    vectors: npt.NDArray[Any]
    ids: npt.NDArray[np.int64]
    alive: npt.NDArray[np.bool_] | None = None
    codes: Codes | None = None

    def __post_init__(self) -> None:
        if self.vectors.ndim != MATRIX_NDIM or self.vectors.dtype not in (np.float32, np.float16):
            raise VectorError(
                f"a part's vectors must be float32 or float16 of shape (rows, components), "
                f"got {self.vectors.dtype} of shape {self.vectors.shape}."
            )
        rows = self.vectors.shape[0]
        codes = None if self.codes is None else self.codes.codes
        lengths = {"ids": self.ids, "alive": self.alive, "codes": codes}
        for name, column in lengths.items():
            if column is not None and column.shape[0] != rows:
                raise MismatchError(f"a part has {rows} vectors but {column.shape[0]} {name}; they must be parallel.")


class References:
    """Rows of several parts as one list; row numbers run on from part to part.

    Args:
        parts: in order; equal dimension. Dead rows keep their row number.
        dim: number of components; needed only where there are no parts.

    Raises:
        MismatchError: parts of different dimension.
    """

    def __init__(self, parts: Sequence[Part], *, dim: int | None = None) -> None:
        dims = {part.vectors.shape[1] for part in parts} | ({dim} if dim is not None else set())
        if len(dims) != 1:
            raise MismatchError(
                f"references must share one dimension, got {sorted(dims) or 'none'}. "
                "Pass dim= where there are no parts."
            )
        self.parts = tuple(parts)
        self.dim: int = int(dims.pop())
        self._starts = np.cumsum([0, *(part.vectors.shape[0] for part in self.parts)])
        self.ids: npt.NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *(part.ids for part in self.parts)])
        self.alive: npt.NDArray[np.bool_] | None = self._join_alive()

    @classmethod
    def from_memory(cls, ids: npt.NDArray[np.int64], batch: VectorBatch) -> "References":
        """Make references of vectors in memory.

        Args:
            ids: int64 (n,), unique, in any order.
            batch: n unit vectors.
        """
        return cls([Part(batch.vectors, np.asarray(ids, dtype=np.int64))])

    @property
    def rows_stored(self) -> int:
        """Number of rows, dead ones included; row numbers are below it."""
        return int(self._starts[-1])

    @property
    def rows(self) -> int:
        """Number of rows that a search can find."""
        return self.rows_stored if self.alive is None else int(np.count_nonzero(self.alive))

    @property
    def vector_bytes(self) -> int:
        """Bytes of all stored vectors, wherever they lie."""
        return sum(part.vectors.nbytes for part in self.parts)

    @property
    def has_codes(self) -> bool:
        """Whether every part carries its compressed form."""
        return bool(self.parts) and all(part.codes is not None for part in self.parts)

    def live_rows(self) -> npt.NDArray[np.int64]:
        """Return the numbers of the rows that a search can find, ascending: int64 (rows,)."""
        if self.alive is None:
            return np.arange(self.rows_stored)
        return np.flatnonzero(self.alive)

    def tiles(self, rows_max: int) -> Iterator[Tile]:
        """Yield all rows in order, at most `rows_max` together, none across two parts.

        A float16 part costs one float32 copy of a tile; a float32 part costs nothing but the pages
        that the caller touches.
        """
        for part, start in zip(self.parts, self._starts, strict=False):
            for first in range(0, part.vectors.shape[0], rows_max):
                last = first + rows_max
                vectors = part.vectors[first:last].astype(np.float32, copy=False)
                dead = np.empty(0, np.int64)
                if part.alive is not None:
                    dead = np.flatnonzero(~part.alive[first:last])
                yield Tile(int(start) + first, vectors, dead)

    def code_tiles(self) -> Iterator[CodeTile]:
        """Yield the blocks of all parts in order; only where `has_codes`."""
        for part, start in zip(self.parts, self._starts, strict=False):
            assert part.codes is not None
            for number, first in enumerate(range(0, part.vectors.shape[0], BLOCK_ROWS)):
                block = slice(first, first + BLOCK_ROWS)
                dead = np.empty(0, np.int64) if part.alive is None else np.flatnonzero(~part.alive[block])
                codes, bounds = part.codes.codes[block], part.codes.bounds[number]
                yield CodeTile(int(start) + first, codes, bounds, part.vectors[block], dead)

    def gather(self, rows: npt.NDArray[np.int64]) -> Float32Array:
        """Copy some rows.

        Args:
            rows: int64 (m,), any order, repeats allowed, each below `rows_stored`.

        Returns:
            float32 (m, d), row i is the vector of rows[i].
        """
        if len(self.parts) == 1:
            return self.parts[0].vectors[rows].astype(np.float32, copy=False)
        out = np.empty((rows.shape[0], self.dim), np.float32)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            out[mine] = self.parts[number].vectors[rows[mine] - self._starts[number]]
        return out

    def later(self, row: int) -> "References":
        """Return the rows from a stored row on, and fewer than `BLOCK_ROWS` before it; views, no copies.

        Compressed rows cannot be cut within a block: its bounds are of the whole.
        """
        parts = []
        for part, start in zip(self.parts, self._starts, strict=False):
            skip = max(0, row - int(start)) // BLOCK_ROWS * BLOCK_ROWS
            if row < start + part.vectors.shape[0]:
                codes = part.codes and Codes(part.codes.codes[skip:], part.codes.bounds[skip // BLOCK_ROWS :])
                alive = None if part.alive is None else part.alive[skip:]
                parts.append(Part(part.vectors[skip:], part.ids[skip:], alive, codes))
        return References(parts, dim=self.dim)

    def _join_alive(self) -> npt.NDArray[np.bool_] | None:
        if all(part.alive is None for part in self.parts):
            return None
        masks = [np.ones(part.vectors.shape[0], np.bool_) if part.alive is None else part.alive for part in self.parts]
        return np.concatenate(masks)
