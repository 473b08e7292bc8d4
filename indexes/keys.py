"""The keys of sealed files: from the environment, never from a command line.

    SCANNER_KEY_FILE    path of a file that only its owner can read: one key a line, the one to write with first
    SCANNER_KEY         the same keys as text

A key is 32 random bytes as base64.  It is named by its id, eight bytes of a hash of it; a key itself is in no message,
no `repr` and no file but the key file.  The environment is read when a file is written or opened, not before.
"""

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexes.atomic import atomic_path
from indexes.errors import SealError

FILE_VARIABLE = "SCANNER_KEY_FILE"
TEXT_VARIABLE = "SCANNER_KEY"
KEY_BYTES = 32
ID_BYTES = 8
_FILE_BYTES_MAX = 1 << 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Args:
        secret: 32 bytes.
    """

    secret: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        """Eight bytes that name it and give nothing away."""
        return hashlib.sha256(b"identity-leak key id\0" + self.secret).digest()[:ID_BYTES]


def current_keys() -> tuple[Key, ...]:
    """Return the keys of the environment, the one to write with first; none where none is set.

    Raises:
        SealError: both variables are set, or what they name holds no keys or is open to others.
    """
    path, text = os.environ.get(FILE_VARIABLE, ""), os.environ.get(TEXT_VARIABLE, "")
    if path and text:
        raise SealError(f"{FILE_VARIABLE} and {TEXT_VARIABLE} are both set. Unset one of them.")
    if path:
        return read_key_file(Path(path))
    return _parse(text, f"the variable {TEXT_VARIABLE}") if text else ()


def read_key_file(path: Path) -> tuple[Key, ...]:
    """Read a key file, in its order.

    Raises:
        SealError: it is not there, holds no keys, or others than its owner may read or write it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SealError(
            f"The key file '{path}' cannot be read ({error.strerror}). Correct {FILE_VARIABLE}, or make one: "
            "scanner key new FILE"
        ) from None
    if mode & _OTHERS:
        raise SealError(
            f"The key file '{path}' has the mode {mode:04o}: others than its owner may use it. "
            f"Run: chmod 600 '{path}'. Who may have read it already can open what was written with it."
        )
    return _parse(content[:_FILE_BYTES_MAX].decode("utf-8", "replace"), f"the key file '{path}'")


def new_key() -> Key:
    """Return a new random key."""
    return Key(os.urandom(KEY_BYTES))


def write_key_file(path: Path, keys: Sequence[Key]) -> None:
    """Write a key file that only its owner can read, completely or not at all; of a link, the file that it leads to."""
    with atomic_path(path.resolve()) as temporary:
        temporary.write_bytes(b"".join(map(_line, keys)))


def add_key(path: Path) -> tuple[Key, ...]:
    """Put a new key first in a key file, whose other lines stay as they are; return all keys.  Errors as of `read_key_file`."""
    keys = (new_key(), *read_key_file(path))
    with atomic_path(path.resolve()) as temporary:
        temporary.write_bytes(_line(keys[0]) + path.read_bytes())
    return keys


def _line(key: Key) -> bytes:
    return base64.b64encode(key.secret) + b"\n"


def _parse(text: str, where: str) -> tuple[Key, ...]:
    # What could not be decoded is not quoted: it may be most of a key.
    lines = [line.partition("#")[0] for line in text.splitlines()]
    words = [word for line in lines for word in re.split(r"[\s,]+", line) if word]
    keys = []
    for number, word in enumerate(words, start=1):
        try:
            secret = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise SealError(
                f"Entry {number} in {where} is no key: {KEY_BYTES} bytes as base64 are needed. Make one with: "
                "scanner key new FILE"
            )
        keys.append(Key(secret))
    if not keys:
        raise SealError(f"There is no key in {where}. Make one with: scanner key new FILE")
    return tuple(dict.fromkeys(keys))
