"""Numbered parts: what counts as finished, and under which names."""

from __future__ import annotations

from pathlib import Path

from scanner.jobs.numbered import Numbered


def test_a_part_is_finished_when_its_marker_is_there(tmp_path: Path) -> None:
    parts = Numbered(tmp_path)
    parts.table(0, "faces").write_bytes(b"")

    assert list(parts.numbers()) == []
    parts.finish(0, {"entries": 3})
    parts.finish(1, {"entries": 1})

    assert list(parts.numbers()) == [0, 1]
    assert parts.documents() == [{"entries": 3}, {"entries": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.faces.parquet", "000000.json", "000001.json"]


def test_work_goes_on_at_the_first_marker_that_is_missing(tmp_path: Path) -> None:
    parts = Numbered(tmp_path)
    for number in (0, 2):
        parts.finish(number, {"number": number})

    assert list(parts.numbers()) == [0]
    assert parts.documents() == [{"number": 0}]
