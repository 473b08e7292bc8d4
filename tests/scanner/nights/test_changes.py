"""Whatever happens to the sources from night to night, the tables say what those of a job that sees it all at once say."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from drawn_people import name, photos_of, png, write_members, write_people, write_tar
from small_job import job, night, put, run_of, table, with_null

from scanner import artefacts
from scanner.errors import UsageError
from scanner.images import decode_item
from scanner.nights.night import NightResult
from scanner.nights.quarantine import Quarantine
from scanner.records import Item
from scanner.sources.folder import FolderSource


def said(result: NightResult) -> dict[str, Any]:
    """Return what a night's run says, without ids and order, which are those of arrival."""
    run = run_of(result)
    best = table(run, "queries").to_pylist()
    matches, rejects = table(run, "matches").to_pylist(), table(run, "rejects").to_pylist()
    return {
        "matches": sorted((m["query_uri"], m["reference_uri"], m["identity"], m["score"], m["rank"]) for m in matches),
        "queries": sorted((q["uri"], q["other_uris"], q["item_id"], q["identity"], q["best_score"]) for q in best),
        "rejects": sorted((r["uri"], r["item_id"], r["level"], r["reason"], r["detail"]) for r in rejects),
        "counts": artefacts.read_json(run / "run.json")["counts"],
    }


def assert_as_at_once(folder: Path, result: NightResult, **changes: Any) -> None:
    twin = night(folder, job(**changes, job={"folder": "twin"}))
    found, expected = said(result), said(twin)
    assert found["matches"]
    for part, one in expected.items():
        assert found[part] == one, part


def test_a_reference_that_was_moved_to_another_person_is_that_persons(folder: Path) -> None:
    night(folder)
    (folder / "people" / "somebody").mkdir()
    for photo in range(2):
        (folder / "people" / name(2) / f"{photo}.png").rename(folder / "people" / "somebody" / f"{photo}.png")

    result = night(folder)

    assert "somebody" in table(run_of(result), "matches")["identity"].to_pylist()
    assert_as_at_once(folder, result)
    assert night(folder).account["runs"]["gen"]["unchanged"]


def test_a_reference_under_two_names_keeps_the_one_that_is_left(folder: Path) -> None:
    put(folder, "people/zz/9.png", 3, 0)
    night(folder)
    (folder / "people" / name(3) / "0.png").unlink()
    second = night(folder)

    assert "zz" in table(run_of(second), "matches")["identity"].to_pylist()
    assert_as_at_once(folder, second)


def test_labels_that_are_read_in_another_way_are_those_of_the_index(folder: Path) -> None:
    people = {"name": "people", "sources": ["people"]}
    night(folder)
    changes = {"candidates": [{**people, "identity_from": "nothing"}]}

    assert_as_at_once(folder, night(folder, job(**changes)), **changes)


def test_a_night_that_died_while_references_were_renamed_ends_as_if_it_had_not(folder: Path, monkeypatch) -> None:
    from indexes import Index

    night(folder)
    (folder / "people" / name(2)).rename(folder / "people" / "somebody")
    with monkeypatch.context() as dying:

        def dies(*_given: object, **_named: object) -> None:
            raise KeyboardInterrupt

        dying.setattr(Index, "remove", dies)
        with pytest.raises(KeyboardInterrupt):
            night(folder)

    assert_as_at_once(folder, night(folder))


def test_pictures_that_were_left_out_keep_their_reason_under_another_name(folder: Path) -> None:
    (folder / "gen" / "bad.png").write_bytes(b"no picture")
    (folder / "gen" / "twice-bad.png").write_bytes(b"neither")
    (folder / "gen" / "twice-worse.png").write_bytes(b"neither")
    (folder / "gen" / "empty.png").write_bytes(b"")
    night(folder)
    (folder / "gen" / "bad.png").rename(folder / "gen" / "worse.png")
    (folder / "gen" / "twice-bad.png").unlink()
    (folder / "gen" / "empty.png").unlink()
    (folder / "gen" / "empty.png").symlink_to("/nowhere")

    assert_as_at_once(folder, night(folder))


def test_names_that_change_back_and_forth_are_counted_once(folder: Path) -> None:
    night(folder)
    for old, new in (("2.png", "z.png"), ("z.png", "2.png"), ("2.png", "a.png"), ("a.png", "2.png")):
        (folder / "gen" / old).rename(folder / "gen" / new)
        result = night(folder)

    assert_as_at_once(folder, result)


