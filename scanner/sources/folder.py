"""Images as files: a folder with everything below it, local or on any file system of fsspec.

The order is that of the relative paths as text.  Only names that end like an image are entries; how many
others there were is `ignored_count`.  Links are followed as far as they stay inside the folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from scanner.errors import SourceError
from scanner.records import Item, Reason, Reject
from scanner.sources.labels import LABELS_NAME, read_dataset_json
from scanner.sources.location import Location, read_at_most, stopped
from scanner.sources.names import identity_of, is_image_name, listing_hash, printable, text_of
from scanner.sources.options import LABELS_BYTES_MAX, IdentityFrom, Options

REQUESTS_MAX: Final = 8
"""How many files of a store are asked for ahead; bounds memory at REQUESTS_MAX * bytes_max."""
_CHECKSUMS: Final = ("ETag", "etag", "md5Hash")
_TIMES: Final = ("LastModified", "last_modified", "updated", "mtime")


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry as the listing knows it; with a `problem`, there is nothing to read."""

    name: str
    path: str
    size: int | None
    checksum: str = ""
    problem: Reason | None = None
    detail: str = ""
    modified: str = ""


def changed_at(status: os.stat_result) -> str:
    """Return when a local file was written, and when the system last noted a change, which no copy with old times hides."""
    return f"{status.st_mtime_ns} {status.st_ctime_ns}"


