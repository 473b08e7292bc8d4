"""How counts are told, and when a finished job is incomplete all the same."""

from __future__ import annotations

from scanner.cli import EXIT_DONE, EXIT_INCOMPLETE
from scanner.records import Counts, Reason

_UNREAD = (Reason.UNREADABLE.value, Reason.ARCHIVE_CUT.value, Reason.BAD_RECORD.value)


def tell(counts: Counts) -> str:
    """Return one sentence: what became of every entry."""
    reasons = ", ".join(
        f"{n} {name}"
        for name, n in sorted(counts.reasons.items(), key=lambda r: (-r[1], r[0]))
        if name != Reason.DUPLICATE.value
    )
    left = f" ({reasons})" if reasons else ""
    return (
        f"{counts.entries} entries: {counts.items} with {counts.faces} faces, {counts.duplicates} duplicates, "
        f"{counts.rejected} rejected{left}"
    )


def exit_code(counts: Counts) -> int:
    """Return 4 when part of a source could not be read, so that nobody takes the rest for the whole."""
    return EXIT_INCOMPLETE if any(counts.reasons.get(name) for name in _UNREAD) else EXIT_DONE