def test_a_file_whose_content_changes_back_and_forth_has_its_last_one(folder: Path) -> None:
    for number, photo in ((6, 5), (41, 0), (6, 5), (7, 5), (6, 5)):
        put(folder, "gen/x.png", number, photo)
        write_people(folder / "people", photos_of([20 + number], [photo]))
        result = night(folder)

    assert_as_at_once(folder, result)


def test_what_was_gone_and_is_back_meets_the_references_of_the_nights_between(folder: Path) -> None:
    put(folder, "gen/x.png", 30, 5)
    night(folder)
    (folder / "gen" / "x.png").rename(folder / "x.png")
    night(folder)
    write_people(folder / "people", photos_of([30], range(2)))
    night(folder)
    (folder / "x.png").rename(folder / "gen" / "x.png")
    result = night(folder)

    assert name(30) in table(run_of(result), "matches")["identity"].to_pylist()
    assert_as_at_once(folder, result)


@pytest.mark.parametrize(
    "sources", [["gen", "gen"], ["gen", "gen/sub"], ["gen/sub", "gen"], ["gen/a.tar", "gen/*.tar"]]
)
def test_what_two_sources_name_is_counted_once_and_read_once(folder: Path, sources: list[str]) -> None:
    put(folder, "gen/sub/5.png", 5, 5)
    write_members(folder / "gen" / "a.tar", [("6.png", png(6, 5))])
    write_members(folder / "gen" / "b.tar", [("7.png", png(7, 5))])
    config = job(queries=[{"name": "gen", "sources": sources}])
    first = night(folder, config)
    second = night(folder, config)

    entries = {True: 2, False: 5}["tar" in sources[0]]
    assert first.account["sets"]["queries"]["gen"]["new"]["entries"] == entries
    counts = artefacts.read_json(run_of(first) / "run.json")["counts"]
    assert (counts["entries"], counts["items"], counts["duplicates"]) == (entries, entries, 0)
    assert second.account["sets"]["queries"]["gen"]["new"]["entries"] == 0
    assert second.account["runs"]["gen"]["unchanged"]


def test_a_source_that_another_one_covers_can_be_left_out(folder: Path) -> None:
    put(folder, "gen/sub/5.png", 5, 5)
    night(folder, job(queries=[{"name": "gen", "sources": ["gen/sub", "gen"]}]))

    assert_as_at_once(folder, night(folder))


@pytest.mark.parametrize("sources", [["a.tar", "a.tar.gz"], ["a.*"]])
def test_archives_of_which_one_is_called_like_the_beginning_of_another_are_two(
    folder: Path, sources: list[str]
) -> None:
    changes = {"queries": [{"name": "gen", "sources": sources}]}
    tar, longer = folder / "a.tar", folder / "a.tar.gz"
    write_tar(tar, [(2, 5), (3, 5)])
    with tarfile.open(longer, "w:gz") as archive:
        for number in (4, 5):
            put(folder, f"{number}.png", number, 5)
            archive.add(folder / f"{number}.png", f"{number}.png")
    night(folder, job(**changes))
    write_tar(tar, [(2, 5), (6, 5)])
    second = night(folder, job(**changes))
    account = second.account["sets"]["queries"]["gen"]

    assert (account["new"]["entries"], account["gone_entries"], account["entries"]) == (1, 1, 4)
    assert_as_at_once(folder, second, **changes)
    longer.unlink()
    write_tar(folder / "a.zzz.tar", [(7, 5), (8, 5)])
    changes = {"queries": [{"name": "gen", "sources": ["a.*"]}]}
    third = night(folder, job(**changes))

    assert {q["uri"].rpartition("/")[2] for q in table(run_of(third), "queries").to_pylist()} == {
        "002-5.png", "006-5.png", "007-5.png", "008-5.png"
    }  # fmt: skip


