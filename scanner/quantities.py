"""Seconds and bytes as people say them."""

from __future__ import annotations

import re

from scanner.errors import UsageError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_bytes(text: str) -> int:
    """Return the bytes of `4GiB`, `512M` or `1000000`; raises UsageError for what is no amount."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?b)?\s*", text.lower())
    if match is None:
        raise UsageError(f"{text!r} is no amount of memory. Write it as 4GiB, 512MiB or 1000000.")
    return int(float(match[1]) * _UNITS[match[2]])


def time_words(seconds: float | None) -> str:
    """Return seconds for people: 12 s, 34 min, 5.6 h, 7.8 days; None is "not known"."""
    if seconds is None:
        return "not known"
    for limit, unit_s, form in (
        (2.0, 1, "{:.2f} s"),
        (120, 1, "{:.0f} s"),
        (7200, 60, "{:.0f} min"),
        (172_800, 3600, "{:.1f} h"),
    ):
        if seconds < limit:
            return form.format(seconds / unit_s)
    return f"{seconds / 86_400:.1f} days"


def bytes_words(size_bytes: float) -> str:
    """Return bytes for people: 12 KiB, 3.4 GiB, 5.6 TiB."""
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes / 1024:.0f} KiB"
