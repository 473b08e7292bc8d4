"""How counts are told, and when a finished job is incomplete all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scanner.cli import EXIT_DONE, EXIT_INCOMPLETE
from scanner.records import Counts, Reason

if TYPE_CHECKING:
    from scanner.jobs.inverting.inverted import ShardCounts

_UNREAD = (Reason.UNREADABLE.value, Reason.ARCHIVE_CUT.value, Reason.BAD_RECORD.value)


def tell(counts: Counts) -> str:
    """Return one sentence: what became of every entry."""
    return f"{counts.entries} entries: {counts.items} with {counts.faces} faces, {_left_out(counts)}"


def tell_inversions(counts: ShardCounts, done: str) -> str:
    """Return the same of images that were run backwards; `done` says what became of the good ones."""
    return f"{counts.entries} entries: {counts.inverted} {done}, {counts.failed} failed, {_left_out(counts)}"


def listed(numbers: Mapping[str, int]) -> str:
    """Return `5 converged, 1 stalled`: the most frequent word first."""
    return ", ".join(f"{n} {name}" for name, n in sorted(numbers.items(), key=lambda entry: (-entry[1], entry[0])))


def _left_out(counts: Counts | ShardCounts) -> str:
    reasons = listed({name: n for name, n in counts.reasons.items() if name != Reason.DUPLICATE.value})
    return f"{counts.duplicates} duplicates, {counts.rejected} rejected{f' ({reasons})' if reasons else ''}"


def exit_code(counts: Counts | ShardCounts) -> int:
    """Return 4 when part of a source could not be read, so that nobody takes the rest for the whole."""
    return EXIT_INCOMPLETE if any(counts.reasons.get(name) for name in _UNREAD) else EXIT_DONE
