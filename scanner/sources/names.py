"""Names of files and archive members: which are images, which are safe, what they say about identity.

No member is ever written to disk under its name, so an unsafe name could do no harm here; but it
travels into reports and from there to other programs, and it marks an archive that wants watching.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final

from scanner.sources.options import IdentityFrom

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
)
NAME_CHARS_MAX: Final = 4096
"""The longest name that is kept, as of a path on Linux; a tar can give each of its members a name of a megabyte."""
INSIDE: Final = "!/"
"""Stands between the uri of an archive and the name of an entry."""
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def is_image_name(name: str) -> bool:
    """Tell whether the name ends like an image; macOS's `._x.jpg`, which hold no image, do not count."""
    base = name.rpartition("/")[2]
    return not base.startswith("._") and suffix_of(base) in IMAGE_SUFFIXES


def suffix_of(name: str) -> str:
    """Return the last suffix in lower case, with its dot; "" where there is none."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def is_safe_name(name: str) -> bool:
    """Tell whether a member's name stays inside its archive, can be printed and is no longer than a path may be."""
    inside = len(name) <= NAME_CHARS_MAX and not name.startswith(("/", "\\")) and not _DRIVE.match(name)
    return inside and name.isprintable() and ".." not in re.split(r"[/\\]", name)


def plain_name(name: str) -> str:
    r"""Return a member's name without leading `./`, cut to a path's length, everything unprintable written as `\x1b`."""
    name = name[:NAME_CHARS_MAX]
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return printable(name)


def printable(text: str) -> str:
    r"""Return a text with everything that a terminal would obey or hide written as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def text_of(path: str) -> str:
    """Return a file system's path as text that can be encoded, whatever bytes it is made of."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def member_uri(archive_uri: str, name: str) -> str:
    """Return `ARCHIVE!/member`."""
    return f"{archive_uri}{INSIDE}{plain_name(name).lstrip('/')}"


def identity_of(name: str, identity_from: IdentityFrom, label: str | None) -> str | None:
    """Return the identity of the image with this name, given what the format's labels say."""
    if identity_from is IdentityFrom.LABELS:
        return None if label is None else printable(label)
    path = PurePosixPath(plain_name(name))
    if identity_from is IdentityFrom.FOLDER:
        return path.parts[0] if len(path.parts) > 1 else None
    if identity_from is IdentityFrom.NAME:
        return path.stem.rpartition("_")[0] or None
    return None


def listing_hash(lines: Iterable[str]) -> str:
    """Return 32 hex digits that change when any line, or the order of the lines, does."""
    digest = sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()[:32]
