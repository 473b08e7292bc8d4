"""Images in a tar or tar.gz, as WebDataset writes them or plain.

The order is the archive's own.  Members that share a key (the path up to the first dot of the base name)
and stand together form a group; `KEY.json` (field `identity`) or `KEY.cls` in it, before or after the
image, gives the identity.  Nothing is ever written to disk.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Final

from scanner.errors import SourceError
from scanner.records import Item, Reason, Reject
from scanner.sources.labels import SIDECAR_SUFFIXES, BadLabelError, read_sidecar
from scanner.sources.location import Location
from scanner.sources.names import identity_of, is_image_name, is_safe_name, member_uri, plain_name, suffix_of
from scanner.sources.options import SIDECAR_BYTES_MAX, IdentityFrom, Options
from scanner.sources.tar_walk import ArchiveCutError, Member, MemberKind, TarWalk

WAITING_MAX: Final = 8
"""How many images of one key wait for their label at most: bounds memory at WAITING_MAX * bytes_max."""
LABELS_MAX: Final = 64
"""How many label files one key may have; a few kilobytes of a gzipped tar could else hold any number of them."""
_GZIP_MAGIC: Final = b"\x1f\x8b"


class TarSource:
    """The images of one archive."""

    def __init__(self, location: Location, options: Options) -> None:
        """Look at the size and the first block.

        Raises:
            SourceError: it does not begin like a tar.
        """
        self.uri = location.uri
        self._location = location
        self._options = options
        self._size_bytes: int | None = location.info().get("size")
        with location.open() as file:
            self._is_gzip = file.read(2) == _GZIP_MAGIC
            if self._size_bytes is not None and file.seekable():
                self._size_bytes = file.seek(0, os.SEEK_END)  # of what is in it, where it is sealed
        with location.open() as file:
            try:
                next(self._walk(file).members(), None)
            except ArchiveCutError:
                what = "is empty" if self._size_bytes == 0 else "is no tar archive, nor a gzipped one"
                message = f"{self.uri} {what}.  Check the file, or name the source by its right suffix."
                raise SourceError(message) from None

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, bytes and a hash over samples of the content."""
        content = self._location.content_hash()
        return {"kind": "tar", "uri": self.uri, "bytes": self._size_bytes or 0, "content": content}

    def count(self) -> None:
        """Return None: a tar has no list of its members."""

    def length(self) -> int:
        """Return how many entries there are by walking over all headers."""
        return sum(1 for _ in self._places(None))

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Yield in the archive's order; of what is skipped, only headers and labels are read."""
        for place, entry in enumerate(self._places(skip)):
            if place >= skip and entry is not None:
                yield entry

    def _places(self, read_from: int | None) -> Iterator[Item | Reject | None]:
        """Yield every entry; an image before place `read_from` is None (all of them, where that is None)."""
        waiting: deque[tuple[str, Item | Reject | None]] = deque()
        labels: dict[str, str | None] = {}
        group = ""
        place = 0
        with self._location.open() as file:
            walk = self._walk(file)
            try:
                for member in walk.members():
                    name = plain_name(member.name)
                    if group_key(name) != group:
                        yield from self._released(waiting, labels, is_end=True)
                        labels.clear()
                        group = group_key(name)
                    if self._is_sidecar(member):
                        bad = self._read_label(walk, member, labels)
                        if bad is None:
                            continue
                        waiting.append((name, bad))
                    elif member.kind is MemberKind.OTHER or (member.kind is MemberKind.FILE and is_image_name(name)):
                        is_wanted = read_from is not None and place >= read_from
                        waiting.append((name, self._take(walk, member, is_wanted=is_wanted)))
                    else:
                        continue
                    place += 1
                    yield from self._released(waiting, labels, is_end=False)
            except ArchiveCutError as cut:
                waiting.append(("", Reject(self.uri, Reason.ARCHIVE_CUT, str(cut))))
            yield from self._released(waiting, labels, is_end=True)

    def _released(
        self, waiting: deque[tuple[str, Item | Reject | None]], labels: dict[str, str | None], *, is_end: bool
    ) -> Iterator[Item | Reject | None]:
        """Take from the queue, in order, what has its label or need not wait for one any longer."""
        while waiting:
            name, entry = waiting[0]
            label = labels.get(name.rpartition(".")[0]) or labels.get(group_key(name))
            may_wait = not is_end and len(waiting) <= WAITING_MAX
            if label is None and may_wait and self._options.identity_from is IdentityFrom.LABELS:
                return
            waiting.popleft()
            identity = identity_of(name, self._options.identity_from, label)
            yield replace(entry, identity=identity) if entry is not None and name else entry

    def _is_sidecar(self, member: Member) -> bool:
        is_label = member.kind is MemberKind.FILE and suffix_of(member.name) in SIDECAR_SUFFIXES
        return is_label and self._options.identity_from is IdentityFrom.LABELS

    def _read_label(self, walk: TarWalk, member: Member, labels: dict[str, str | None]) -> Reject | None:
        """Read one label file into `labels`; a reject if it is broken."""
        uri = member_uri(self.uri, member.name)
        if member.size_bytes > SIDECAR_BYTES_MAX:
            detail = f"a label file of {member.size_bytes} bytes, at most {SIDECAR_BYTES_MAX} are read"
            return Reject(uri, Reason.BAD_RECORD, detail)
        try:
            label = read_sidecar(member.name, walk.read_data())
        except BadLabelError as error:
            return Reject(uri, Reason.BAD_RECORD, str(error))
        key = plain_name(member.name).rpartition(".")[0]
        if len(labels) >= LABELS_MAX and key not in labels:
            return Reject(uri, Reason.BAD_RECORD, f"one key has more than {LABELS_MAX} label files")
        labels[key] = label
        return None

    def _take(self, walk: TarWalk, member: Member, *, is_wanted: bool) -> Item | Reject | None:
        """Read one entry.  Its data is read or passed over here, so that a cut is found at the same place."""
        uri = member_uri(self.uri, member.name)
        limit = self._options.bytes_max
        problem: tuple[Reason, str] | None = None
        if member.kind is MemberKind.OTHER:
            problem = (Reason.NOT_A_FILE, "a link, a device or a sparse file")
        elif not is_safe_name(member.name):
            problem = (Reason.UNSAFE_NAME, "a name that leads out of the archive or cannot be printed")
        elif member.size_bytes > limit:
            problem = (Reason.TOO_LARGE_FILE, f"{member.size_bytes} bytes, at most {limit} are read")
        elif not member.size_bytes:
            problem = (Reason.EMPTY_FILE, "not a single byte")
        if problem is not None or not is_wanted:
            walk.skip_data()
            return Reject(uri, *problem) if problem else None
        return Item(uri, walk.read_data())

    def _walk(self, file: IO[bytes]) -> TarWalk:
        return TarWalk(file, size_bytes=self._size_bytes, is_gzip=self._is_gzip)


def group_key(name: str) -> str:
    """Return the path up to the first dot of its base name: `a/b.seg.png` is of the group `a/b`."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"
