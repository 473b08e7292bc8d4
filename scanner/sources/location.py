"""Places that a user can name: local paths and every URL that fsspec knows.

The one module that imports fsspec.  Two promises: what it hands on as `uri` holds no credentials
(neither `user:password@` nor a signed query), and neither does any error, since the errors of
network libraries are never quoted, only named by their class.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import urlsplit

from indexes.errors import IndexesError
from indexes.sealed import unsealed
from scanner.errors import SourceEmpty, SourceError, SourceStopped
from scanner.sources.generated import GENERATED
from scanner.sources.missing import missing_message
from scanner.sources.names import text_of

if TYPE_CHECKING:
    from types import TracebackType

WINDOW_BYTES: Final = 64 << 10
WINDOWS: Final = 16
"""A file of up to WINDOWS * WINDOW_BYTES is hashed whole, a larger one at evenly spaced places."""


@dataclass(frozen=True, slots=True)
class Location:
    """One place: `uri` for people, `path` for its file system."""

    uri: str
    path: str
    is_local: bool
    # Holds credentials.
    file_system: Any = field(repr=False, compare=False)

    def open(self) -> IO[bytes]:
        """Open the file for reading, a sealed table or tar as what is in it; whatever goes wrong, then or later, is a `SourceError`."""
        try:
            file = open(self.path, "rb") if self.is_local else self.file_system.open(self.path, "rb")  # noqa: PTH123, SIM115 - the guard closes it
        except Exception as error:  # noqa: BLE001 - every network library has errors of its own
            raise stopped(self.uri, error) from None
        guarded = cast("IO[bytes]", GuardedFile(file, self.uri))
        try:
            return unsealed(guarded, self.uri) if self.path.endswith((".parquet", ".tar")) else guarded
        except IndexesError as error:
            guarded.close()
            raise SourceError(str(error)) from None

    def info(self) -> dict[str, Any]:
        """Return fsspec's `type` ("file", "directory", ...), `size` and whatever else there is."""
        try:
            return dict(self.file_system.info(self.path))
        except FileNotFoundError:
            raise SourceEmpty(missing_message(self.uri, self.path, self.file_system)) from None
        except Exception as error:  # noqa: BLE001 - every network library has errors of its own
            raise stopped(self.uri, error) from None

    def exists(self) -> bool:
        """Tell whether there is something; raises where that cannot be found out."""
        try:
            self.file_system.info(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except Exception as error:  # noqa: BLE001 - every network library has errors of its own
            raise stopped(self.uri, error) from None
        return True

    def content_hash(self) -> str:
        """Return what tells this file's content from another cheaply, the same on every machine.

        A store's own checksum if it has one; else a hash of the size and of WINDOWS windows.
        """
        info = self.info()
        for name in ("ETag", "etag", "md5Hash"):
            if info.get(name):
                return str(info[name]).strip('"')
        size = info.get("size")
        with self.open() as file:
            if size is not None and file.seekable():
                size = file.seek(0, os.SEEK_END)  # of what is in it, where it is sealed
                file.seek(0)
            digest = hashlib.sha256(f"{size}\n".encode())
            if size is None or not file.seekable():
                digest.update(file.read(WINDOW_BYTES))
            elif size <= WINDOWS * WINDOW_BYTES:
                digest.update(file.read(size))
            else:
                for window in range(WINDOWS):
                    file.seek((size - WINDOW_BYTES) * window // (WINDOWS - 1))
                    digest.update(file.read(WINDOW_BYTES))
        return digest.hexdigest()[:32]

    def child(self, name: str) -> Location:
        """Return the place `name` inside this one, whether or not there is anything."""
        return Location(f"{self.uri}/{name}", f"{self.path.rstrip('/')}/{name}", self.is_local, self.file_system)

    def beside(self, name: str) -> Location:
        """Return the place `name` in the folder that holds this one."""
        uri, _, _ = self.uri.rpartition("/")
        path, _, _ = self.path.rpartition("/")
        return Location(f"{uri}/{name}" if uri else name, f"{path}/{name}", self.is_local, self.file_system)


class GuardedFile:
    """A file whose failures are `SourceError`s: a broken line is not the end of an archive."""

    def __init__(self, file: Any, uri: str) -> None:
        self._file = file
        self._uri = uri

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        try:
            return cast("bytes", self._file.read(size))
        except Exception as error:  # noqa: BLE001 - every network library has errors of its own
            raise stopped(self._uri, error) from None

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, and return the new place."""
        if offset < 0 and not whence:
            # The system calls this an error of the file; it is one of whoever read the offset in it.
            raise ValueError(f"{offset} is before the beginning")
        return cast("int", self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place."""
        return cast("int", self._file.tell())

    def seekable(self) -> bool:
        """Tell whether `seek` works."""
        return bool(self._file.seekable())

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return False."""
        return False

    @property
    def closed(self) -> bool:
        """Tell whether the file is closed."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def flush(self) -> None:
        """Do nothing; pyarrow asks for it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_at_most(file: IO[bytes], bytes_max: int, *, step_bytes: int = 1 << 20) -> bytes:
    """Return all of the file, or its first `bytes_max` bytes.

    In steps, since Python allocates what it is asked for before it looks how much there is.
    """
    parts = []
    while bytes_max and (part := file.read(min(step_bytes, bytes_max))):
        parts.append(part)
        bytes_max -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def locate(spec: str, storage_options: Mapping[str, Any] | None = None) -> Location:
    """Return the place that a path or URL names; whether there is anything is not asked."""
    import fsspec  # type: ignore[import-untyped, unused-ignore]

    if not is_url(spec):
        path = os.path.abspath(spec)  # noqa: PTH100 - Path.resolve would follow links
        local = fsspec.filesystem("file")
        return Location(clean_uri(spec), path, is_local=True, file_system=local)
    uri = clean_uri(spec)
    try:
        file_system, path = fsspec.core.url_to_fs(spec, **dict(storage_options or {}))
    except ImportError:
        protocol = spec.partition(":")[0]
        message = (
            f"Reading {uri} needs the fsspec package for {protocol}://, which is not installed.  "
            "For s3: pip install 'identity-leak-scanner[s3]'."
        )
        raise SourceError(message) from None
    except Exception as error:  # noqa: BLE001 - every network library has errors of its own
        raise stopped(uri, error) from None
    # fsspec keeps file systems and their listings: what was there before is not what is there now.
    file_system.invalidate_cache()
    return Location(uri, path, "file" in _protocols(file_system), file_system)


def is_url(spec: str) -> bool:
    """Tell whether fsspec, not the operating system, has to understand the text."""
    return "://" in spec or "::" in spec


def clean_uri(spec: str) -> str:
    """Return the text without credentials, needless `./` and closing slashes; that of a generator as it is."""
    if spec.startswith(GENERATED):
        return text_of(spec)
    if not is_url(spec):
        text = text_of(spec)
        return os.path.normpath(text) if text else "."
    return "::".join(_clean_url(part) for part in spec.split("::"))


def stopped(uri: str, error: BaseException) -> SourceError:
    """Return the error for a place that cannot be read, without quoting a foreign message."""
    # Only the operating system's own words: network libraries put whole URLs into their messages.
    word = error.strerror if isinstance(error, OSError) and error.errno and error.strerror else ""
    plain = word if word and "/" not in word else type(error).__name__
    message = f"{uri} cannot be read ({plain}).  Check the address, the permissions and the network, then run again."
    return SourceStopped(message) if is_url(uri) else SourceError(message)


def _clean_url(url: str) -> str:
    if "://" not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    # Only http has queries; elsewhere `?` and `#` are letters of a name.
    path = parts.path if parts.scheme in {"http", "https"} else url.partition("://")[2].partition("/")[2]
    return f"{parts.scheme}://{host}/{path.lstrip('/')}".rstrip("/")


def _protocols(file_system: Any) -> tuple[str, ...]:
    protocol = file_system.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
