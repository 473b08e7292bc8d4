"""A JOB.toml that changes between two nights: what cannot be mixed is refused, all else is as if it had always been so."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawn_people import name, photos_of, png, write_people
from small_job import job, night, put, run_of, table, tree

from indexes.keys import TEXT_VARIABLE
from scanner import artefacts
from scanner.errors import EmbedderMismatch
from scanner.jobs.options import FaceOptions
from scanner.nights.preview import preview

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("changed", "word"),
    [({"faces": "whole"}, "mode aligned, now whole"), ({"select": "all"}, "select central, now all")],
)
@pytest.mark.parametrize("scan", [{"threshold": 0.5}, {"threshold": 0.4}])
def test_another_embedder_is_refused_though_no_picture_is_new(
    folder: Path, changed: dict[str, Any], word: str, scan: dict[str, Any]
) -> None:
    first = night(folder)
    before = tree(folder / "state", without=("costs.json", "lock"))
    other = job(embedder={"spec": "drawn", "faces": "aligned", "workers": 2, **changed}, scan=scan)

    problems = preview(other, folder)["problems"]
    assert any(word in problem and "[job] folder" in problem for problem in problems)
    for _ in range(2):
        with pytest.raises(EmbedderMismatch, match=word):
            night(folder, other)
    assert tree(folder / "state", without=("costs.json", "lock")) == before
    put_back = night(folder)
    assert put_back.account["runs"]["gen"]["unchanged"]
    assert run_of(put_back) == run_of(first)


def test_what_changes_no_result_of_the_embedder_is_taken_as_it_is(folder: Path) -> None:
    night(folder)
    result = night(folder, job(embedder={"spec": "drawn", "faces": "aligned", "workers": 1, "device": "cpu"}))

    assert result.account["runs"]["gen"]["unchanged"]
    assert preview(job(embedder={"spec": "drawn", "faces": "aligned"}), folder)["problems"] == []


def test_a_job_of_an_older_scanner_has_its_embedder_looked_at(folder: Path) -> None:
    night(folder)
    mark = folder / "state" / "job.json"
    document = artefacts.read_json(mark)
    del document["embedder"]
    mark.write_text(json.dumps(document))

    with pytest.raises(EmbedderMismatch, match="mode aligned, now whole"):
        night(folder, job(embedder={"spec": "drawn", "faces": "whole"}))
    assert night(folder).account["runs"]["gen"]["unchanged"]


def test_a_network_that_was_replaced_in_place_mixes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says the same as before; only the network knows, and it is asked when the first picture comes."""
    from scanner.nights import take

    night(folder)
    put(folder, "gen/5.png", 5, 5)
    write_people(folder / "people", photos_of([20], range(2)))
    real = take.open_road

    def open_other(faces: FaceOptions, **given: Any) -> Any:
        return real(replace(faces, select="all"), **given)

    with monkeypatch.context() as replaced:
        replaced.setattr(take, "open_road", open_other)
        result = night(folder)

    whys = {error["set"]: error["why"] for error in result.account["errors"]}
    assert whys.keys() == {"candidates/people", "queries/gen"}
    assert all("select" in why and "[job] folder" in why for why in whys.values())
    assert night(folder).account["runs"]["gen"]["compared"] == 1 * 26 + 4 * 2


def test_a_check_says_that_the_key_of_what_is_kept_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TEXT_VARIABLE, KEY)
    night(folder)
    assert preview(job(), folder)["problems"] == []
    monkeypatch.delenv(TEXT_VARIABLE)

    assert "no key is set" in preview(job(), folder)["problems"][0]


def test_what_a_stopped_night_had_finished_is_done_again_where_the_file_says_otherwise_by_now(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanner.nights.night import _Night

    put(folder, "other/5.png", 5, 5)
    queries = [{"name": "gen", "sources": ["gen"]}, {"name": "other", "sources": ["other"]}]
    real = _Night._run

    def stops(self: Any, section: Any) -> Any:
        if section.name == "other":
            raise KeyboardInterrupt
        return real(self, section)

    with monkeypatch.context() as stopped:
        stopped.setattr(_Night, "_run", stops)
        with pytest.raises(KeyboardInterrupt):
            night(folder, job(queries=queries, scan={"threshold": 0.9}))
    result = night(folder, job(queries=queries, scan={"threshold": 0.5}))

    thresholds = [
        artefacts.read_json(run_of(result, one) / "run.json")["threshold"]["value"] for one in ("gen", "other")
    ]
    assert thresholds == [0.5, 0.5]
    assert result.account["runs"]["gen"]["results"]["matches"] == 6
    again = night(folder, job(queries=queries, scan={"threshold": 0.5}))
    assert all(run["unchanged"] for run in again.account["runs"].values())


@pytest.mark.parametrize("taken", ["queries", "candidates"])
def test_a_stopped_night_that_is_given_other_sources_looks_at_those(
    folder: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    from scanner.nights.night import _Night

    def stops(*_given: object) -> None:
        raise KeyboardInterrupt

    put(folder, "other/5.png", 5, 5)
    night(folder)
    put(folder, "gen/6.png", 6, 5)
    write_people(folder / "people", photos_of([20], range(2)))
    write_people(folder / "others", photos_of([5, 21], range(2)))
    with monkeypatch.context() as stopped:
        stopped.setattr(_Night, "_run" if taken == "queries" else "_queries", stops)
        with pytest.raises(KeyboardInterrupt):
            night(folder)
    changes = {
        "queries": [{"name": "gen", "sources": ["other"]}],
        "candidates": [{"name": "people", "sources": ["others"], "identity_from": "folder"}],
    }
    result = night(folder, job(**changes))

    matches = table(run_of(result), "matches").to_pylist()
    assert {(row["query_uri"].rpartition("/")[2], row["identity"]) for row in matches} == {("5.png", name(5))}
    assert artefacts.read_json(run_of(result) / "run.json")["counts"]["entries"] == 1
    assert night(folder, job(**changes)).account["runs"]["gen"]["unchanged"]
    back = night(folder)
    assert table(run_of(back), "queries").num_rows == 5


def test_a_threshold_follows_the_pictures_that_it_is_calibrated_on(folder: Path) -> None:
    """Though they keep their names, sizes and times."""
    cal, size = folder / "cal", max(len(png(*photo)) for photo in photos_of(range(100, 124), range(2)))
    cal.mkdir()
    labels = [[f"{number}-{photo}.png", number] for number, photo in photos_of(range(12), range(2))]
    (cal / "dataset.json").write_text(json.dumps({"labels": labels}))

    def write(first: int) -> None:
        for number, photo in photos_of(range(12), range(2)):
            path = cal / f"{number}-{photo}.png"
            path.write_bytes(png(first + number, photo).ljust(size, b"\0"))
            os.utime(path, ns=(10**18, 10**18))

    config = job(scan={"fmr": 0.3, "calibrate_on": "cal"})
    write(100)
    first = night(folder, config)
    assert night(folder, config).account["runs"]["gen"]["unchanged"]
    write(112)
    second = night(folder, config)

    values = [artefacts.read_json(run_of(one) / "run.json")["threshold"]["value"] for one in (first, second)]
    assert values[0] != values[1]