class FolderSource:
    """The images that a listing names."""

    def __init__(
        self, location: Location, options: Options, *, listed: list[Listed] | None = None, ignored_count: int = 0
    ) -> None:
        """List the folder, unless the entries are `listed` already (a pattern, a single file)."""
        self.uri = location.uri
        self._location = location
        self._options = options
        self.ignored_count = ignored_count
        """How many files were passed over because they are no images by name."""
        if listed is None:
            listed, self.ignored_count = _list_local(location) if location.is_local else _list_remote(location)
        self._listed = sorted(listed, key=lambda entry: entry.name)
        self._labels, self._labels_hash = self._read_labels()

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, entries, bytes and a hash over every path and size (and a store's checksums)."""
        lines = (f"{e.name}\t{e.size}\t{e.checksum}\t{e.problem and e.problem.value}" for e in self._listed)
        return {
            "kind": "folder",
            "uri": self.uri,
            "entries": len(self._listed),
            "bytes": sum(entry.size or 0 for entry in self._listed),
            "listing": listing_hash([*lines, self._labels_hash]),
        }

    def count(self) -> int:
        """Return how many entries there are."""
        return len(self._listed)

    def stamps(self) -> list[tuple[str, str]]:
        """Return of every entry its uri and a stamp: size, time of change and checksum of its content, and its label.

        Clocks are in it, so it is for finding what is new, never for what is written into a result.
        """
        return [
            (
                self._uri_of(e),
                f"{e.size}:{e.modified}:{e.checksum}:{e.problem and e.problem.value}:{self._identity_of(e)}",
            )
            for e in self._listed
        ]

    def only(self, uris: Sequence[str]) -> FolderSource:
        """Return the same source with these entries alone; one that is not there any more is an entry that cannot be read."""
        there = {self._uri_of(entry): entry for entry in self._listed}
        chosen = [there.get(uri) or self._vanished(uri) for uri in uris]
        return FolderSource(self._location, self._options, listed=chosen)

    def _vanished(self, uri: str) -> Listed:
        name = uri.removeprefix(self.uri).lstrip("/")
        return Listed(name, "", None, "", Reason.UNREADABLE, "the file was gone before it was read")

    def _uri_of(self, entry: Listed) -> str:
        return f"{self.uri}/{printable(entry.name)}" if entry.name else self.uri

    def _identity_of(self, entry: Listed) -> str | None:
        return identity_of(entry.name, self._options.identity_from, self._labels.get(entry.name))

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Yield in the order of the relative paths."""
        if self._location.is_local:
            yield from map(self._read, self._listed[skip:])
            return
        # A store answers late but many at once.
        waiting: deque[Future[Item | Reject]] = deque()
        with ThreadPoolExecutor(REQUESTS_MAX) as pool:
            try:
                for entry in self._listed[skip:]:
                    waiting.append(pool.submit(self._read, entry))
                    if len(waiting) == REQUESTS_MAX:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _read(self, entry: Listed) -> Item | Reject:
        uri = self._uri_of(entry)
        identity = self._identity_of(entry)
        limit = self._options.bytes_max
        if entry.problem is not None:
            return Reject(uri, entry.problem, entry.detail, identity=identity)
        data: bytes | OSError = b""
        if entry.size is None or 0 < entry.size <= limit:
            data = self._bytes(entry, limit + 1)
        if isinstance(data, OSError):
            detail = data.strerror if data.strerror and data.errno else type(data).__name__
            return Reject(uri, Reason.UNREADABLE, f"the file cannot be read ({detail})", identity=identity)
        if len(data) > limit or (entry.size or 0) > limit:
            detail = f"{max(len(data), entry.size or 0)} bytes, at most {limit} are read"
            return Reject(uri, Reason.TOO_LARGE_FILE, detail, identity=identity)
        if not data:
            return Reject(uri, Reason.EMPTY_FILE, "not a single byte", identity=identity)
        return Item(uri, data, identity)

    def _bytes(self, entry: Listed, bytes_max: int) -> bytes | OSError:
        """Return the file's first bytes, or why it alone cannot be read."""
        try:
            if self._location.is_local:
                with open(entry.path, "rb", opener=_open_file) as file:
                    return read_at_most(file, bytes_max, step_bytes=(entry.size or 0) + 1)
            # A store answers a range of an empty object with an error, so a known size asks for all.
            end = bytes_max if entry.size is None else None
            return bytes(self._location.file_system.cat_file(entry.path, start=None, end=end))
        except (FileNotFoundError, PermissionError) as error:
            return error
        except Exception as error:  # noqa: BLE001 - every network library has errors of its own
            # A disk's bad block is one file's misfortune; a broken line would make rejects of all that follow.
            if self._location.is_local and isinstance(error, OSError):
                return error
            raise stopped(self.uri, error) from None

    def _read_labels(self) -> tuple[dict[str, str], str]:
        if self._options.identity_from is not IdentityFrom.LABELS:
            return {}, ""
        place = self._location.child(LABELS_NAME)
        if not self._listed or not self._listed[0].name or not place.exists():
            return {}, ""
        with place.open() as file:
            data = read_at_most(file, LABELS_BYTES_MAX + 1)
        if len(data) > LABELS_BYTES_MAX:
            message = f"{place.uri} is larger than {LABELS_BYTES_MAX} bytes.  Split the folder, or take no identities."
            raise SourceError(message)
        return read_dataset_json(data, place.uri), listing_hash([data.hex()])


def _open_file(path: str, flags: int) -> int:
    """Open a file that was one when it was listed; what has become a pipe since then would wait for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "no file any longer")


def _list_local(location: Location) -> tuple[list[Listed], int]:
    root = os.path.realpath(location.path)
    listed: list[Listed] = []
    ignored = 0
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                children = list(found)
        except OSError as error:
            if folder == root:
                message = f"{location.uri} cannot be listed ({error.strerror}).  Check its permissions."
                raise SourceError(message) from None
            name = text_of(os.path.relpath(folder, root))
            listed.append(Listed(name, folder, None, "", Reason.UNREADABLE, "the folder cannot be listed"))
            continue
        for child in children:
            if child.is_dir(follow_symlinks=False):
                folders.append(child.path)
                continue
            entry = _listed_local(child, root)
            ignored += entry is None
            listed += [entry] if entry else []
    return listed, ignored


def _listed_local(child: os.DirEntry[str], root: str) -> Listed | None:
    """Return the entry for a file or link; None for one that is no image by name."""
    name = text_of(os.path.relpath(child.path, root))
    is_link = child.is_symlink()
    if is_link and os.path.isdir(child.path):  # noqa: PTH112 - DirEntry.is_dir raises on loops
        return Listed(name, child.path, None, "", Reason.NOT_A_FILE, "a link to a folder; links are not descended")
    if not is_image_name(name):
        return None
    target = os.path.realpath(child.path)
    if is_link and os.path.commonpath([root, target]) != root:
        return Listed(name, child.path, None, "", Reason.NOT_A_FILE, "a link that leads out of the folder")
    try:
        status = child.stat()
    except OSError:
        return Listed(name, child.path, None, "", Reason.NOT_A_FILE, "a link that leads nowhere")
    if not stat.S_ISREG(status.st_mode):
        return Listed(name, child.path, None, "", Reason.NOT_A_FILE, "neither a file nor a folder")
    return Listed(name, child.path, status.st_size, modified=changed_at(status))


def _list_remote(location: Location) -> tuple[list[Listed], int]:
    try:
        found: dict[str, dict[str, Any]] = location.file_system.find(location.path, detail=True)
    except Exception as error:  # noqa: BLE001 - every network library has errors of its own
        raise stopped(location.uri, error) from None
    root = location.path.rstrip("/") + "/"
    listed = [listed_remote(path.removeprefix(root), path, info) for path, info in found.items()]
    images = [entry for entry in listed if is_image_name(entry.name)]
    return images, len(listed) - len(images)


def listed_remote(name: str, path: str, info: dict[str, Any]) -> Listed:
    """Return the entry for what a store's listing says of one object."""
    checksum = next((str(info[key]) for key in _CHECKSUMS if info.get(key)), "")
    modified = next((str(info[key]) for key in _TIMES if info.get(key)), "")
    return Listed(text_of(name), path, info.get("size"), checksum, modified=modified)
