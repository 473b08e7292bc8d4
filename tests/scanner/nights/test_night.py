"""Nights against their slow twins: a job that takes everything in one night, and a plain scan of everything."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from drawn_people import BY_FOLDER, FACES, photos_of, write_people
from small_job import job, night, put, run_of, table, tree, with_null

from indexes.errors import DiskFullError
from scanner import artefacts
from scanner.errors import UsageError
from scanner.jobs.indexing.build import build
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan
from scanner.nights.night import NightResult
from scanner.report.diff import diff_runs

TABLES = ("matches", "queries", "rejects")
EVIDENCE = ("photos", "samples", "identities")


def first_night(folder: Path) -> None:
    write_people(folder / "people", photos_of(range(25), range(2)))
    for number in (2, 3, 40, 41):
        put(folder, f"gen/a-{number}.png", number, 5)


def second_night(folder: Path) -> None:
    write_people(folder / "people", photos_of(range(25, 30), range(2)))
    for number in (26, 4, 42):
        put(folder, f"gen/b-{number}.png", number, 5)
    (folder / "gen" / "b-broken.png").write_bytes(b"no picture")
    put(folder, "gen/b-twice.png", 2, 5)


@pytest.mark.parametrize("null", [False, True])
def test_two_nights_end_where_one_night_of_everything_ends(tmp_path: Path, null: bool) -> None:
    many, once = tmp_path / "many", tmp_path / "once"
    config = job(**with_null(many)) if null else job()
    if null:
        with_null(once)
    first_night(many)
    night(many, config)
    second_night(many)
    result = night(many, config)
    first_night(once)
    second_night(once)
    twin = night(once, config)

    for name in TABLES + (EVIDENCE if null else ()):
        found, expected = table(run_of(result), name), table(run_of(twin), name)
        strip = [
            (c, [str(v).replace("/once/", "/many/") for v in expected[c].to_pylist()]) for c in expected.column_names
        ]
        assert found.num_rows
        assert [(c, [str(v) for v in found[c].to_pylist()]) for c in found.column_names] == strip, name
    if null:
        verdict = result.account["runs"]["gen"]["verdict"]
        assert verdict == twin.account["runs"]["gen"]["verdict"]


def test_a_night_compares_only_what_never_met(tmp_path: Path) -> None:
    first_night(tmp_path)
    first = night(tmp_path)
    second_night(tmp_path)
    second = night(tmp_path)
    third = night(tmp_path)

    assert first.account["runs"]["gen"]["compared"] == 4 * 50
    assert second.account["runs"]["gen"]["compared"] == 3 * 60 + 4 * 10
    assert second.account["runs"]["gen"]["of"] == 7 * 60
    assert third.account["runs"]["gen"] | {"unchanged": True, "compared": 0} == third.account["runs"]["gen"]
    assert third.account["runs"]["gen"]["run"] == "000002/gen"
    run = run_of(third)
    slow = diff_runs(run, run).as_json()  # what is written without reading the run is what reading it says
    assert {**third.account["runs"]["gen"]["diff"], "still": slow["still"]} == slow


def keyed(run: Path) -> dict[tuple[str, str], tuple[float, int]]:
    rows = table(run, "matches").to_pylist()
    return {(row["query_uri"], row["reference_uri"]): (row["score"], row["rank"]) for row in rows}


def test_what_is_gone_is_found_no_more_and_all_else_is_as_in_a_fresh_scan(tmp_path: Path) -> None:
    """Files go, come, are renamed, touched and replaced; a scan of what is there in the end says the same."""
    first_night(tmp_path)
    night(tmp_path)
    second_night(tmp_path)
    night(tmp_path)
    (tmp_path / "gen" / "a-3.png").unlink()
    (tmp_path / "people" / "person-002" / "0.png").unlink()
    (tmp_path / "people" / "person-026" / "1.png").unlink()
    (tmp_path / "gen" / "a-2.png").rename(tmp_path / "gen" / "z-2.png")
    (tmp_path / "gen" / "a-40.png").touch()
    put(tmp_path, "gen/a-41.png", 26, 6)
    result = night(tmp_path)
    run = run_of(result)

    build(tmp_path / "people.idx", str(tmp_path / "people"), faces=FACES, sources=BY_FOLDER)
    twin = scan(
        str(tmp_path / "gen"), against=tmp_path / "people.idx", out=tmp_path / "run", faces=FACES,
        options=ScanOptions(threshold=0.5),
    )  # fmt: skip
    assert result.account["sets"]["queries"]["gen"]["new"]["entries"] == 2
    names = {row["item_id"]: row["uri"] for row in table(twin.folder, "queries").to_pylist()}
    found = {row["item_id"]: row["uri"] for row in table(run, "queries").to_pylist()}
    assert found.keys() == names.keys()
    both = {uri: found[item] for item, uri in names.items()}  # of a picture under two names either may come first
    assert keyed(run) == {(both[query], reference): value for (query, reference), value in keyed(twin.folder).items()}
    best = {row["item_id"]: row["best_score"] for row in table(twin.folder, "queries").to_pylist()}
    assert {row["item_id"]: row["best_score"] for row in table(run, "queries").to_pylist()} == best
    counts = twin.summary["counts"]
    assert result.account["runs"]["gen"]["rejected"] == counts["rejected"]
    assert artefacts.read_json(run / "run.json")["counts"] == counts


def test_evidence_after_removals_is_that_of_one_night(tmp_path: Path) -> None:
    many, once = tmp_path / "many", tmp_path / "once"
    config = job(**with_null(many))
    with_null(once)
    first_night(many)
    put(many, "gen/a-0.png", 7, 9)
    night(many, config)
    second_night(many)
    (many / "gen" / "a-2.png").unlink()
    night(many, config)
    (many / "gen" / "b-4.png").unlink()
    (many / "null" / "person-310" / "0.png").unlink()
    result = night(many, config)
    first_night(once)
    put(once, "gen/a-0.png", 7, 9)
    second_night(once)
    for gone in ("gen/a-2.png", "gen/b-4.png", "null/person-310/0.png"):
        (once / gone).unlink()
    twin = night(once, config)

    assert photos(result) == photos(twin)
    assert result.account["runs"]["gen"]["verdict"] == twin.account["runs"]["gen"]["verdict"]
    columns = ["identity", "best_score", "p_value", "q_value", "clusters"]
    assert table(run_of(result), "identities").select(columns).equals(table(run_of(twin), "identities").select(columns))


def photos(result: NightResult) -> list[tuple[object, ...]]:
    return [
        (row["side"], row["item_id"], row["best_score"], row["best_query_id"], tuple(row["scores"]), row["mated_score"])
        for row in table(run_of(result), "photos").to_pylist()
    ]


def test_a_source_that_lost_most_of_its_files_is_not_forgotten(tmp_path: Path) -> None:
    first_night(tmp_path)
    night(tmp_path)
    for path in list((tmp_path / "people").glob("*/*.png"))[:40]:
        path.unlink()
    careful = night(tmp_path)
    meant = night(tmp_path, allow_gone=True)

    assert careful.exit_code == 4
    assert "40 of 50 entries" in careful.account["errors"][0]["why"]
    assert careful.account["runs"]["gen"]["unchanged"]
    assert meant.exit_code == 0
    assert meant.account["sets"]["candidates"]["people"]["gone_items"] == 40


def test_a_lost_mount_leaves_the_rest_of_the_night(tmp_path: Path) -> None:
    first_night(tmp_path)
    config = job(
        queries=[{"name": "gen", "sources": ["gen"]}, {"name": "other", "sources": ["elsewhere"]}],
    )
    result = night(tmp_path, config)

    assert result.exit_code == 4
    assert set(result.account["runs"]) == {"gen"}
    assert {error["set"] for error in result.account["errors"]} == {"queries/other"}


def test_nothing_to_scan_at_all_is_an_error(tmp_path: Path) -> None:
    write_people(tmp_path / "people", photos_of(range(3), range(2)))
    with pytest.raises(UsageError, match="No set of queries could be scanned tonight"):
        night(tmp_path)


def test_a_wrong_path_can_be_mended(tmp_path: Path) -> None:
    """The first start finds nothing to scan; the next ones look again, and what was taken in stays."""
    first_night(tmp_path)
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.png").write_bytes(b"no picture")
    wrong = [{"name": "gen", "sources": ["blank", "jen"]}]
    for _ in range(2):
        with pytest.raises(UsageError, match=r"queries/gen: There is no .*jen(.|\n)*queries/gen: It has no face"):
            night(tmp_path, job(queries=wrong))
    right = [{"name": "gen", "sources": ["blank", "gen"]}]
    result = night(tmp_path, job(queries=right))

    assert result.exit_code == 0
    counts = artefacts.read_json(run_of(result) / "run.json")["counts"]
    assert (counts["entries"], counts["items"], counts["rejected"]) == (5, 4, 1)
    assert night(tmp_path, job(queries=right)).account["runs"]["gen"]["unchanged"]


def test_a_full_disk_ends_the_start_and_not_the_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_night(tmp_path)
    with monkeypatch.context() as full:
        real = artefacts.write_tables

        def write_tables(path: Path, *given: object) -> int:
            if path.parent.name == "gen" and path.name.startswith("000001"):
                raise DiskFullError(errno.ENOSPC, "no room left")
            return real(path, *given)

        full.setattr(artefacts, "write_tables", write_tables)
        with pytest.raises(DiskFullError):
            night(tmp_path)
    assert (tmp_path / "state" / "tonight" / "candidates" / "people" / "taken.json").exists()
    night(tmp_path)
    found = tree(tmp_path / "state")
    (tmp_path / "state").rename(tmp_path / "full")
    night(tmp_path)

    assert tree(tmp_path / "state") == found


def test_a_set_that_failed_one_night_is_compared_with_the_run_before(tmp_path: Path) -> None:
    first_night(tmp_path)
    put(tmp_path, "other/a.png", 5, 5)
    config = job(
        queries=[{"name": "gen", "sources": ["gen"]}, {"name": "other", "sources": ["other"]}],
        job={"folder": "state", "gone_max": 1.0},
    )
    night(tmp_path, config)
    (tmp_path / "other" / "a.png").rename(tmp_path / "a.png")
    (tmp_path / "other" / "b.png").write_bytes(b"no picture")
    second = night(tmp_path, config)
    (tmp_path / "a.png").rename(tmp_path / "other" / "a.png")
    third = night(tmp_path, config)

    assert second.exit_code == 4
    assert [error["why"] for error in second.account["errors"]] == [
        "It has no face: its sources could not be read, or no face was found in them."
    ]
    assert set(second.account["runs"]) == {"gen"}
    found = third.account["runs"]["other"]["diff"]["findings"]
    assert (found["before"], found["new"], found["still"]) == (1, 0, 1)


def test_candidates_that_were_lost_the_first_night_are_found_the_next_time(tmp_path: Path) -> None:
    first_night(tmp_path)
    (tmp_path / "people").rename(tmp_path / "away")
    with pytest.raises(UsageError, match="No set of queries could be scanned tonight"):
        night(tmp_path)
    (tmp_path / "away").rename(tmp_path / "people")

    assert night(tmp_path).account["runs"]["gen"]["compared"] == 4 * 50


def test_the_gate_fails_on_what_is_new_and_not_acknowledged(tmp_path: Path) -> None:
    first_night(tmp_path)
    config = job(gate={"fail_on": "new"})
    first = night(tmp_path, config)
    second_night(tmp_path)
    second = night(tmp_path, config)
    third = night(tmp_path, config)

    assert [first.exit_code, second.exit_code, third.exit_code] == [1, 1, 0]
    before, now = (set(table(run_of(one), "matches")["identity"].to_pylist()) for one in (first, second))
    assert {one["identity"] for one in second.account["runs"]["gen"]["diff"]["new"]} == now - before
    assert {"person-004", "person-026"} <= now - before


def test_a_run_that_was_damaged_ends_no_later_night(tmp_path: Path) -> None:
    """What it found cannot be told from what is new: that is said once, and the next night compares with this one."""
    first_night(tmp_path)
    config = job(gate={"fail_on": "new"})
    (run_of(night(tmp_path, config)) / "matches.parquet").write_bytes(b"PAR1 half a page")
    put(tmp_path, "gen/c.png", 5, 5)
    second = night(tmp_path, config)
    put(tmp_path, "gen/d.png", 6, 5)
    third = night(tmp_path, config)

    assert [error["set"] for error in second.account["errors"]] == ["queries/gen"]
    assert "matches.parquet" in second.account["errors"][0]["why"]
    assert "counts as new" in second.account["errors"][0]["why"]
    findings = second.account["runs"]["gen"]["diff"]["findings"]
    assert (findings["before"], findings["new"]) == (0, findings["now"])
    assert second.exit_code == 1
    assert third.account["errors"] == []
    assert [one["identity"] for one in third.account["runs"]["gen"]["diff"]["new"]] == ["person-006"]
