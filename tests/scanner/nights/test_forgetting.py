"""What was erased stays erased though its source still has it; what is too old goes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from drawn_people import photos_of, write_people
from small_job import job, night, put, run_of, table

from scanner.erasing import Wanted, erase_everywhere, search_everywhere
from scanner.errors import ArtefactError


def test_an_erased_person_is_not_brought_back_by_a_source_that_still_has_the_pictures(tmp_path: Path) -> None:
    write_people(tmp_path / "people", photos_of(range(25), range(2)))
    for number in (2, 3, 40):
        put(tmp_path, f"gen/a-{number}.png", number, 5)
    first = night(tmp_path)
    assert "person-002" in table(run_of(first), "matches")["identity"].to_pylist()

    erase_everywhere(
        [tmp_path / "state"], Wanted(identities=("person-002",)), clock=lambda: datetime(2026, 1, 2, tzinfo=UTC)
    )
    put(tmp_path, "gen/b-4.png", 4, 5)
    second = night(tmp_path)
    third = night(tmp_path)

    taken = second.account["sets"]["candidates"]["people"]
    assert (taken["kept_out"], taken["new"]["entries"], taken["entries"]) == (2, 0, 48)
    found = table(run_of(second), "matches")["identity"].to_pylist()
    assert "person-002" not in found
    assert {"person-003", "person-004"} <= set(found)
    assert second.exit_code == third.exit_code == 0
    assert third.account["runs"]["gen"]["unchanged"]
    assert search_everywhere([tmp_path / "state"], Wanted(identities=("person-002",))).left == ()


def test_old_nights_go_and_what_a_kept_night_stands_on_stays(tmp_path: Path) -> None:
    write_people(tmp_path / "people", photos_of(range(25), range(2)))
    config = job(keep={"nights": 2})
    for number in (2, 3, 4):
        put(tmp_path, f"gen/{number}.png", number, 5)
        last = night(tmp_path, config)
    for _ in range(3):
        last = night(tmp_path, config)

    nights = tmp_path / "state" / "nights"
    assert [path.name for path in sorted(nights.glob("*/gen"))] == ["gen"]
    assert run_of(last) == nights / "000003" / "gen"
    assert len(list(nights.glob("*/night.json"))) == 6


@pytest.mark.parametrize(
    "damaged", ["{}", '{"format": "identity-leak-never-again", "format_version": 2, "pictures": []}']
)
def test_no_night_begins_while_nobody_knows_who_was_erased(tmp_path: Path, damaged: str) -> None:
    write_people(tmp_path / "people", photos_of(range(5), range(2)))
    put(tmp_path, "gen/a.png", 2, 5)
    night(tmp_path)
    erase_everywhere(
        [tmp_path / "state"], Wanted(identities=("person-002",)), clock=lambda: datetime(2026, 1, 2, tzinfo=UTC)
    )
    list_of_erased = tmp_path / "state" / "erasures" / "never-again.json"
    whole = list_of_erased.read_text()
    list_of_erased.write_text(damaged)

    with pytest.raises(ArtefactError, match=r"never-again\.json"):
        night(tmp_path)
    with pytest.raises(ArtefactError, match=r"never-again\.json"):
        erase_everywhere(
            [tmp_path / "state"], Wanted(identities=("person-003",)), clock=lambda: datetime(2026, 1, 3, tzinfo=UTC)
        )
    list_of_erased.write_text(whole)
    assert "person-002" not in table(run_of(night(tmp_path)), "matches")["identity"].to_pylist()
