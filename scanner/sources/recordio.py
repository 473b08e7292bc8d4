"""Images in MXNet's RecordIO, as face-recognition sets are published: `train.rec`, with `train.idx` beside it.

The order is that of the file.  A record's identity is its label.  Where record 0 is the header of the
face-recognition convention (a label [a, b] and no image), the images are the records below a, and the
records of persons behind them are no entries.  Without `.idx` the file is read from front to back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from scanner.errors import SourceError, UsageError
from scanner.records import Item, Reason, Reject
from scanner.sources.location import Location, read_at_most
from scanner.sources.names import member_uri
from scanner.sources.options import IdentityFrom, Options
from scanner.sources.recordio_frames import FrameReader, RecordCutError, RecordDamagedError

_HEADER: Final = struct.Struct("<IfQQ")
INDEX_BYTES_MAX: Final = 1 << 30
LABEL_BYTES_MAX: Final = 4096
"""What a record may hold besides its image."""
_PERSON_LABELS: Final = 2
_PERSON_BYTES: Final = _HEADER.size + 4 * _PERSON_LABELS


@dataclass(frozen=True, slots=True)
class _Record:
    """A record's first label, of `flag` (0 is one as well), and its image; the convention's own records have no image."""

    flag: int
    label: float
    data: bytes


class RecordSource:
    """The images of one `.rec` file."""

    def __init__(self, location: Location, options: Options) -> None:
        """Read the index, if there is one, and the first record.

        Raises:
            SourceError: the file does not begin with a record, or the index cannot be read.
        """
        if options.identity_from in {IdentityFrom.FOLDER, IdentityFrom.NAME}:
            message = f"Records of {location.uri} have no folders or names; their identity is their label."
            raise UsageError(message)
        self.uri = location.uri
        self._location = location
        self._options = options
        self._record_bytes_max = options.bytes_max + LABEL_BYTES_MAX
        self._size_bytes = int(location.info().get("size") or 0)
        with location.open() as file:
            self._images_end = self._read_first(FrameReader(file, self._size_bytes))
        self._index = self._read_index()

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, bytes, whether there is an index, and a hash over samples of the content."""
        described: dict[str, str | int] = {"kind": "recordio", "uri": self.uri, "bytes": self._size_bytes}
        if self._index is not None:
            described["entries"] = len(self._index)
            described["index"] = self._index_location().content_hash()
        return described | {"content": self._location.content_hash()}

    def count(self) -> int | None:
        """Return how many entries the index names; None without one."""
        return None if self._index is None else len(self._index)

    def length(self) -> int:
        """Return how many entries there are by walking over all records."""
        return len(self._index) if self._index is not None else sum(1 for _ in self._sequence(None))

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Yield in the file's order; with an index, a skip reads nothing."""
        if self._index is None:
            for place, entry in enumerate(self._sequence(skip)):
                if place >= skip and entry is not None:
                    yield entry
            return
        with self._location.open() as file:
            frames = FrameReader(file, self._size_bytes)
            for offset, key in self._index[skip:]:
                yield self._indexed(frames, offset, key)

    def _indexed(self, frames: FrameReader, offset: int, key: int) -> Item | Reject:
        try:
            frames.seek(offset)
            return self._entry(frames.read_record(self._record_bytes_max), key)
        except RecordCutError as cut:
            return Reject(self._uri(key), Reason.ARCHIVE_CUT, str(cut))
        except RecordDamagedError as damage:
            return Reject(self._uri(key), Reason.BAD_RECORD, str(damage))

    def _sequence(self, read_from: int | None) -> Iterator[Item | Reject | None]:
        """Yield every entry from front to back; an image before `read_from` is None."""
        place = 0
        key = 0
        with self._location.open() as file:
            frames = FrameReader(file, self._size_bytes)
            while not frames.at_end:
                is_wanted = read_from is not None and place >= read_from
                try:
                    # So many bytes tell a person's record from an image; the rest of a skipped one is not read.
                    limit = self._record_bytes_max if is_wanted else _PERSON_BYTES
                    payload = frames.read_record(limit, shorten=not is_wanted)
                except RecordCutError as cut:
                    yield Reject(self.uri, Reason.ARCHIVE_CUT, str(cut))
                    return
                except RecordDamagedError as damage:
                    frames.resync()
                    entry: Item | Reject | None = Reject(self.uri, Reason.BAD_RECORD, str(damage))
                else:
                    if self._images_end is not None and (key == 0 or _is_person(payload)):
                        key += 1
                        continue
                    entry = self._entry(payload, key) if is_wanted else None
                yield entry
                place += 1
                key += 1

    def _entry(self, payload: bytes | int, key: int) -> Item | Reject:
        uri = self._uri(key)
        limit = self._options.bytes_max
        if isinstance(payload, int):
            return Reject(uri, Reason.TOO_LARGE_FILE, f"{payload} bytes, at most {limit} are read")
        record = _parse(payload)
        if record is None:
            return Reject(uri, Reason.BAD_RECORD, "the record is shorter than its own header")
        identity = self._identity(record)
        if len(record.data) > limit:
            return Reject(uri, Reason.TOO_LARGE_FILE, f"{len(record.data)} bytes, at most {limit} are read")
        if not record.data:
            return Reject(uri, Reason.EMPTY_FILE, "the record holds no image", identity=identity)
        return Item(uri, record.data, identity)

    def _identity(self, record: _Record) -> str | None:
        if self._options.identity_from is IdentityFrom.NOTHING:
            return None
        return str(int(record.label)) if record.label.is_integer() else str(record.label)

    def _read_first(self, frames: FrameReader) -> int | None:
        """Return where the images end if the file follows the face-recognition convention."""
        try:
            payload = frames.read_record(self._record_bytes_max)
        except (RecordCutError, RecordDamagedError) as error:
            message = (
                f"{self.uri} is no RecordIO file: {error}.  Check the file, or name the source by its right suffix."
            )
            raise SourceError(message) from None
        record = _parse(payload) if isinstance(payload, bytes) else None
        if record is None or record.data or not record.flag or not record.label.is_integer():
            return None
        return int(record.label)

    def _index_location(self) -> Location:
        name = self.uri.rpartition("/")[2]
        return self._location.beside(f"{name.removesuffix('.rec')}.idx")

    def _read_index(self) -> list[tuple[int, int]] | None:
        """Return (offset, key) of every image in the file's order, or None where there is no index."""
        place = self._index_location()
        if not place.exists():
            return None
        with place.open() as file:
            return _parse_index(file, place.uri, self._images_end)

    def _uri(self, key: int) -> str:
        return member_uri(self.uri, f"record-{key}")