def test_two_members_of_one_name_are_two_entries(folder: Path) -> None:
    changes = {"queries": [{"name": "gen", "sources": ["a.tar"]}]}
    members = [("x.png", png(2, 5)), ("x.png", png(3, 5)), ("y.png", png(3, 5))]
    write_members(folder / "a.tar", members)
    night(folder, job(**changes))
    write_members(folder / "a.tar", [*members, ("x.png", png(4, 5))])
    result = night(folder, job(**changes))

    account = result.account["sets"]["queries"]["gen"]
    assert (account["new"]["entries"], account["entries"], account["gone_entries"]) == (1, 4, 0)
    assert_as_at_once(folder, result, **changes)


def test_a_large_archive_that_changed_in_the_middle_is_read_again(folder: Path) -> None:
    changes = {"queries": [{"name": "gen", "sources": ["a.tar"]}]}
    padding = [(f"{n}.txt", bytes([n]) * 700_000) for n in range(10)]
    write_members(folder / "a.tar", [*padding[:5], ("2.png", png(2, 5)), *padding[5:], ("3.png", png(3, 5))])
    before = (folder / "a.tar").stat()
    night(folder, job(**changes))
    other = png(4, 5)[: len(png(2, 5))].ljust(len(png(2, 5)), b"\0")
    write_members(folder / "a.tar", [*padding[:5], ("2.png", other), *padding[5:], ("3.png", png(3, 5))])
    assert (folder / "a.tar").stat().st_size == before.st_size

    assert_as_at_once(folder, night(folder, job(**changes)), **changes)


def test_a_file_that_could_not_be_read_is_read_when_it_can_be(folder: Path, monkeypatch) -> None:
    real = FolderSource._bytes

    def refused(self, entry, bytes_max):
        return PermissionError(13, "Permission denied") if entry.name == "3.png" else real(self, entry, bytes_max)

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "_bytes", refused)
        first, second = night(folder), night(folder)
    third = night(folder)

    assert first.account["runs"]["gen"]["rejected"] == 1
    assert second.account["runs"]["gen"]["unchanged"]
    assert second.account["sets"]["queries"]["gen"]["new"]["entries"] == 0
    assert_as_at_once(folder, third)


def test_a_picture_that_is_taken_off_the_list_is_looked_at_again(folder: Path, monkeypatch) -> None:
    import scanner.pipeline

    bad = Item("", png(3, 5)).item_id

    def decode(item: Item, **options: Any) -> Any:
        if item.item_id == bad:
            raise ZeroDivisionError
        return decode_item(item, **options)

    def look(self, entries, _faces, *, night):
        for entry in entries:
            if entry.item_id == bad:
                self.add(entry, "it raised", night=night)
        return 1

    with monkeypatch.context() as patch:
        patch.setattr(scanner.pipeline, "decode_item", decode)
        patch.setattr(Quarantine, "look", look)
        first = night(folder)
    assert first.account["sets"]["queries"]["gen"]["new"]["reasons"] == {"quarantined": 1}
    (folder / "state" / "queries" / "gen.quarantine.json").unlink()
    os.utime(folder / "gen" / "3.png", ns=(1, 1))

    assert_as_at_once(folder, night(folder))


def test_a_source_that_was_emptied_is_forgotten_when_it_is_meant_so(folder: Path) -> None:
    put(folder, "more/5.png", 5, 5)
    changes = {"queries": [{"name": "gen", "sources": ["gen", "more"]}]}
    night(folder, job(**changes))
    (folder / "more" / "5.png").unlink()
    careful = night(folder, job(**changes))
    meant = night(folder, job(**changes), allow_gone=True)

    assert careful.exit_code == 4
    assert careful.account["runs"]["gen"]["results"]["queries"] == 5
    assert "--allow-gone" in careful.account["errors"][0]["why"]
    assert meant.account["errors"] == []
    assert meant.account["sets"]["queries"]["gen"]["gone_items"] == 1
    assert_as_at_once(folder, meant)


def test_a_threshold_that_was_lower_in_a_night_that_died_doubles_no_match(folder: Path, monkeypatch) -> None:
    from scanner.nights import memory

    night(folder)
    put(folder, "gen/5.png", 5, 5)
    night(folder)
    put(folder, "gen/6.png", 6, 5)
    with monkeypatch.context() as dying:

        def dies(*_given: object) -> None:
            raise KeyboardInterrupt

        dying.setattr(memory, "write_json", dies)
        with pytest.raises(KeyboardInterrupt):
            night(folder, job(scan={"threshold": 0.3}))

    assert_as_at_once(folder, night(folder))


