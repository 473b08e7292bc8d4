"""The array of a sealed tensor file: decrypted where it is looked at, chunk by chunk, never as a whole.

It takes the place of a memory map.  A slice of it costs nothing and is still sealed; `astype`, `numpy.asarray` and
lists of rows give arrays.  Every pass decrypts again.
"""

from typing import Any, overload

import numpy as np
import numpy.typing as npt

from indexes.sealed import SealedReader


class SealedRows:
    """Rows of one width.

    Args:
        file: the opened file.
        offset: where its first row begins.
        dtype: of the components.
        shape: (rows, columns).
    """

    ndim = 2

    def __init__(self, file: SealedReader, offset: int, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
        self._file, self._offset = file, offset
        self.dtype, self.shape = dtype, shape

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.shape[0] * self._row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, rows: slice) -> "SealedRows": ...
    @overload
    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]: ...
    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> "SealedRows | npt.NDArray[Any]":
        """Return neighbouring rows, still sealed; or a copy of any rows, in the order asked."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step != 1:
                raise IndexError("only neighbouring rows can be sliced")
            return self._some(start, max(start, stop))
        wanted, back = np.unique(rows, return_inverse=True)
        out = np.empty((wanted.size, self.shape[1]), self.dtype)
        # Neighbours together: one chunk holds many rows.
        for run in np.split(np.arange(wanted.size), np.flatnonzero(np.diff(wanted) != 1) + 1):
            if run.size:
                first = int(wanted[run[0]])
                self._some(first, first + run.size).read_into(out[run[0] : run[0] + run.size])
        return out[back]

    def read_into(self, out: npt.NDArray[Any]) -> None:
        """Decrypt all rows into an array of the same shape and dtype, C-contiguous."""
        if out.nbytes:
            self._file.read_into(self._offset, out.reshape(-1).view(np.uint8).data)

    def astype(self, dtype: npt.DTypeLike, *, copy: bool = True) -> npt.NDArray[Any]:
        """Return all rows, decrypted, as an array of another dtype; they are always a copy."""
        del copy  # as numpy's own takes it
        out = np.empty(self.shape, self.dtype)
        self.read_into(out)
        return out.astype(dtype, copy=False)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: FBT001 - numpy's
        if copy is False:
            raise ValueError("sealed rows cannot be seen without a copy")
        return self.astype(dtype or self.dtype)

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self.dtype.itemsize

    def _some(self, start: int, stop: int) -> "SealedRows":
        return SealedRows(self._file, self._offset + start * self._row_bytes, self.dtype, (stop - start, self.shape[1]))
