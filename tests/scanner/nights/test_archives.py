"""Archives that lost much of what they held: half written, half copied, or meant so."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_people import photos_of, write_people, write_tar
from small_job import job, night, put, run_of, table

from scanner.nights.config import JobConfig

PEOPLE = photos_of(range(2, 10), [0])
CANDIDATES = {"candidates": [{"name": "people", "sources": ["people", "more.tar"], "identity_from": "labels"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_people(tmp_path / "people", photos_of(range(20, 25), [0]))
    write_tar(tmp_path / "more.tar", PEOPLE)
    for number in (2, 9, 40):
        put(tmp_path, f"gen/{number}.png", number, 5)
    return tmp_path


def cut(folder: Path, share: float) -> None:
    tar = folder / "more.tar"
    tar.write_bytes(tar.read_bytes()[: int(share * tar.stat().st_size)])


def found(folder: Path, config: JobConfig) -> set[str]:
    return set(table(run_of(night(folder, config)), "matches")["identity"].to_pylist())


def test_an_archive_that_is_half_there_is_not_forgotten(folder: Path) -> None:
    config = job(**CANDIDATES)
    whole = (folder / "more.tar").read_bytes()
    assert found(folder, config) == {"person-002", "person-009"}
    cut(folder, 0.3)
    for _ in range(2):
        careful = night(folder, config)

        assert careful.exit_code == 4
        assert "entries of more.tar are gone" in careful.account["errors"][0]["why"]
        assert "--allow-gone" in careful.account["errors"][0]["why"]
        assert set(table(run_of(careful), "matches")["identity"].to_pylist()) == {"person-002", "person-009"}
    (folder / "more.tar").write_bytes(whole)
    back = night(folder, config)

    assert back.exit_code == 0
    assert back.account["sets"]["candidates"]["people"]["entries"] == 13
    assert back.account["sets"]["candidates"]["people"]["new"]["entries"] == 0
    assert night(folder, config).account["runs"]["gen"]["compared"] == 0


def test_queries_of_an_archive_that_is_half_there_are_those_of_last_night(folder: Path) -> None:
    config = job(
        candidates=[{"name": "people", "sources": ["people"]}], queries=[{"name": "gen", "sources": ["more.tar"]}]
    )
    first = night(folder, config)
    cut(folder, 0.3)
    night(folder, config)
    third = night(folder, config)

    assert third.exit_code == 4
    assert third.account["runs"]["gen"]["unchanged"]
    assert third.account["sets"]["queries"]["gen"]["new"]["entries"] == 0
    assert table(run_of(third), "queries")["uri"].equals(table(run_of(first), "queries")["uri"])


def test_an_archive_that_was_cut_down_is_forgotten_where_it_is_meant_so(folder: Path) -> None:
    config = job(**CANDIDATES)
    night(folder, config)
    write_tar(folder / "more.tar", PEOPLE[:2])
    assert night(folder, config).exit_code == 4
    meant = night(folder, config, allow_gone=True)

    assert meant.exit_code == 0
    assert meant.account["sets"]["candidates"]["people"]["entries"] == 7
    assert set(table(run_of(meant), "matches")["identity"].to_pylist()) == {"person-002"}
    assert night(folder, config).account["runs"]["gen"]["unchanged"]


def test_what_is_new_in_an_archive_that_lost_most_is_taken_in(folder: Path) -> None:
    config = job(**CANDIDATES)
    night(folder, config)
    write_tar(folder / "more.tar", [*PEOPLE[:1], *photos_of(range(40, 60), [0])])
    for _ in range(2):  # though what it lost is a small share by then
        careful = night(folder, config)

        assert careful.exit_code == 4
        people = set(table(run_of(careful), "matches")["identity"].to_pylist())
        assert people == {"person-002", "person-009", "person-040"}