def test_crops_can_be_asked_for_later_and_given_up_again(folder: Path) -> None:
    night(folder)
    with_crops = job(scan={"threshold": 0.5, "with_crops": True})
    nothing_new = night(folder, with_crops)
    assert nothing_new.exit_code == 0
    assert_as_at_once(folder, nothing_new)
    put(folder, "gen/5.png", 5, 5)
    second = night(folder, with_crops)
    put(folder, "gen/6.png", 6, 5)
    third = night(folder)

    assert second.exit_code == third.exit_code == 0
    assert set(table(run_of(second), "crops")["side"].to_pylist()) == {"query"}
    assert_as_at_once(folder, third)


def test_odd_names_that_vanish_before_they_are_read_are_counted(folder: Path, monkeypatch) -> None:
    for odd in ("ünï cödé 雪.png", "tab\tnew\nline.png", "back\\slash.png", os.fsdecode(b"byte\xff.png"), " .png"):
        (folder / "gen" / odd).write_bytes(png(5, 5))
    real = FolderSource.only

    def only(self, uris):
        for odd in ("back\\slash.png", "tab\tnew\nline.png") if "gen" in self.uri else ():
            (folder / "gen" / odd).unlink()
        return real(FolderSource(self._location, self._options), uris)

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "only", only)
        first = night(folder)
    second = night(folder)

    assert first.account["sets"]["queries"]["gen"]["new"]["reasons"] == {"duplicate": 2, "unreadable": 2}
    assert second.account["sets"]["queries"]["gen"]["gone_entries"] == 2
    assert_as_at_once(folder, second)


def test_what_a_start_that_could_scan_nothing_asked_for_is_found_by_the_next(tmp_path: Path) -> None:
    write_people(tmp_path / "people", photos_of(range(8), range(2)))
    for number in (2, 3, 4, 40):
        put(tmp_path, f"gen/{number}.png", number, 5)
    config = job(**with_null(tmp_path))
    with pytest.raises(UsageError, match="8 identities; at least 10"):
        night(tmp_path, config)
    write_people(tmp_path / "people", photos_of(range(8, 25), range(2)))

    assert night(tmp_path, config).account["sets"]["candidates"]["people"]["entries"] == 50


def test_references_that_somebody_added_by_hand_stay(folder: Path) -> None:
    from drawn_people import BY_FOLDER, FACES

    from indexes import open_index
    from scanner.jobs.indexing.build import add

    night(folder)
    index = folder / "state" / "candidates" / "people.idx"
    write_people(folder / "more", photos_of([40], range(2)))
    add(index, str(folder / "more"), faces=FACES, sources=BY_FOLDER)
    (folder / "people" / name(2)).rename(folder / "people" / "somebody")
    (folder / "people" / name(3) / "0.png").unlink()
    night(folder)

    labels = open_index(index).column("identity").to_pylist()
    assert [labels.count(one) for one in (name(40), name(2), "somebody", name(3))] == [2, 0, 2, 1]


@pytest.mark.parametrize("archive", [False, True])
def test_a_file_that_became_another_one_of_its_size_and_time_is_read_again(folder: Path, archive: bool) -> None:
    """As unpacking an archive over the last one leaves them: every member has its archive's time, bitmaps are of one size."""
    other = folder / ("new.tar" if archive else "new.png")
    path = folder / ("gen.tar" if archive else "gen/2.png")
    size = max(len(png(number, 5)) for number in (2, 9))
    padding = [(f"{n}.txt", bytes([n]) * 700_000) for n in range(10)]

    def write(to: Path, number: int) -> None:
        data = png(number, 5).ljust(size, b"\0")
        if archive:  # so large that its fingerprint looks at samples
            write_members(to, [*padding[:5], ("x.png", data), *padding[5:], ("3.png", png(3, 5))])
        else:
            to.write_bytes(data)
        os.utime(to, ns=(10**18, 10**18))

    changes = {"queries": [{"name": "gen", "sources": ["gen.tar"]}]} if archive else {}
    write(path, 2)
    assert name(2) in table(run_of(night(folder, job(**changes))), "matches")["identity"].to_pylist()
    write(other, 9)
    other.replace(path)
    result = night(folder, job(**changes))

    assert name(9) in table(run_of(result), "matches")["identity"].to_pylist()
    assert_as_at_once(folder, result, **changes)
