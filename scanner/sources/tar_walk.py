"""Walks a tar, plain or gzipped, forwards and once, without trusting it.

The standard library's reader ends silently where an archive is cut, and believes the sizes that an
archive claims for its own tables.  This one tells a cut from an end and has a limit on everything.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import IO, Final, cast

BLOCK_BYTES: Final = 512
TABLE_BYTES_MAX: Final = 1 << 20
"""The largest long name or pax table."""
ZERO_BLOCKS_MAX: Final = 2048
"""How many empty blocks are read in search of a second archive behind the end of the first."""
GZIP_SKIP_BYTES_MAX: Final = 8 << 30
"""The largest member of a gzipped tar that is passed over: it has to be unpacked to get past it."""
_STEP_BYTES: Final = 1 << 20
_SPARSE: Final = "GNU.sparse."

_TABLES: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, b"g")


class MemberKind(Enum):
    """What a member is, as far as a source cares."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Member:
    """One member; undecodable bytes of its name are written with backslashes."""

    name: str
    kind: MemberKind
    size_bytes: int


class ArchiveCutError(Exception):
    """The archive cannot be read any further; the message is a reject's detail."""


class TarWalk:
    """One pass over an open file."""

    def __init__(self, file: IO[bytes], *, size_bytes: int | None, is_gzip: bool) -> None:
        """Start at the file's beginning; `size_bytes` is its length, where known."""
        self._gzip = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzip else None
        self._file = file
        self._size = size_bytes if not is_gzip and file.seekable() else None
        self._at = 0
        self._left = 0
        self._padding = 0

    def members(self) -> Iterator[Member]:
        """Yield the members.  Before asking for the next one, the data of this one may be read.

        Raises:
            ArchiveCutError: after the last member that is whole.
        """
        while (member := self._next_member()) is not None:
            yield member
            self.skip_data()
            self._skip(self._padding)

    def read_data(self) -> bytes:
        """Return all of this member's data; the caller has looked at its size."""
        wanted, self._left = self._left, 0
        data = self._read(wanted)
        if len(data) < wanted:
            raise self._cut("inside a file")
        return data

    def skip_data(self) -> None:
        """Go to the end of this member's data."""
        wanted, self._left = self._left, 0
        self._skip(wanted)

    def _next_member(self) -> Member | None:
        """Return the next member with its long name and size put in place, or None at the end."""
        fields: dict[str, str] = {}
        while True:
            header = self._next_header(is_first=self._at == 0)
            if header is None:
                if fields:
                    raise self._cut("inside a header")
                return None
            if header.type in _TABLES:
                table = self._table(header.size)
                if header.type == tarfile.GNUTYPE_LONGNAME:
                    fields["path"] = _text(table.rstrip(b"\0"))
                elif header.type in {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}:
                    fields |= self._pax_fields(table)
                continue
            return self._member(header, fields)

    def _member(self, header: tarfile.TarInfo, fields: dict[str, str]) -> Member:
        is_sparse = header.type == tarfile.GNUTYPE_SPARSE or _SPARSE in fields
        size = header.size
        if "size" in fields:
            size = int(fields["size"]) if fields["size"].isdecimal() and len(fields["size"]) < 20 else -1  # noqa: PLR2004
        if size < 0:
            raise self._cut("at a header that makes no sense")
        has_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        self._left = size if has_data else 0
        self._padding = -self._left % BLOCK_BYTES
        kind = MemberKind.FILE if header.isreg() and not is_sparse else MemberKind.OTHER
        member = Member(fields.get("path", header.name), kind, self._left)
        return replace(member, kind=MemberKind.FOLDER) if header.isdir() else member

    def _next_header(self, *, is_first: bool) -> tarfile.TarInfo | None:
        """Return the next block as a header; None where the archive ends as it should."""
        zeros = 0
        while True:
            block = self._read(BLOCK_BYTES)
            if not block and zeros:
                return None
            if len(block) < BLOCK_BYTES:
                raise self._cut("without its end mark" if not block else "inside a header")
            if block.count(0) == BLOCK_BYTES:
                zeros += 1
                if zeros > ZERO_BLOCKS_MAX:
                    return None
                continue
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
            except (tarfile.HeaderError, ValueError):
                # Behind the end mark anything may stand: tapes are padded with what they held before.
                if zeros:
                    return None
                raise self._cut("at its very first block" if is_first else "at a damaged header") from None
            if header.type == tarfile.GNUTYPE_SPARSE:
                self._skip_sparse_map(block)
            return header

    def _skip_sparse_map(self, block: bytes) -> None:
        """Pass over the blocks that continue a GNU sparse header."""
        more = block[482]
        while more:
            block = self._read(BLOCK_BYTES)
            if len(block) < BLOCK_BYTES:
                raise self._cut("inside a header")
            more = block[504]

    def _table(self, size: int) -> bytes:
        if not 0 <= size <= TABLE_BYTES_MAX:
            raise self._cut("at a header that makes no sense")
        padded = size + -size % BLOCK_BYTES
        table = self._read(padded)
        if len(table) < padded:
            raise self._cut("inside a header")
        return table[:size]

    def _pax_fields(self, table: bytes) -> dict[str, str]:
        """Return the records of a pax table that matter here: any number of tables may follow one another."""
        fields = {}
        at = 0
        while at < len(table) and table[at]:
            digits = table[at : at + 20].partition(b" ")[0]
            length = int(digits) if digits.isdigit() else 0
            key, equals, value = table[at + len(digits) + 1 : at + length - 1].partition(b"=")
            if not length or not equals:
                raise self._cut("at a header that makes no sense")
            if key.startswith(_SPARSE.encode()):
                fields[_SPARSE] = ""
            elif key in {b"path", b"size"}:
                fields[key.decode()] = _text(value)
            at += length
        return fields

    def _read(self, wanted: int) -> bytes:
        """Return the next `wanted` bytes; fewer only where the archive ends or cannot be unpacked."""
        parts = []
        while wanted:
            part = self._read_some(min(wanted, _STEP_BYTES))
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_some(self, wanted: int) -> bytes:
        if self._gzip is None:
            return self._file.read(wanted)
        try:
            # read1, not read: what was unpacked before the damage is still handed over.
            return cast("gzip.GzipFile", self._gzip).read1(wanted)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return b""

    def _skip(self, count: int) -> None:
        if self._size is not None:
            if self._at + count > self._size:
                raise self._cut("inside a file")
            if count:
                self._at += count
                self._file.seek(self._at)
            return
        if count > GZIP_SKIP_BYTES_MAX:
            raise self._cut(f"at a file of {count} bytes, too large to be passed over")
        while count:
            part = self._read(min(count, _STEP_BYTES))
            if not part:
                raise self._cut("inside a file")
            count -= len(part)

    def _cut(self, where: str) -> ArchiveCutError:
        return ArchiveCutError(f"the archive ends, or can no longer be read, {where} (at byte {self._at})")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
