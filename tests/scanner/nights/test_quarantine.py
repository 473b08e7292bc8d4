"""Pictures on which the process dies stop a few starts, not the job; what comes out is as if they had been known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_people import photos_of, png, write_people
from small_job import job, night, put, run_of, table, tree

import scanner.pipeline
from scanner.errors import SourceStopped
from scanner.nights.night import run_night
from scanner.nights.patience import Patience
from scanner.nights.quarantine import Quarantine
from scanner.nights.walk import Marker
from scanner.progress import Silent
from scanner.records import Item, Reason, Reject, content_id

DRIVER = Path(__file__).parent / "poison_driver.py"
ALL = range(40, 54)


def start(folder: Path, poison: dict[str, str]) -> tuple[int, str]:
    """Start the night in a process of its own; return its exit code and what it said."""
    paths = [*(str(path) for path in (DRIVER.parent, DRIVER.parents[1] / "jobs")), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "POISON": json.dumps(poison),
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_people(tmp_path / "people", photos_of(range(5), range(2)))
    for number in ALL:
        put(tmp_path, f"gen/{number}.png", number, 5)
    return tmp_path


@pytest.mark.slow
def test_pictures_that_kill_and_hang_are_quarantined_and_the_night_ends_as_if_they_had_been_known(
    pictures: Path,
) -> None:
    kills, hangs = (content_id(png(number, 5)) for number in (43, 50))
    poison = {kills: "kill", hangs: "hang"}
    codes = []
    while not codes or (codes[-1] == -9 and len(codes) < 8):
        code, said = start(pictures, poison)
        codes.append(code)

    assert codes == [-9, -9, -9, 0], said
    state = pictures / "state"
    listed = json.loads((state / "queries" / "gen.quarantine.json").read_text())["entries"]
    assert [(entry["item_id"], entry["why"]) for entry in listed] == [
        (kills, "looking at it ended the process (SIGKILL)"),
        (hangs, "looking at it did not end within 4 s"),
    ]
    account = json.loads((state / "nights" / "000001" / "night.json").read_text())
    new = account["sets"]["queries"]["gen"]["new"]
    assert (new["entries"], new["items"], new["rejected"], new["reasons"]) == (14, 12, 2, {"quarantined": 2})
    found = tree(state)

    twin = pictures / "twin"
    shutil.copytree(
        state / "queries", twin / "queries", ignore=lambda _, names: [n for n in names if "quarantine" not in n]
    )
    shutil.move(state, pictures / "killed")
    shutil.move(twin, state)
    for name in ("job.json",):
        shutil.copy(pictures / "killed" / name, state / name)
    code, said = start(pictures, poison)
    assert code == 0, said
    assert tree(state) == found


def test_a_picture_on_which_a_decoder_raises_is_quarantined_at_once_and_under_any_name(pictures: Path) -> None:
    bad = content_id(png(46, 5))
    code, said = start(pictures, {bad: "raise"})

    assert code == 0, said
    account = json.loads(said.splitlines()[-1])
    assert account["sets"]["queries"]["gen"]["new"]["reasons"] == {"quarantined": 1}
    (pictures / "gen" / "46.png").rename(pictures / "gen" / "zz.png")
    second = night(pictures)
    assert second.account["runs"]["gen"]["rejected"] == 1
    rejects = table(run_of(second), "rejects").to_pylist()
    assert [(row["uri"][-6:], row["reason"], row["detail"]) for row in rejects] == [
        ("zz.png", "quarantined", "looking at it raised ZeroDivisionError")
    ]
    assert night(pictures).account["runs"]["gen"]["unchanged"]


def test_an_error_that_no_picture_brings_about_alone_is_raised(pictures: Path, monkeypatch) -> None:
    looked = []

    def decode(*_given, **_named):
        raise ZeroDivisionError

    def look(self, entries, *_given, **_named):
        looked.append([entry.uri.rpartition("/")[2] for entry in entries])
        return 0

    monkeypatch.setattr(scanner.pipeline, "decode_item", decode)
    monkeypatch.setattr(Quarantine, "look", look)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            night(pictures)
    monkeypatch.undo()

    assert looked == [["0.png", "1.png"] * 5] * 2
    assert night(pictures).exit_code == 0


def test_entries_on_the_list_become_rejects_and_others_pass(tmp_path: Path) -> None:
    bad, good = Item("a", b"bad", "somebody"), Item("b", b"good")
    Quarantine(tmp_path / "list.json").add(bad, "it kills", night=3)
    again = Quarantine(tmp_path / "list.json")
    other = Reject("c", Reason.EMPTY_FILE)

    assert bad.item_id in again
    assert list(again.keep_out([Item("z", b"bad", "somebody"), good, other])) == [
        Reject("z", Reason.QUARANTINED, "it kills", bad.item_id, "somebody"),
        good,
        other,
    ]


def test_a_marker_is_there_only_while_shards_are_walked(pictures: Path) -> None:
    seen = []

    class Watch(Silent):
        def advance(self, units: int) -> None:  # noqa: ARG002
            seen.extend(Marker(path).read() for path in (pictures / "state" / "tonight").rglob("walking.json"))

    night(pictures, progress=Watch())

    assert seen == [(0, 0), (0, 0)]
    assert not list((pictures / "state").rglob("walking.json"))


def test_a_source_that_stops_answering_is_asked_again_with_growing_pauses(pictures: Path, monkeypatch) -> None:
    from scanner.sources.folder import FolderSource

    slept: list[float] = []
    # Opening a source reads a picture: once to look, then before each try at reading all.
    real, fails = FolderSource._read, iter([False, True, False, True, *[False] * 100])

    def read(self, entry):
        if "gen" in self.uri and next(fails):
            raise SourceStopped("It does not answer.")
        return real(self, entry)

    monkeypatch.setattr(FolderSource, "_read", read)
    result = run_night(job(), pictures, patience=Patience((5.0, 30.0), slept.append))

    assert slept == [5.0, 30.0]
    assert result.exit_code == 0
    assert result.account["sets"]["queries"]["gen"]["new"]["items"] == len(ALL)


def test_patience_ends(pictures: Path, monkeypatch) -> None:
    from scanner.nights import listing

    slept: list[float] = []

    def stopped(_part, name, *_rest):
        raise SourceStopped(f"{name} does not answer.")

    night(pictures)
    monkeypatch.setattr(listing, "_compare", stopped)
    result = run_night(job(), pictures, patience=Patience((5.0, 30.0), slept.append))

    assert slept == [5.0, 30.0, 5.0, 30.0]
    assert [error["why"] for error in result.account["errors"]] == ["people does not answer.", "gen does not answer."]
    assert result.exit_code == 4
