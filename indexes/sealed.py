"""Files that are sealed where the environment has a key, and plain where it has none.

What is inside a seal is byte for byte what would have been written without a key.  Hashes in manifests are of that; the
bytes outside differ with every writing.  Only the standard library is needed until there is something to encrypt.

    with create(path) as file:
        file.write(content)
    with open_file(path) as file:    # sealed or plain
        content = file.read()
"""

import io
import os
import threading
from pathlib import Path
from typing import IO, Any, cast

from indexes.atomic import make_private_file
from indexes.keys import Key, current_keys
from indexes.sealed_stream import MAGIC, SealedReader, SealedWriter, key_id_of

__all__ = [
    "SealedReader",
    "SealedWriter",
    "create",
    "is_sealed",
    "key_id_of",
    "open_file",
    "parquet_source",
    "unsealed",
]


def create(path: Path) -> io.BufferedWriter | SealedWriter:
    """Open a new file for writing: sealed with the first key of the environment, plain where there is none."""
    make_private_file(path)
    keys = current_keys()
    return SealedWriter(path, keys[0]) if keys else path.open("wb")


def open_file(path: Path, keys: tuple[Key, ...] | None = None) -> io.BufferedReader | SealedReader:
    """Open a file for reading, sealed or plain.

    Args:
        path: the file.
        keys: to open it with; None for those of the environment.

    Raises:
        SealError: sealed with a key that is not at hand; names the key's id.
        FormatError: sealed, and damaged or cut off.
        OSError: the system's own.
    """
    file = path.open("rb")
    try:
        if file.read(len(MAGIC)) != MAGIC:
            file.seek(0)
            return file
        descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
        return SealedReader(
            lambda offset, count: os.pread(descriptor, count, offset),
            size,
            name=str(path),
            keys=current_keys() if keys is None else keys,
            on_close=file.close,
        )
    except BaseException:
        file.close()
        raise


def parquet_source(path: Path) -> Any:
    """Return what pyarrow reads a Parquet file from: the path of a plain one, an opened sealed one."""
    return open_file(path) if is_sealed(path) else path


def unsealed(file: IO[bytes], name: str) -> IO[bytes]:
    """Return an open file as it is, or, where it is sealed and can be moved in, the file that is in it."""
    if not file.seekable():
        return file
    start = file.read(len(MAGIC))
    file.seek(0)
    if start != MAGIC:
        return file
    lock = threading.Lock()

    def read_at(offset: int, count: int) -> bytes:
        with lock:
            file.seek(offset)
            return file.read(count)

    size = file.seek(0, os.SEEK_END)
    return cast("IO[bytes]", SealedReader(read_at, size, name=name, keys=current_keys(), on_close=file.close))


def is_sealed(path: Path) -> bool:
    """Tell whether a file is sealed; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
