"""One array in one safetensors file, written as a stream and read as a memory map; where a key is set, sealed.

The header has a fixed size, so rows need not be counted before they are written, and the array
begins on a page boundary. Any safetensors reader opens the file.

    with TensorWriter(path, "vectors", np.dtype("float32"), 256) as writer:
        writer.write(block)
    array = open_tensor(path, "vectors")
"""

import json
import os
import struct
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt

from indexes.atomic import disk_full_explained, sync_file
from indexes.errors import FormatError
from indexes.sealed import SealedReader, create, open_file
from indexes.sealed_rows import SealedRows

DATA_START: Final = 4096
_DTYPE_NAMES: Final = {"F32": np.float32, "F16": np.float16, "I8": np.int8}
_HEADER_BYTES_MAX: Final = 1 << 20
_LENGTH_BYTES: Final = 8


class TensorWriter:
    """Write a two-dimensional array block by block.

    Not atomic by itself: it writes under the final name into a folder that no manifest names yet.

    Args:
        path: the file to make.
        name: the tensor's name.
        dtype: float32, float16 or int8.
        columns: width of every block.

    `rows` counts what was written so far.
    """

    def __init__(self, path: Path, name: str, dtype: np.dtype[Any], columns: int) -> None:
        self._path = path
        self._name = name
        self._dtype = dtype
        self._columns = columns
        self._file = create(path)
        self._file.write(b"\0" * DATA_START)
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._file.close()
            return
        with disk_full_explained(self._path):
            header = self._header()
            self._file.seek(0)
            self._file.write(header)
            self._file.close()
            sync_file(self._path)

    def write(self, block: npt.NDArray[Any]) -> None:
        """Append rows of shape (b, columns), converted to the file's dtype."""
        content = np.ascontiguousarray(block, dtype=self._dtype)
        data = content.tobytes()
        with disk_full_explained(self._path):
            self._file.write(data)
        self.rows += content.shape[0]

    def _header(self) -> bytes:
        names = {np.dtype(dtype): name for name, dtype in _DTYPE_NAMES.items()}
        end = self.rows * self._columns * self._dtype.itemsize
        entry = {
            "dtype": names[self._dtype],
            "shape": [self.rows, self._columns],
            "data_offsets": [0, end],
        }
        text = json.dumps({self._name: entry}, separators=(",", ":")).encode()
        return struct.pack("<Q", DATA_START - 8) + text.ljust(DATA_START - 8)


def open_tensor(path: Path, name: str) -> Any:
    """Map a file's one tensor, read-only.

    Returns:
        float32, float16 or int8 (rows, columns), C-contiguous: a memory map, or `SealedRows` of a sealed file.

    Raises:
        FormatError: missing, cut short, or a header that does not describe the file.
        SealError: sealed with a key that is not at hand.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        raise FormatError(f"'{path}' is missing. {_RESTORE}") from None
    with ExitStack() as stack:
        stack.enter_context(file)
        offset, dtype, shape = _read_header(file, path, name)
        if not shape[0]:
            return np.empty(shape, dtype)
        if isinstance(file, SealedReader):
            stack.pop_all()  # the rows need it as long as they live
            return SealedRows(file, offset, dtype, shape)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def _read_header(file: IO[bytes] | SealedReader, path: Path, name: str) -> tuple[int, np.dtype[Any], tuple[int, int]]:
    """Return where the array begins, its dtype and its shape."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        lead = file.read(_LENGTH_BYTES)
        length = struct.unpack("<Q", lead)[0] if len(lead) == _LENGTH_BYTES else _HEADER_BYTES_MAX + 1
        text = file.read(length) if length <= min(_HEADER_BYTES_MAX, size) else b""
        entry = json.loads(text)[name]
        dtype = np.dtype(_DTYPE_NAMES[entry["dtype"]])
        rows, columns = (int(value) for value in entry["shape"])
        begin, end = (int(value) for value in entry["data_offsets"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"'{path}' has no sound safetensors header for '{name}'. {_RESTORE}") from error
    expected = rows * columns * dtype.itemsize
    held = size - 8 - length
    if rows < 0 or columns < 1 or begin != 0 or end != expected or held != expected:
        raise FormatError(
            f"'{path}' should hold {rows} x {columns} {dtype}, {expected} bytes, and holds {held}. {_RESTORE}"
        )
    return 8 + length, dtype, (rows, columns)


_RESTORE = "The index is damaged: restore it from a copy or build it again."