def _parse_index(file: IO[bytes], uri: str, images_end: int | None) -> list[tuple[int, int]]:
    text = read_at_most(file, INDEX_BYTES_MAX + 1)
    try:
        pairs = [line.split(b"\t") for line in text.splitlines() if line.strip()]
        index = sorted((int(offset), int(key)) for key, offset in pairs)
    except ValueError:
        index = None
    if index is None or len(text) > INDEX_BYTES_MAX:
        message = f"{uri} is no index: every line should be KEY, tab, OFFSET.  Mend it, or remove it to read without."
        raise SourceError(message) from None
    if images_end is None:
        return index
    return [(offset, key) for offset, key in index if 0 < key < images_end]


def _parse(payload: bytes) -> _Record | None:
    if len(payload) < _HEADER.size:
        return None
    flag, label, _, _ = _HEADER.unpack_from(payload)
    if not flag:
        return _Record(0, label, payload[_HEADER.size :])
    end = _HEADER.size + 4 * flag
    if len(payload) < end:
        return None
    # The others are not looked at, and as Python's numbers they would take eight times the record's size.
    (first,) = struct.unpack_from("<f", payload, _HEADER.size)
    return _Record(flag, first, payload[end:])


def _is_person(payload: bytes | int) -> bool:
    """Tell whether a record is one of the convention's: labels and no image."""
    record = _parse(payload) if isinstance(payload, bytes) else None
    return record is not None and record.flag == _PERSON_LABELS and not record.data
