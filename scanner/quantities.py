"""Seconds and bytes as people say them."""

from __future__ import annotations


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
