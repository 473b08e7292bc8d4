"""One writer at a time: an advisory lock on a file in the index folder.

The system releases it when the process ends, however it ends. Readers take no lock: they see the
manifest of the moment they opened.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexes.errors import LockedError

LOCK_NAME = "lock"


@contextmanager
def write_lock(folder: Path, name: str = LOCK_NAME) -> Iterator[None]:
    """Hold the folder's write lock, a file of that name, for the block.

    Raises:
        LockedError: another process holds it; names the process.
    """
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
            raise LockedError(f"'{folder}' is being written by process {holder}. Wait until it has finished.") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
