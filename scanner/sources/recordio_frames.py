"""RecordIO's framing: where a record begins and ends.

A frame is the magic number, a word with the part's place (3 bits) and length (29 bits), and the data,
padded to four bytes.  Data that holds the magic number at a multiple of four is split there into parts,
the magic number left out; so a magic number found in the file is always the beginning of a frame.
"""

from __future__ import annotations

import struct
from typing import IO, Final

MAGIC: Final = struct.pack("<I", 0xCED7230A)
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_LENGTH_BITS: Final = 29
_STEP_BYTES: Final = 1 << 20
_FIRST_STEP_BYTES: Final = 4096
"""The next record usually begins close by; a file of nothing but damaged ones would else be read over and over."""


class RecordCutError(Exception):
    """The file ends inside a record; the message is a reject's detail."""


class RecordDamagedError(Exception):
    """There is no record where one should begin; the message is a reject's detail."""


class FrameReader:
    """Reads records from an open file of known size."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        """Start at the file's beginning."""
        self._file = file
        self._size = size_bytes
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Tell whether all of the file was read."""
        return self._at >= self._size

    def seek(self, offset: int) -> None:
        """Go to a record's first byte."""
        if not 0 <= offset < self._size:
            raise RecordCutError(f"the record should begin at byte {offset}, behind the file's end")
        self._file.seek(offset)  # also where it should be already: behind a damaged record it is not
        self._at = offset

    def read_record(self, bytes_max: int, *, shorten: bool = False) -> bytes | int:
        """Return a record's data, its parts joined, and go behind it.

        A record of more than `bytes_max` is passed over and its length returned, or, with `shorten`, its
        first part up to `bytes_max` and one byte more.

        Raises:
            RecordCutError: the file ends first.
            RecordDamagedError: no record begins here; `resync` finds the next one.
        """
        start = self._at
        place, length = self._frame(start)
        if place not in {_WHOLE, _FIRST}:
            raise RecordDamagedError(f"no record begins at byte {start}")
        parts: list[bytes] = []
        total = 0
        while True:
            total += length
            if total <= bytes_max:
                parts.append(self._read(length))
                self._pass(-length % 4)
            elif shorten and not parts:
                parts.append(self._read(bytes_max + 1))
                self._pass(length + -length % 4 - bytes_max - 1)
            else:
                self._pass(length + -length % 4)
            if place in {_WHOLE, _LAST}:
                break
            parts_start = self._at
            place, length = self._frame(start)
            if place not in {_MIDDLE, _LAST}:
                self._at = parts_start
                raise RecordDamagedError(f"the record at byte {start} lacks its last part")
            total += len(MAGIC)
        if total > bytes_max and not shorten:
            return total
        return MAGIC.join(parts)

    def resync(self) -> None:
        """Go to the next frame that can begin a record, or to the end."""
        at = self._at + -self._at % 4
        step = _FIRST_STEP_BYTES
        while at < self._size:
            self._file.seek(at)
            block = self._file.read(step)
            step = min(2 * step, _STEP_BYTES)
            found = _first_frame(block)
            if found is not None:
                at += found
                break
            # The frame's second word may stand behind the block.
            at += max(len(block) - 4, 4)
        self._at = min(at, self._size)
        self._file.seek(self._at)

    def _frame(self, start: int) -> tuple[int, int]:
        """Return the part's place and length; `start` is where its record begins."""
        at = self._at
        head = self._file.read(8)
        if len(head) < 8:  # noqa: PLR2004
            self._at = self._size
            raise RecordCutError(f"the file ends inside the record at byte {start}")
        if head[:4] != MAGIC:
            self._at = at + 4
            raise RecordDamagedError(f"no record begins at byte {at}")
        self._at = at + 8
        word = int.from_bytes(head[4:], "little")
        length = word & ((1 << _LENGTH_BITS) - 1)
        if self._at + length > self._size:
            raise RecordCutError(f"the file ends inside the record at byte {start}")
        return word >> _LENGTH_BITS, length

    def _read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._at += count
        return data

    def _pass(self, count: int) -> None:
        if count > 0:
            # The last record's padding may be missing.
            self._at = min(self._at + count, self._size)
            self._file.seek(self._at)


def _first_frame(block: bytes) -> int | None:
    """Return where in a block, at a multiple of four, the first frame stands that can begin a record."""
    found = block.find(MAGIC)
    while found >= 0:
        if found % 4 == 0 and found + 8 <= len(block) and block[found + 7] >> 5 in {_WHOLE, _FIRST}:
            return found
        found = block.find(MAGIC, found + 1)
    return None
