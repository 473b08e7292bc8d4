"""Images in a zip, with or without StyleGAN's `dataset.json` of labels.

The order is that of the archive's own directory.  Members are unpacked one at a time into memory, never
further than their declared size, and only stored and deflated ones: the other methods of zip can turn a
few kilobytes into gigabytes in one step.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Final

from scanner.errors import SourceError
from scanner.records import Item, Reason, Reject
from scanner.sources.labels import LABELS_NAME, read_dataset_json
from scanner.sources.location import Location
from scanner.sources.names import identity_of, is_image_name, is_safe_name, listing_hash, member_uri, plain_name
from scanner.sources.options import LABELS_BYTES_MAX, IdentityFrom, Options

_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1
# What the standard library raises on damaged archives, one way or another.
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    IndexError,
    RuntimeError,  # and with it what zipfile raises for compressions that it does not know
)


class ZipSource:
    """The images of one archive."""

    def __init__(self, location: Location, options: Options) -> None:
        """Read the archive's directory and its labels.

        Raises:
            SourceError: it is no zip, or its directory (at its end) or its labels are damaged.
        """
        self.uri = location.uri
        self._location = location
        self._options = options
        with location.open() as file:
            archive = self._archive(file)
            self._size_bytes = file.seek(0, 2)
            self._members = [info for info in archive.infolist() if _is_entry(info)]
            self._labels = self._read_labels(archive)

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, entries, bytes and a hash over every name, size and checksum."""
        lines = [f"{info.filename}\t{info.file_size}\t{info.CRC}" for info in self._members]
        lines += [f"{name}\t{label}" for name, label in sorted(self._labels.items())]
        return {
            "kind": "zip",
            "uri": self.uri,
            "entries": len(self._members),
            "bytes": self._size_bytes,
            "listing": listing_hash(lines),
        }

    def count(self) -> int:
        """Return how many entries there are."""
        return len(self._members)

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Yield in the order of the archive's directory."""
        with self._location.open() as file:
            archive = self._archive(file)
            for info in self._members[skip:]:
                yield self._read(archive, info)

    def _archive(self, file: IO[bytes]) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(file)
        except _DAMAGED:
            message = (
                f"{self.uri} is no zip archive, or it is cut: the directory that should stand at its end cannot be "
                "read.  Fetch it again, or name the source by its right suffix."
            )
            raise SourceError(message) from None

    def _read(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Item | Reject:
        name = plain_name(info.filename.replace("\\", "/"))
        uri = member_uri(self.uri, info.filename)
        identity = identity_of(name, self._options.identity_from, self._labels.get(name))
        problem = _problem(info, self._options.bytes_max)
        if problem is None:
            try:
                # One byte more than was declared is asked for: zipfile hands over no more than that and
                # compares the checksum only when it has come to the end.
                with archive.open(info) as member:
                    return Item(uri, member.read(info.file_size + 1), identity)
            except _DAMAGED as error:
                problem = (Reason.BAD_RECORD, f"the member is damaged ({type(error).__name__})")
        return Reject(uri, *problem, identity=identity)

    def _read_labels(self, archive: zipfile.ZipFile) -> dict[str, str]:
        if self._options.identity_from is not IdentityFrom.LABELS or LABELS_NAME not in archive.namelist():
            return {}
        info = archive.getinfo(LABELS_NAME)
        uri = member_uri(self.uri, LABELS_NAME)
        problem = _problem(info, LABELS_BYTES_MAX)
        try:
            data = archive.read(info) if problem is None else b""
        except _DAMAGED:
            problem = (Reason.BAD_RECORD, "the member is damaged")
        if problem is not None:
            message = f"The labels of {uri} cannot be read: {problem[1]}.  Mend the archive, or take no identities."
            raise SourceError(message)
        return read_dataset_json(data, uri)


def _is_entry(info: zipfile.ZipInfo) -> bool:
    # The standard library asks for the last letter of a name, and a damaged archive has members without one.
    return bool(info.filename) and not info.is_dir() and is_image_name(info.filename.replace("\\", "/"))


def _problem(info: zipfile.ZipInfo, bytes_max: int) -> tuple[Reason, str] | None:
    """Return why a member is not to be unpacked, as far as the directory tells."""
    if not is_safe_name(info.filename):
        return Reason.UNSAFE_NAME, "a name that leads out of the archive or cannot be printed"
    if stat.S_ISLNK(info.external_attr >> 16):
        return Reason.NOT_A_FILE, "a link"
    if info.flag_bits & _ENCRYPTED:
        return Reason.UNREADABLE, "the member is encrypted"
    if info.compress_type not in _METHODS:
        return Reason.UNREADABLE, f"compression method {info.compress_type} is not read; store or deflate"
    if info.file_size > bytes_max:
        return Reason.TOO_LARGE_FILE, f"{info.file_size} bytes, at most {bytes_max} are read"
    if not info.file_size:
        return Reason.EMPTY_FILE, "not a single byte"
    return None
