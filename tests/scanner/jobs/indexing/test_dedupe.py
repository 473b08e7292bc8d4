"""Duplicates of an index are those of all its pairs, as a plain product and a plain search of the graph give them."""

from __future__ import annotations

import json
import pkgutil
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, files_of, name, photos_of, png, scores_of, write_people

import scanner.jobs.indexing.dedupe
import scanner.jobs.indexing.dedupe_tables
from indexes import open_index
from indexes.errors import TooManyHits
from scanner import artefacts
from scanner.errors import RunMismatch, UsageError
from scanner.images import encode_png
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.indexing.dedupe import DedupeResult, dedupe
from scanner.jobs.scanning.options import ScanOptions
from scanner.world.draw import face_pixels

PHOTOS = photos_of(range(10), range(3))
WRONG = {("person-100", (4, 3)), ("person-101", (6, 3))}
"""A fourth photo of persons 4 and 6, filed under another label."""
THRESHOLD = 0.6


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty photos of ten people; two more under a wrong label, and one without any."""
    folder = tmp_path_factory.mktemp("dedupe")
    people = write_people(folder / "people", PHOTOS)
    for label, photo in sorted(WRONG):
        (people / label).mkdir()
        (people / label / "0.png").write_bytes(png(*photo))
    (people / "stray.png").write_bytes(png(2, 3))
    path = folder / "people.idx"
    build(path, str(people), faces=FACES, sources=BY_FOLDER, options=BuildOptions(with_crops=True))
    return path


def references(path: Path) -> list[dict[str, Any]]:
    opened = open_index(path)
    ids = opened.references().ids[opened.references().live_rows()]
    return opened.lookup(ids, columns=["id", "uri", "identity"]).to_pylist()


def expected_pairs(path: Path, threshold: float) -> dict[tuple[int, int], float]:
    """Return every pair of references at the threshold or above, from all of them."""
    opened = open_index(path)
    ids = opened.references().ids[opened.references().live_rows()].tolist()
    vectors = opened.references().gather(opened.references().live_rows()).astype(np.float64)
    scores = vectors @ vectors.T
    assert np.abs(scores - threshold).min() > 1e-6, "a score is too near the threshold for this test"
    places = zip(*np.nonzero(np.triu(scores >= threshold, 1)), strict=True)
    return {(ids[one], ids[other]): float(scores[one, other]) for one, other in places}


def walk(pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """Return the groups of references that hang together, by their lowest member: breadth-first search."""
    near: dict[int, set[int]] = {}
    for one, other in pairs:
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    groups: dict[int, list[int]] = {}
    seen: set[int] = set()
    for start in sorted(near):
        if start not in seen:
            reached = [start]
            for one in reached:
                reached += sorted(near[one] - set(reached))
            seen.update(reached)
            groups[start] = sorted(reached)
    return groups


def dedupe_here(out: Path, path: Path, **given: Any) -> DedupeResult:
    options = {name: given.pop(name) for name in list(given) if name not in ("resume", "force")}
    return dedupe(path, out=out, options=ScanOptions(**{"threshold": THRESHOLD, **options}), **given)


def table(result: DedupeResult, which: str) -> list[dict[str, Any]]:
    return artefacts.read_table(result.folder / f"{which}.parquet", f"dedupe_{which}").to_pylist()


def check(result: DedupeResult, path: Path, threshold: float = THRESHOLD) -> None:
    """Compare every number and row with what all pairs say."""
    wanted = expected_pairs(path, threshold)
    by_id = {row["id"]: row for row in references(path)}
    groups = walk(wanted)
    rows = table(result, "pairs")
    assert {(row["reference_id"], row["other_id"]) for row in rows} == set(wanted)
    assert rows == sorted(rows, key=lambda row: (row["reference_id"], -row["score"], row["other_id"]))
    kinds = dict.fromkeys(("within", "between", "unlabelled"), 0)
    for row in rows:
        one, other = by_id[row["reference_id"]], by_id[row["other_id"]]
        assert row["score"] == pytest.approx(wanted[one["id"], other["id"]], abs=1e-6)
        assert (row["reference_uri"], row["other_uri"]) == (one["uri"], other["uri"])
        assert (row["identity"], row["other_identity"]) == (one["identity"], other["identity"])
        assert one["id"] in groups[row["group"]]
        labels = {one["identity"], other["identity"]}
        assert row["kind"] == ("unlabelled" if None in labels else "within" if len(labels) == 1 else "between")
        kinds[row["kind"]] += 1
    everybody = [(group, member) for group, members in groups.items() for member in members]
    found = table(result, "groups")
    assert [(row["group"], row["reference_id"]) for row in found] == everybody
    for row in found:
        members = set(groups[row["group"]])
        inside = [score for (one, _), score in wanted.items() if one in members]
        assert row["reference_uri"] == by_id[row["reference_id"]]["uri"]
        assert row["identity"] == by_id[row["reference_id"]]["identity"]
        assert (row["references"], row["pairs"]) == (len(members), len(inside))
        assert row["identities"] == len({by_id[member]["identity"] for member in members} - {None})
        assert row["density"] == pytest.approx(len(inside) / (len(members) * (len(members) - 1) / 2))
        assert row["lowest_score"] == pytest.approx(min(inside), abs=1e-6)
    counts = result.summary["counts"]
    assert counts["pairs"] == len(wanted)
    assert {kind: counts[f"pairs_{kind}"] for kind in kinds} == kinds
    assert counts["groups"] == len(groups)
    assert counts["references_in_groups"] == len(everybody)
    check_sums(counts, len(by_id))


def check_sums(counts: dict[str, Any], references: int) -> None:
    sizes = {int(size): groups for size, groups in counts["group_sizes"].items()}
    kinds = ("groups_of_one_identity", "groups_of_several_identities", "groups_unlabelled")
    assert counts["references"] == references == counts["references_in_groups"] + counts["references_alone"]
    assert counts["pairs"] == counts["pairs_within"] + counts["pairs_between"] + counts["pairs_unlabelled"]
    assert counts["groups"] == sum(counts[kind] for kind in kinds) == sum(sizes.values())
    assert counts["references_in_groups"] == sum(size * groups for size, groups in sizes.items())
    assert counts["comparisons"] == references * (references - 1) // 2


@pytest.mark.parametrize("threshold", [-0.9, 0.3, 0.6, 0.8])
def test_pairs_groups_and_counts_are_those_of_all_pairs(threshold: float, index: Path, tmp_path: Path) -> None:
    result = dedupe_here(tmp_path / "out", index, threshold=threshold)

    check(result, index, threshold)
    assert result.summary == json.loads((tmp_path / "out" / "dedupe.json").read_text())


def test_a_photo_under_a_wrong_label_is_found_with_its_person(index: Path, tmp_path: Path) -> None:
    result = dedupe_here(tmp_path / "out", index)

    between = {
        frozenset((r["identity"], r["other_identity"])) for r in table(result, "pairs") if r["kind"] == "between"
    }
    assert {frozenset((name(4), "person-100")), frozenset((name(6), "person-101"))} <= between
    stray = [row for row in table(result, "groups") if row["identity"] is None]
    assert len(stray) == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "person-100" in page
    assert "person-101" in page


def test_nearly_one_picture_is_marked(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people", [(1, 0), (1, 1), (2, 0)])
    brighter = np.clip(face_pixels(77, 1, 0).astype(np.int16) + 3, 0, 255).astype(np.uint8)
    (people / "person-009").mkdir()
    (people / "person-009" / "0.png").write_bytes(encode_png(brighter))
    build(tmp_path / "idx", str(people), faces=FACES, sources=BY_FOLDER)

    result = dedupe_here(tmp_path / "out", tmp_path / "idx")

    near = [(row["reference_id"], row["other_id"]) for row in table(result, "pairs") if row["near_copy"]]
    assert near == [(0, 3)]
    assert result.summary["counts"]["near_copies"] == 1
    assert "near-copy</td>" in (tmp_path / "out" / "report.html").read_text()


def test_no_pair_is_a_result_and_is_said(index: Path, tmp_path: Path) -> None:
    result = dedupe_here(tmp_path / "out", index, threshold=1.0)

    assert table(result, "pairs") == table(result, "groups") == []
    check_sums(result.summary["counts"], 33)
    assert result.summary["counts"]["pairs"] == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No two of the 33 references score 1.0000 or more: no duplicates at this threshold." in page


def test_an_index_of_one_reference_has_no_duplicates(tmp_path: Path) -> None:
    build(tmp_path / "idx", str(write_people(tmp_path / "people", [(1, 0)])), faces=FACES, sources=BY_FOLDER)

    result = dedupe_here(tmp_path / "out", tmp_path / "idx")

    assert (result.summary["counts"]["references"], result.summary["counts"]["comparisons"]) == (1, 0)


def test_the_threshold_is_inclusive(index: Path, tmp_path: Path) -> None:
    scores = sorted(row["score"] for row in table(dedupe_here(tmp_path / "all", index), "pairs"))

    result = dedupe_here(tmp_path / "some", index, threshold=scores[5])

    assert sorted(row["score"] for row in table(result, "pairs")) == scores[5:]


def test_erased_references_never_appear(index: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(index, tmp_path / "people.idx"))
    gone = set(open_index(path).remove(where={"identity": [name(4)]}).ids)

    result = dedupe_here(tmp_path / "out", path)

    check(result, path)
    rows = table(result, "pairs") + table(result, "groups")
    assert not gone & {row.get(column) for row in rows for column in ("reference_id", "other_id", "group")}
    assert name(4) not in (tmp_path / "out" / "report.html").read_text()


def without_engine(folder: Path) -> dict[str, bytes]:
    """Return every file; the account and the page without the words on the engine."""
    files = files_of(folder)
    account = json.loads(files.pop("dedupe.json"))
    index = {key: value for key, value in account.pop("index").items() if not key.startswith("engine")}
    files.pop("report.html")
    return {**files, "account": json.dumps([account, index]).encode()}


@pytest.mark.parametrize("rows", [1, 7, 5000])
def test_blocks_change_no_byte(rows: int, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = dedupe_here(tmp_path / "one", index, with_crops=True)
    monkeypatch.setattr(scanner.jobs.indexing.dedupe, "BLOCK_ROWS", rows)
    monkeypatch.setattr(scanner.jobs.indexing.dedupe_tables, "LOOKUP_PAIRS", 1 + rows % 10)

    other = dedupe_here(tmp_path / "other", index, with_crops=True)

    assert files_of(one.folder) == files_of(other.folder)
    assert sorted(files_of(one.folder)) == [
        "crops.parquet", "dedupe.json", "groups.parquet", "pairs.parquet", "report.html",
    ]  # fmt: skip


def test_no_engine_changes_a_byte_of_the_tables(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people", photos_of(range(22), range(3)))
    build(tmp_path / "idx", str(people), faces=FACES, sources=BY_FOLDER, options=BuildOptions(codec="always"))

    results = [dedupe_here(tmp_path / e, tmp_path / "idx", engine=e) for e in ("exact", "flat", "compressed")]

    found = [without_engine(result.folder) for result in results]
    assert found[0] == found[1] == found[2]
    check(results[2], tmp_path / "idx")


def test_crops_are_shown_only_when_asked_for(index: Path, tmp_path: Path) -> None:
    without = dedupe_here(tmp_path / "without", index)
    with_crops = dedupe_here(tmp_path / "with", index, with_crops=True)

    assert not (without.folder / "crops.parquet").exists()
    assert b"data:image" not in (without.folder / "report.html").read_bytes()
    assert (with_crops.folder / "report.html").read_bytes().count(b"data:image/jpeg") > 2
    shown = artefacts.read_table(with_crops.folder / "crops.parquet", "crops")["reference_id"].to_pylist()
    assert len(shown) == len(set(shown)) > 0


def test_a_threshold_from_a_rate_says_what_chance_alone_would_give(index: Path, tmp_path: Path) -> None:
    result = dedupe_here(tmp_path / "out", index, threshold=None, fmr=0.1, calibrate_on=str(index))

    threshold, counts = result.summary["threshold"], result.summary["counts"]
    check(result, index, threshold["value"])
    assert threshold["origin"] == "calibrated"
    labels = [row["identity"] for row in references(index)]
    apart = sum(a is None or a != b for place, a in enumerate(labels) for b in labels[:place])
    assert counts["comparisons_not_within"] == apart
    assert counts["false_matches_expected"] == pytest.approx(threshold["point"]["fmr"] * apart)
    assert result.summary["calibrated_on_itself"]
    assert "cannot tell label errors from look-alikes" in (tmp_path / "out" / "report.html").read_text()


class Killed(BaseException):
    """Stands for a kill: nothing in the job may catch it."""


def die_in(target: str, monkeypatch: pytest.MonkeyPatch, *, calls_before: int, work: Callable[[], Any]) -> None:
    """Do the work, and die in a call of `target` after a few that go well."""
    original, met = pkgutil.resolve_name(target), iter(range(1000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(met) == calls_before:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(target, call)
        with pytest.raises(Killed):
            work()


@pytest.mark.parametrize(
    ("target", "calls_before"),
    [
        ("scanner.jobs.numbered.Numbered.finish", 0),
        ("scanner.jobs.numbered.Numbered.finish", 3),
        ("scanner.jobs.indexing.dedupe.read_labels", 0),
        ("scanner.jobs.indexing.dedupe.write_groups", 0),
        ("scanner.jobs.indexing.dedupe.write_crops", 0),
        ("scanner.jobs.indexing.dedupe.write_json", 0),
        ("scanner.jobs.indexing.dedupe.write_costs", 0),
        ("scanner.jobs.indexing.dedupe.write_dedupe_page", 0),
        ("scanner.jobs.indexing.dedupe.remove_folder", 0),
    ],
)
def test_killed_work_that_is_resumed_has_the_bytes_of_work_that_was_not(
    target: str, calls_before: int, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner.jobs.indexing.dedupe, "BLOCK_ROWS", 7)
    whole = dedupe_here(tmp_path / "whole", index, with_crops=True)
    out = tmp_path / "killed"
    die_in(target, monkeypatch, calls_before=calls_before, work=lambda: dedupe_here(out, index, with_crops=True))
    with pytest.raises(UsageError, match="holds unfinished work"):
        dedupe_here(out, index, with_crops=True)

    resumed = dedupe_here(out, index, with_crops=True, resume=True)

    assert resumed.summary == whole.summary
    assert files_of(resumed.folder) == files_of(whole.folder)


def test_resuming_joins_no_finished_block_again(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner.jobs.indexing.dedupe, "BLOCK_ROWS", 7)
    out, labels = tmp_path / "out", "scanner.jobs.indexing.dedupe.read_labels"
    die_in(labels, monkeypatch, calls_before=0, work=lambda: dedupe_here(out, index))
    monkeypatch.setattr("indexes.self_join.SelfJoin.block", lambda *_: pytest.fail("joined again"))

    check(dedupe_here(out, index, resume=True), index)


def test_work_on_another_state_of_the_index_or_at_another_threshold_is_not_resumed(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(index, tmp_path / "people.idx"))
    labels = "scanner.jobs.indexing.dedupe.read_labels"
    die_in(labels, monkeypatch, calls_before=0, work=lambda: dedupe_here(tmp_path / "out", path))
    with pytest.raises(RunMismatch, match="cannot be resumed: threshold changed"):
        dedupe_here(tmp_path / "out", path, threshold=0.7, resume=True)
    open_index(path).remove(ids=[0])

    with pytest.raises(RunMismatch, match="cannot be resumed: manifest_sha256 changed"):
        dedupe_here(tmp_path / "out", path, resume=True)

    check(dedupe_here(tmp_path / "out", path, force=True), path)


def test_finished_work_is_kept_and_resuming_it_does_nothing(index: Path, tmp_path: Path) -> None:
    first = dedupe_here(tmp_path / "out", index)
    before = files_of(first.folder, but=())

    with pytest.raises(UsageError, match="is already there"):
        dedupe_here(tmp_path / "out", index)
    with pytest.raises(RunMismatch, match="other options: threshold differ"):
        dedupe_here(tmp_path / "out", index, threshold=0.9, resume=True)
    again = dedupe_here(tmp_path / "out", index, resume=True)
    path = Path(shutil.copytree(index, tmp_path / "people.idx"))
    open_index(path).remove(ids=[0])
    with pytest.raises(RunMismatch, match="other options: index differ"):
        dedupe_here(tmp_path / "out", path, resume=True)

    assert again.summary == first.summary
    assert files_of(first.folder, but=()) == before


def test_force_replaces_a_report_and_nothing_else(index: Path, tmp_path: Path) -> None:
    dedupe_here(tmp_path / "out", index, with_crops=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")

    replaced = dedupe_here(tmp_path / "out", index, threshold=0.9, force=True)

    check(replaced, index, 0.9)
    assert not (tmp_path / "out" / "crops.parquet").exists()
    for folder in (tmp_path / "home", index):
        with pytest.raises(UsageError, match="is not, or not only, a report of duplicates of ours"):
            dedupe_here(folder, index, force=True)


def test_too_many_pairs_are_an_error_that_says_what_to_do(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(join: Any, number: int) -> Any:
        raise TooManyHits("too many")

    monkeypatch.setattr("indexes.self_join.SelfJoin.block", many)

    with pytest.raises(
        UsageError, match=r"pairs of one block of references reach the threshold 0\.6000.*Raise --threshold"
    ):
        dedupe_here(tmp_path / "out", index)


def test_the_folder_is_its_owners_alone(index: Path, tmp_path: Path) -> None:
    assert dedupe_here(tmp_path / "out", index).folder.stat().st_mode & 0o077 == 0


def test_the_drawn_people_are_what_the_twin_scores(index: Path) -> None:
    opened = open_index(index)
    own = opened.references().gather(np.arange(30)).astype(np.float64)

    assert np.allclose(own @ own.T, scores_of(PHOTOS, PHOTOS), atol=1e-5)
