"""Counts in one sentence, and the exit code that follows from them."""

from __future__ import annotations

import pytest

from scanner.cli import EXIT_DONE, EXIT_INCOMPLETE
from scanner.cli.counts import exit_code, listed, tell, tell_inversions
from scanner.jobs.inverting.inverted import ShardCounts
from scanner.records import Counts

REASONS = {"blurred": 1, "duplicate": 2, "not_an_image": 3}


def test_duplicates_are_told_once_and_the_most_frequent_reason_first() -> None:
    assert tell(Counts(entries=10, items=4, duplicates=2, rejected=4, faces=5, reasons=REASONS)) == (
        "10 entries: 4 with 5 faces, 2 duplicates, 4 rejected (3 not_an_image, 1 blurred)"
    )


def test_inversions_are_told_as_faces_are() -> None:
    counts = ShardCounts(
        entries=12,
        inverted=5,
        failed=1,
        duplicates=2,
        rejected=4,
        statuses={"converged": 1, "stalled": 4},
        reasons=REASONS,
    )

    assert tell_inversions(counts, f"inverted ({listed(counts.statuses)})") == (
        "12 entries: 5 inverted (4 stalled, 1 converged), 1 failed, 2 duplicates, 4 rejected (3 not_an_image, 1 blurred)"
    )


@pytest.mark.parametrize("kind", [Counts, ShardCounts])
def test_what_could_not_be_read_makes_a_job_incomplete(kind: type[Counts | ShardCounts]) -> None:
    assert exit_code(kind(reasons=REASONS)) == EXIT_DONE
    assert [exit_code(kind(reasons={name: 1})) for name in ("unreadable", "archive_cut", "bad_record")] == [
        EXIT_INCOMPLETE
    ] * 3
