"""The container of sealed files: bytes encrypted in chunks, written as a stream, read anywhere.

    header        magic, chunk size, id of the key, salt: 52 bytes
    chunk 0..n    AES-256-GCM of 64 KiB each and a tag of 16 bytes; the last one is shorter

Each file has a key of its own: HKDF-SHA256 of the owner's key with a random salt of 32 bytes, bound to the header.
Within a file the nonce is the chunk's number and a flag for the last one, so no nonce is used twice, and chunks that
are changed, exchanged, left out or cut off at the end do not open.
"""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from indexes.errors import FormatError, SealError
from indexes.keys import FILE_VARIABLE, Key

MAGIC: Final = b"ILSEAL1\n"
CHUNK_BYTES: Final = 1 << 16
_TAG_BYTES: Final = 16
_SALT_BYTES: Final = 32
_CHUNK_BYTES_MAX: Final = 1 << 24
_HEADER: Final = struct.Struct(f">{len(MAGIC)}sI8s{_SALT_BYTES}s")


class SealedWriter(io.RawIOBase):
    """A file that encrypts what is written to it.

    The first chunk is kept until the end: what is within it may be written again after `seek`, for headers that say how
    much follows.  The file opens only when it was closed.
    """

    def __init__(self, path: Path, key: Key) -> None:
        super().__init__()
        header = _HEADER.pack(MAGIC, CHUNK_BYTES, key.id, os.urandom(_SALT_BYTES))
        self._cipher = _cipher(key, header)
        self._first, self._pending = bytearray(), bytearray()
        self._size, self._at, self._number = 0, 0, 1
        self._file = path.open("wb")
        self._file.write(header)

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next write."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the first chunk, or to the end."""
        self._at = offset + (self._size if whence == os.SEEK_END else 0)
        return self._at

    def write(self, data: Any) -> int:
        """Append, or write again what is in the first chunk."""
        with memoryview(data).cast("B") as view:
            count = len(view)
            if self._at == self._size:
                room = CHUNK_BYTES - len(self._first)
                self._first += view[:room]
                self._pending += view[room:]
                self._size += count
            elif self._at + count <= len(self._first):
                self._first[self._at : self._at + count] = view
            else:
                raise io.UnsupportedOperation("only the first chunk of a sealed file can be written again")
        self._at += count
        # One chunk always stays behind: it may be the last one, which is sealed as such.
        whole = max(0, len(self._pending) - 1) // CHUNK_BYTES
        with memoryview(self._pending) as view:
            for start in range(0, whole * CHUNK_BYTES, CHUNK_BYTES):
                self._put(self._number, view[start : start + CHUNK_BYTES], last=False)
                self._number += 1
        del self._pending[: whole * CHUNK_BYTES]
        return count

    def close(self) -> None:
        """Seal what is left."""
        if self.closed or "_file" not in vars(self):  # the file could not be opened: there is nothing to seal
            return
        try:
            if self._pending:
                self._put(self._number, self._pending, last=True)
            self._put(0, self._first, last=not self._pending)
        finally:
            self._file.close()
            super().close()

    def _put(self, number: int, chunk: bytes | bytearray | memoryview, *, last: bool) -> None:
        if number <= 1:
            self._file.seek(_HEADER.size + number * (CHUNK_BYTES + _TAG_BYTES))
        self._file.write(self._cipher.encrypt(_nonce(number, last=last), chunk, None))


class SealedReader(io.RawIOBase):
    """A sealed file as the file that is in it; reads from several threads do not disturb each other with `read_into`.

    Args:
        read_at: (offset, bytes) -> content of the sealed file.
        sealed_bytes: size of the sealed file.
        name: of the file, for messages.
        keys: that may open it.
        on_close: gives the sealed file back.

    Raises:
        SealError: none of the keys is the file's.
        FormatError: damaged, changed or cut off.
    """

    def __init__(
        self,
        read_at: Callable[[int, int], bytes],
        sealed_bytes: int,
        *,
        name: str,
        keys: tuple[Key, ...],
        on_close: Callable[[], None],
    ) -> None:
        super().__init__()
        self._read_at, self._name, self._on_close = read_at, name, on_close
        self._at = 0
        self._held: tuple[int, bytes] = (-1, b"")
        header = read_at(0, _HEADER.size)
        if len(header) < _HEADER.size:
            raise self._damaged("its header is cut off")
        _, self._chunk_bytes, key_id, _ = _HEADER.unpack(header)
        self._cipher = _cipher(_find_key(keys, key_id, name), header)
        step = self._chunk_bytes + _TAG_BYTES
        body = sealed_bytes - _HEADER.size
        self._chunks = -(-body // step)
        sound = 0 < self._chunk_bytes <= _CHUNK_BYTES_MAX and self._chunks > 0
        if not sound or body - (self._chunks - 1) * step < _TAG_BYTES:
            raise self._damaged("its length is none that a sealed file can have")
        self.size: int = body - self._chunks * _TAG_BYTES
        # The last chunk says that it is the last: from here on the length is not only claimed.
        self._chunk(self._chunks - 1)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, and return the new place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"{offset} is before the beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read as much as there is room for."""
        with memoryview(buffer).cast("B") as view:
            count: int = self.read_into(self._at, view)
        self._at += count
        return count

    def readall(self) -> bytes:
        """Return all that is left."""
        content = bytearray(max(0, self.size - self._at))
        self.readinto(content)
        return bytes(content)

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill `out` with what is at `offset`; return how many bytes there were."""
        end = min(offset + len(out), self.size)
        place = offset
        while place < end:
            number, start = divmod(place, self._chunk_bytes)
            piece = memoryview(self._chunk(number))[start : start + end - place]
            out[place - offset : place - offset + len(piece)] = piece
            place += len(piece)
        return max(0, end - offset)

    def close(self) -> None:
        """Give the sealed file back."""
        if not self.closed:
            self._held = (-1, b"")
            self._on_close()
            super().close()

    def _chunk(self, number: int) -> bytes:
        held = self._held
        if held[0] == number:
            return held[1]
        from cryptography.exceptions import InvalidTag

        step = self._chunk_bytes + _TAG_BYTES
        sealed = self._read_at(_HEADER.size + number * step, step)
        try:
            chunk: bytes = self._cipher.decrypt(_nonce(number, last=number == self._chunks - 1), sealed, None)
        except (InvalidTag, ValueError):
            raise self._damaged(f"its chunk {number} is not what was written") from None
        self._held = (number, chunk)
        return chunk

    def _damaged(self, what: str) -> FormatError:
        return FormatError(
            f"the encrypted file '{self._name}' is damaged or was changed ({what}). "
            "Restore it from a copy or make it again."
        )


def key_id_of(path: Path) -> str | None:
    """Return the id, in hexadecimal digits, of the key that a file is sealed with; None for a plain file."""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    return header[12:20].hex() if header[: len(MAGIC)] == MAGIC and len(header) == _HEADER.size else None


def _cipher(key: Key, header: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ModuleNotFoundError:
        raise SealError("Encrypted files need the package cryptography. Install it: pip install cryptography") from None
    return AESGCM(HKDF(SHA256(), 32, salt=header[-_SALT_BYTES:], info=header).derive(key.secret))


def _find_key(keys: tuple[Key, ...], key_id: bytes, name: str) -> Key:
    for key in keys:
        if key.id == key_id:
            return key
    held = f"the keys at hand are {', '.join(key.id.hex() for key in keys)}" if keys else "no key is set"
    raise SealError(
        f"'{name}' is encrypted with the key {key_id.hex()}; {held}. "
        f"Name a key file that holds it in the variable {FILE_VARIABLE}."
    )


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
