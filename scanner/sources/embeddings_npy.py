"""Embeddings in a `.npy` file, with ids in a file beside it.  Never unpickles, never reads all of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import IO, Any, Final

import numpy as np

from scanner.errors import SourceError
from scanner.sources.embedding_rows import ROWS_MAX, EmbeddingRows, unit_rows
from scanner.sources.ids_beside import find_ids, read_ids
from scanner.sources.location import Location
from scanner.sources.names import listing_hash

DIM_MAX: Final = 65_536
HEADER_BYTES_MAX: Final = 10_000

_TYPE: Final = re.compile(r"'descr': '([<>=|]?[a-zA-Z]\d{0,9})'")
_FLOAT: Final = re.compile(r"[<>=]f[248]")
_ORDER: Final = re.compile(r"'fortran_order': (True|False)")
_SHAPE: Final = re.compile(r"'shape': \(((?:\d{1,19}, ?){0,3}\d{0,19})\)")


class NpyEmbeddings:
    """The rows of one (n, d) array."""

    def __init__(self, location: Location, *, ids: Location | None) -> None:
        """Read the header and the ids.

        Raises:
            SourceError: no (n, d) array of floats, cut, or not as many ids as rows.
        """
        self.uri = location.uri
        self.fingerprint: str | None = None
        self._location = location
        with location.open() as file:
            (self._rows, self.dim), self._dtype = _read_header(file, self.uri)
            self._start = file.tell()
            self._size_bytes = file.seek(0, 2)
        wanted = self._start + self._rows * self.dim * self._dtype.itemsize
        if self._size_bytes < wanted:
            raise SourceError(f"{self.uri} is cut: {self._size_bytes} bytes of {wanted}.  Fetch it again.")
        self._ids_place = ids or find_ids(location)
        self._names: Any = read_ids(self._ids_place) if self._ids_place else None
        if self._names is not None and self._names.num_rows != self._rows:
            assert self._ids_place is not None
            raise SourceError(
                f"{self.uri} has {self._rows} rows, {self._ids_place.uri} names {self._names.num_rows}.  "
                "They do not belong together: name the right file of ids."
            )

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, rows, dim, bytes and hashes over samples of the vectors and the ids."""
        ids = self._ids_place.content_hash() if self._ids_place else ""
        return {
            "kind": "npy",
            "uri": self.uri,
            "entries": self._rows,
            "dim": self.dim,
            "bytes": self._size_bytes,
            "content": listing_hash([self._location.content_hash(), ids]),
        }

    def count(self) -> int:
        """Return how many rows there are."""
        return self._rows

    def batches(self, *, rows_max: int = ROWS_MAX, skip: int = 0) -> Iterator[EmbeddingRows]:
        """Yield blocks of exactly `rows_max` rows and a rest."""
        row_bytes = self.dim * self._dtype.itemsize
        with self._location.open() as file:
            file.seek(self._start + skip * row_bytes)
            for first in range(skip, self._rows, rows_max):
                rows = min(rows_max, self._rows - first)
                data = file.read(rows * row_bytes)
                if len(data) < rows * row_bytes:
                    raise SourceError(f"{self.uri} became shorter while it was read.  Leave it alone and run again.")
                yield unit_rows(
                    np.frombuffer(data, self._dtype).reshape(rows, self.dim),
                    uri=self.uri,
                    rows=np.arange(first, first + rows, dtype=np.int64),
                    names={} if self._names is None else self._names.slice(first, rows).to_pydict(),
                    bad={},
                )


def _read_header(file: IO[bytes], uri: str) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return shape and type of the array, leaving the file at its first number.

    Numpy evaluates the header as a Python literal, and warns about or stumbles over damaged ones; what is
    needed of it is three words.
    """
    head = file.read(12)
    wide = head[6:7] in {b"\2", b"\3"}
    length = int.from_bytes(head[8 : 12 if wide else 10], "little")
    text = (head[12 if wide else 10 :] + file.read(min(length, HEADER_BYTES_MAX))).decode("latin-1")[:length]
    found = [pattern.search(text) for pattern in (_TYPE, _ORDER, _SHAPE)]
    if not head.startswith(b"\x93NUMPY") or None in found or len(text) < length:
        raise SourceError(f"{uri} is no .npy file that numpy can read.  Write it with numpy.save.")
    kind, order, sizes = (match[1] for match in found if match)
    file.seek((12 if wide else 10) + length)
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    problem = ""
    if not _FLOAT.fullmatch(kind):
        problem = f"its numbers are {kind}, floats are needed"
    elif len(shape) != 2:  # noqa: PLR2004
        problem = f"its shape is {shape}, (rows, dim) is needed"
    elif order == "True" and math.prod(shape) > 1:
        problem = "its numbers stand column by column; write numpy.ascontiguousarray of it"
    elif not 0 < shape[1] <= DIM_MAX:
        problem = f"its vectors have {shape[1]} numbers, 1 to {DIM_MAX} are read"
    if problem:
        raise SourceError(f"{uri} holds no embeddings: {problem}.")
    return (shape[0], shape[1]), np.dtype(kind)
