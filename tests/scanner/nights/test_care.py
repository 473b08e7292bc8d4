"""Nights and erasures beside each other: nobody comes back, nothing is lost."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drawn_people import name, photos_of, png, write_people
from small_job import job, night, put, run_of, table

from indexes import open_index
from indexes.errors import IndexesError, LockedError
from indexes.keys import TEXT_VARIABLE
from indexes.lock import write_lock
from indexes.sealed import is_sealed
from scanner import artefacts
from scanner.erasing import Wanted, erase_everywhere, search_everywhere
from scanner.errors import UsageError
from scanner.nights.deadline import StoppedForTonight
from scanner.progress import Silent
from scanner.records import content_id

AT = datetime(2026, 1, 2, tzinfo=UTC)


class StopAt(Silent):
    """Ends the night at a stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def stage(self, name: str, **_named: object) -> None:
        if name.startswith(self._stage):
            raise StoppedForTonight("It is time.")


def erase(*roots: Path, wanted: Wanted | None = None):
    return erase_everywhere(list(roots), wanted or Wanted(identities=(name(2),)), clock=lambda: AT)


@pytest.mark.parametrize("place", ["", "state", "state/candidates", "state/candidates/people.idx"])
def test_the_erased_do_not_come_back_from_wherever_they_were_erased(folder: Path, place: str) -> None:
    night(folder)
    wanted = Wanted(identities=(name(2),), uris=(str(folder / "people" / name(2) / "0.png"),))
    erase(folder / place, wanted=wanted)
    (folder / "people" / name(2) / "1.png").touch()
    write_people(folder / "people", photos_of([20], range(2)))
    if place.startswith("state/"):  # what was seen of the sources lies beside, and was not named
        for photo in range(2):
            (folder / "people" / name(2) / f"{photo}.png").touch()
    second = night(folder)

    labels = open_index(folder / "state" / "candidates" / "people.idx").column("identity").to_pylist()
    assert name(2) not in labels
    assert labels.count(name(20)) == 2
    assert second.account["sets"]["candidates"]["people"]["kept_out"] == 2


def test_no_job_at_below_or_above_may_be_running(folder: Path) -> None:
    night(folder)
    for root in (folder, folder / "state", folder / "state" / "queries"):
        with write_lock(folder / "state"), pytest.raises(LockedError):
            erase(root)

    assert not list(folder.rglob(".erasing"))


