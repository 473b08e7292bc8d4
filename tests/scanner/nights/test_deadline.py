"""Stopping at a time of day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from drawn_people import photos_of, write_people
from small_job import night, put, tree

from scanner.errors import UsageError
from scanner.nights import take
from scanner.nights.deadline import Deadline, StoppedForTonight, next_time
from scanner.progress import Silent

EVENING = datetime(2026, 1, 1, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"), [("23:00", 0.5), ("06:00", 7.5), ("6:00", 7.5), ("22:30", 24.0), (" 00:00 ", 1.5)]
)
def test_the_time_is_the_next_one(text: str, hours: float) -> None:
    assert next_time(text, EVENING) - EVENING == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["24:00", "6", "06:60", "6 am", ""])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no time of day. Write it as 06:00."):
        next_time(text, EVENING)


def test_a_night_that_was_stopped_every_few_pictures_ends_as_one_that_was_not(tmp_path: Path, monkeypatch) -> None:
    """Every start gets a few looks at its clock, so that it ends within a few pieces of work."""
    import scanner.pipeline

    monkeypatch.setattr(take, "SHARD_ENTRIES", 4)
    monkeypatch.setattr(scanner.pipeline, "SHARD_ENTRIES", 4)
    write_people(tmp_path / "people", photos_of(range(7), range(2)))
    for number in range(2, 9):
        put(tmp_path, f"gen/{number}.png", number, 5)

    said: list[tuple[int, str]] = []
    while True:
        looks = iter([EVENING] * (3 + len(said) // 4))
        clock = lambda looks=looks: next(looks, EVENING + timedelta(hours=12))  # noqa: E731
        try:
            night(tmp_path, progress=Deadline(Silent(), stop=EVENING + timedelta(hours=8), clock=clock))
            break
        except StoppedForTonight as stop:
            said.append((stop.exit_code, str(stop).partition(" What is")[0]))
    stopped = tree(tmp_path / "state")
    (tmp_path / "state").rename(tmp_path / "stopped")
    night(tmp_path)

    assert said == [(4, "It is 06:30: stopped as asked.")] * len(said)
    assert len(said) >= 4
    assert tree(tmp_path / "state") == stopped
