import json
from pathlib import Path

import pytest
from run_folder import write_run

from scanner.errors import ArtefactError
from scanner.report.runs import find_runs, night_of, run_label, run_labels


def empty_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"format": "identity-leak-run"}')
    return folder


def test_runs_below_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path):
    for name in ("run-10", "run-2", "b/run-1", "a", "run-02"):
        empty_run(tmp_path / name)

    names = [run.relative_to(tmp_path).as_posix() for run in find_runs([tmp_path])]

    assert names == ["a", "b/run-1", "run-02", "run-2", "run-10"]


def test_paths_keep_their_order_and_a_run_is_found_once(tmp_path: Path):
    first, second = empty_run(tmp_path / "x" / "first"), empty_run(tmp_path / "x" / "second")

    assert find_runs([second, tmp_path / "x", first]) == [second, first]


def test_a_relative_path_gives_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = empty_run(tmp_path / "run")
    monkeypatch.chdir(run)

    assert find_runs(["."]) == [run]
    assert run_label(".") == "run"


def test_what_is_no_run_of_ours_is_passed_over(tmp_path: Path):
    run = empty_run(tmp_path / "run")
    empty_run(run / "witness-1")
    empty_run(tmp_path / ".hidden")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run.json").write_text(json.dumps({"format": "something else"}))
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "run.json").write_text("[]")
    (tmp_path / "linked").symlink_to(run)
    (tmp_path / "unfinished").mkdir()

    assert find_runs([tmp_path]) == [run]
    assert find_runs([run / "witness-1"]) == [run / "witness-1"]


def test_a_damaged_run_is_found_so_that_its_reader_says_so(tmp_path: Path):
    run = empty_run(tmp_path / "run")
    (run / "run.json").write_bytes(b"\xff{")

    assert find_runs([tmp_path]) == [run]


def test_no_run_is_an_error_that_says_where_was_looked(tmp_path: Path):
    (tmp_path / "a").mkdir()

    with pytest.raises(ArtefactError, match=rf"^No finished run is at or below {tmp_path}/a: .*has a run.json"):
        find_runs([tmp_path / "a"])
    with pytest.raises(ArtefactError, match=rf"^{tmp_path}/b is no folder\. Name run folders"):
        find_runs([tmp_path / "b"])
    with pytest.raises(ArtefactError, match="at or below nowhere"):
        find_runs([])


def test_a_name_that_is_no_text_is_refused(tmp_path: Path):
    empty_run(tmp_path / "run-\udcff")

    with pytest.raises(ArtefactError, match=r"run-\\udcff' has a name that is no UTF-8\. Rename the folder\.$"):
        find_runs([tmp_path])


def test_a_run_of_a_night_is_called_by_night_and_name(tmp_path: Path):
    of_night = empty_run(tmp_path / "state" / "nights" / "000012" / "faces")
    alone = empty_run(tmp_path / "state" / "000012" / "faces")

    assert (run_label(of_night), night_of(of_night)) == ("000012/faces", 12)
    assert (run_label(alone), night_of(alone)) == ("faces", None)


def test_labels_are_as_short_as_tells_the_runs_apart(tmp_path: Path):
    runs = [tmp_path / name for name in ("a/x/run", "b/x/run", "a/y/run", "other")]

    assert run_labels(runs) == ["a/x/run", "b/x/run", "y/run", "other"]
    assert run_labels(runs[:1]) == ["run"]
    assert run_labels([runs[0], runs[0]]) == ["/".join(runs[0].parts)] * 2


def test_a_whole_run_is_found(tmp_path: Path):
    assert find_runs([write_run(tmp_path / "run", [])]) == [tmp_path / "run"]