def test_a_night_waits_for_an_erasure_that_was_killed(folder: Path, monkeypatch) -> None:
    night(folder)
    with monkeypatch.context() as dying:

        def dies(*_given: object) -> None:
            raise KeyboardInterrupt

        dying.setattr("scanner.erasing.erase.carry_out", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(folder)
    with pytest.raises(UsageError, match=r"An erasure in .*state was interrupted(.|\n)*scanner erase"):
        night(folder)
    done = erase(folder)

    assert done.complete
    assert done.finished_before
    assert night(folder).exit_code == 0


def test_an_erasure_in_an_unfinished_night_loses_nothing_that_was_taken_in(folder: Path) -> None:
    night(folder)
    put(folder, "gen/5.png", 5, 5)
    with pytest.raises(StoppedForTonight):
        night(folder, progress=StopAt("search of"))
    erase(folder / "state")
    assert not (folder / "state" / "tonight").exists()
    put(folder, "gen/6.png", 6, 5)
    result = night(folder)

    found = {Path(uri).name for uri in table(run_of(result), "queries")["uri"].to_pylist()}
    assert found == {f"{number}.png" for number in (2, 3, 4, 5, 6, 40)}


def test_a_run_that_was_in_place_when_the_night_died_is_made_again(folder: Path, monkeypatch) -> None:
    night(folder)
    put(folder, "gen/5.png", 5, 5)
    with monkeypatch.context() as dying:

        def dies(*_given: object) -> None:
            raise KeyboardInterrupt

        dying.setattr("scanner.nights.night.findings_of", dies)
        with pytest.raises(KeyboardInterrupt):
            night(folder)
    assert (folder / "state" / "nights" / "000002" / "gen" / "run.json").exists()
    erase(folder / "state")
    result = night(folder)

    assert result.exit_code == 0
    assert table(run_of(result), "queries").num_rows == 5


def test_an_index_of_somebody_else_that_is_erased_from_compacted_and_added_to(folder: Path) -> None:
    from scanner.jobs.indexing.build import add, build
    from drawn_people import BY_FOLDER, FACES  # isort: skip

    build(folder / "other.idx", str(folder / "people"), faces=FACES, sources=BY_FOLDER)
    config = job(candidates=[{"name": "other", "index": "other.idx"}])
    night(folder, config)
    index = open_index(folder / "other.idx")
    index.remove(index.references().ids[:3], clock=lambda: AT)
    night(folder, config)
    open_index(folder / "other.idx").compact()
    write_people(folder / "more", photos_of([40], range(2)))
    add(folder / "other.idx", str(folder / "more"), faces=FACES, sources=BY_FOLDER)
    result = night(folder, config)
    twin = night(folder, job(candidates=[{"name": "other", "index": "other.idx"}], job={"folder": "twin"}))

    for table_name in ("matches", "queries"):
        assert table(run_of(result), table_name).equals(table(run_of(twin), table_name))
    assert name(40) in table(run_of(result), "matches")["identity"].to_pylist()


def test_a_threshold_that_is_calibrated_elsewhere_moves_with_what_it_is_calibrated_on(folder: Path) -> None:
    from scanner.jobs.indexing.build import add, build
    from drawn_people import BY_FOLDER, FACES  # isort: skip

    write_people(folder / "labelled", photos_of(range(200, 215), range(2)))
    build(folder / "labelled.idx", str(folder / "labelled"), faces=FACES, sources=BY_FOLDER)
    config = job(scan={"fmr": 0.05, "calibrate_on": "labelled.idx"})
    first = night(folder, config)
    write_people(folder / "more", photos_of(range(220, 250), range(2)))
    add(folder / "labelled.idx", str(folder / "more"), faces=FACES, sources=BY_FOLDER)
    second = night(folder, config)

    at = [artefacts.read_json(run_of(one) / "run.json")["threshold"] for one in (first, second)]
    assert at[0] != at[1]


def test_nor_do_files_of_the_erased_of_which_no_byte_could_be_read(folder: Path) -> None:
    (folder / "people" / name(2) / "empty.png").write_bytes(b"")
    night(folder)
    erase(folder / "state")
    (folder / "people" / name(2) / "empty.png").touch()
    second = night(folder)

    assert search_everywhere([folder / "state"], Wanted(identities=(name(2),))).left == ()
    assert second.account["sets"]["candidates"]["people"]["kept_out"] == 3


def test_without_the_key_of_what_is_kept_nothing_is_written_unsealed(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv(TEXT_VARIABLE, base64.b64encode(bytes(range(32))).decode())
    night(folder)
    sealed = {path for path in (folder / "state").rglob("*") if path.is_file() and is_sealed(path)}
    put(folder, "gen/5.png", 5, 5)
    write_people(folder / "people", photos_of([20], range(2)))
    with monkeypatch.context() as forgotten:
        forgotten.delenv(TEXT_VARIABLE)
        with pytest.raises((IndexesError, UsageError), match="SCANNER_KEY"):
            night(folder)
    files = [path for path in (folder / "state").rglob("*.parquet") if path not in sealed]
    assert [path for path in files if "embedding" in artefacts.open_parquet(path).schema_arrow.names] == []
    result = night(folder)

    assert result.exit_code == 0
    assert table(run_of(result), "queries").num_rows == 5
    assert is_sealed(folder / "state" / "queries" / "gen" / "000002.parquet")


def test_a_file_that_has_become_an_erased_picture_is_no_longer_what_it_was(folder: Path) -> None:
    night(folder)
    erase(folder / "state", wanted=Wanted(item_ids=(content_id(png(4, 5)),)))
    (folder / "gen" / "2.png").write_bytes(png(4, 5))
    result = night(folder)

    assert {Path(uri).name for uri in table(run_of(result), "queries")["uri"].to_pylist()} == {"3.png", "40.png"}
    assert result.account["sets"]["queries"]["gen"]["entries"] == 2


def test_what_waits_in_an_unfinished_night_does_not_bring_the_erased_back(folder: Path) -> None:
    night(folder)
    write_people(folder / "people", photos_of([2, 20], [5]))
    with pytest.raises(StoppedForTonight):
        night(folder, progress=StopAt("index of"))
    erase(folder / "state" / "candidates")
    result = night(folder)

    labels = open_index(folder / "state" / "candidates" / "people.idx").column("identity").to_pylist()
    assert (labels.count(name(2)), labels.count(name(20))) == (0, 1)
    assert result.account["sets"]["candidates"]["people"]["kept_out"] == 3
