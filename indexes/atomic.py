"""Files that are complete or absent: temporary file, fsync, rename, fsync of the folder.

It owns how bytes become a file under a final name, and nothing about what they mean.

    with atomic_path(folder / "hits.parquet") as temporary:
        pq.write_table(table, temporary)

What is written so can be read by its owner alone (mode 0600), from its first byte on: vectors are biometric data.
The temporary file lies in the same folder, is named `.NAME.PID.tmp`, and is removed when the block
raises; a killed process leaves it behind, and no reader looks at such names.

It needs the standard library alone, and is the one part of this package that the scanner's rooms use which run
where nothing but torch is installed.
"""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexes.errors import DiskFullError

TEMPORARY_SUFFIX = ".tmp"
PRIVATE_FOLDER = 0o700
"""Mode of folders that hold vectors."""
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Lend a temporary path that becomes `path` when the block ends well.

    Args:
        path: the final name; its folder must exist. An existing file is replaced in one step.

    Yields:
        A path in the same folder, of an empty file that only its owner can read, for the block to write and close.

    Raises:
        DiskFullError: no room. `path` is as it was and the temporary file is gone.
        OSError: any other failure of the system, with the same two promises.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with disk_full_explained(path):
            make_private_file(temporary)
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_private_file(path: Path) -> None:
    """Make an empty file that only its owner can read; one that is there loses its content."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


@contextmanager
def disk_full_explained(path: Path) -> Iterator[None]:
    """Turn "no space left" within the block into a DiskFullError that names `path`."""
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in _FULL_ERRNOS:
            raise
        message = (
            f"no room left to write '{path}'. "
            "Nothing that was there before has changed. Free some space and run the same command again."
        )
        raise DiskFullError(error.errno, message) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` under `path`, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8 under `path`, completely or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object, completely or not at all: sorted keys, two spaces, a newline at the end.

    Equal documents give equal bytes. NaN and infinities raise ValueError, for they are not JSON.
    """
    write_bytes(path, encode_json(document))


def encode_json(document: Mapping[str, Any]) -> bytes:
    """Return the bytes that `write_json` writes."""
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries (new names, renames, removals) to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
