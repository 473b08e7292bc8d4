"""Building an index, adding to it, and what may not go wrong on the way."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, files_of, name, opened, photos_of, png, vector, write_people, write_tar

from indexes import open_index
from indexes.errors import DiskFullError
from scanner import artefacts
from scanner.errors import ArtefactError, EmbedderMismatch, NothingScanned, RunMismatch, SourceError, UsageError
from scanner.images import decode_rgb
from scanner.jobs.indexing.build import BuildOptions, add, build
from scanner.jobs.options import FaceOptions
from scanner.records import Counts

REFERENCES = photos_of(range(10), range(2))


def vectors_in(path: Path) -> np.ndarray:
    references = open_index(path).references()
    return references.gather(references.live_rows())


@pytest.fixture
def index(people_index: Path, tmp_path: Path) -> Path:
    """An index that a test may change."""
    return Path(shutil.copytree(people_index, tmp_path / "people"))


def test_an_index_holds_every_face_in_the_order_of_the_source(people_index: Path, people_folder: Path) -> None:
    index = open_index(people_index)

    assert np.allclose(vectors_in(people_index), [vector(*photo) for photo in REFERENCES], atol=1e-6)
    assert index.column("identity").to_pylist() == [name(n) for n, _ in REFERENCES]
    assert index.column("uri").to_pylist() == [f"{people_folder}/{name(n)}/{p}.png" for n, p in REFERENCES]
    assert index.fingerprint == opened().fingerprint
    assert index.verify() == []
    account = json.loads((people_index / "intake" / "0001.json").read_text())
    assert account["counts"] == {
        "entries": 20, "items": 20, "duplicates": 0, "rejected": 0, "faces": 20, "faces_rejected": 0, "reasons": {},
    }  # fmt: skip


def test_nothing_but_the_index_is_left(people_folder: Path, tmp_path: Path) -> None:
    build(tmp_path / "idx", str(people_folder), faces=FACES)

    assert [p.name for p in tmp_path.iterdir()] == ["idx"]
    assert (tmp_path / "idx").stat().st_mode & 0o077 == 0


def test_two_builds_and_other_workers_give_the_same_bytes(
    people_folder: Path, people_index: Path, tmp_path: Path
) -> None:
    one = FaceOptions(embedder="drawn", faces="aligned", workers=1)

    build(tmp_path / "people", str(people_folder), faces=one, sources=BY_FOLDER)

    assert files_of(tmp_path / "people", but=()) == files_of(people_index, but=())


def test_a_tar_and_several_sources_give_the_vectors_of_one_folder(people_index: Path, tmp_path: Path) -> None:
    first = write_tar(tmp_path / "a.tar", REFERENCES[:6])
    second = write_people(tmp_path / "b", REFERENCES[6:])

    result = build(tmp_path / "idx", [str(first), str(second)], faces=FACES)

    assert (result.rows, result.added) == (20, 20)
    assert np.array_equal(vectors_in(tmp_path / "idx"), vectors_in(people_index))


def test_identical_pictures_are_one_reference_that_knows_all_its_names(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "q", [(1, 0), (2, 0)])
    (folder / "x.png").write_bytes(png(1, 0))
    (folder / "y.png").write_bytes(png(1, 0))

    result = build(tmp_path / "idx", str(folder), faces=FACES)

    index = open_index(tmp_path / "idx")
    assert index.column("other_uris").to_pylist() == [[f"{folder}/x.png", f"{folder}/y.png"], []]
    assert result.counts == Counts(4, 2, 2, 0, 2, 0, {"duplicate": 2})


def test_crops_are_kept_when_asked_for(people_folder: Path, tmp_path: Path) -> None:
    build(tmp_path / "idx", str(people_folder), faces=FACES, options=BuildOptions(with_crops=True))

    crops = open_index(tmp_path / "idx").column("crop_png").to_pylist()
    assert [decode_rgb(crop).shape for crop in crops] == [(112, 112, 3)] * 20
    assert crops[3] == png(*REFERENCES[3])


def test_half_precision_scores_like_full_precision(people_folder: Path, people_index: Path, tmp_path: Path) -> None:
    build(tmp_path / "idx", str(people_folder), faces=FACES, options=BuildOptions(dtype="float16"))

    assert open_index(tmp_path / "idx").manifest.dtype == "float16"
    assert np.allclose(vectors_in(tmp_path / "idx"), vectors_in(people_index), atol=5e-4)


def test_an_index_that_is_there_is_not_replaced_without_force(people_folder: Path, index: Path) -> None:
    before = files_of(index, but=())

    with pytest.raises(UsageError) as caught:
        build(index, str(people_folder), faces=FACES)

    assert str(caught.value) == f"{index} is already there. Choose another name, or pass --force to replace it."
    assert files_of(index, but=()) == before


def test_force_keeps_the_old_index_until_the_new_one_is_whole(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(index, but=())
    nobody = tmp_path / "nobody"
    nobody.mkdir()
    (nobody / "a.png").write_bytes(b"no picture")

    with pytest.raises(SourceError):
        build(index, str(tmp_path / "typo"), faces=FACES, force=True)
    with pytest.raises(NothingScanned):
        build(index, str(nobody), faces=FACES, force=True)
    with monkeypatch.context() as patch:
        patch.setattr("indexes.build.write_manifest", _disk_is_full)
        with pytest.raises(DiskFullError):
            build(index, str(write_people(tmp_path / "q", [(1, 0)])), faces=FACES, force=True)
    assert files_of(index, but=()) == before

    build(index, str(tmp_path / "q"), faces=FACES, force=True)
    assert open_index(index).rows == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nobody", "people", "q"]


def _disk_is_full(*_: object) -> None:
    raise DiskFullError(28, "no room left")


@pytest.mark.parametrize("kind", ["project", "file"])
def test_force_deletes_nothing_that_is_no_index(kind: str, people_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / kind
    if kind == "file":
        target.write_text("mine")
    else:
        (target / "src").mkdir(parents=True)
        (target / "manifest.json").write_text("{}")

    with pytest.raises(UsageError) as caught:
        build(target, str(people_folder), faces=FACES, force=True)

    assert (
        str(caught.value)
        == {
            "file": f"{target} is a file, and a folder is to be made there. Choose another name.",
            "project": f"{target} is not, or not only, an index of ours; --force does not delete it.",
        }[kind]
    )
    assert target.exists()


def test_resume_and_force_exclude_each_other(people_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        build(tmp_path / "idx", str(people_folder), faces=FACES, resume=True, force=True)

    assert str(caught.value) == "--resume keeps unfinished work, --force throws it away: pass one of them."


def test_a_target_in_a_folder_that_is_not_there_is_refused(people_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        build(tmp_path / "a" / "idx", str(people_folder), faces=FACES)

    assert str(caught.value) == f"The folder {tmp_path}/a does not exist. Make it first, or choose another place."


def test_adding_leaves_out_what_is_there(index: Path, tmp_path: Path) -> None:
    more = write_people(tmp_path / "more", [(8, 0), (8, 1), (30, 0), (8, 2)])

    result = add(index, str(more), faces=FACES, sources=BY_FOLDER)

    after = open_index(index)
    assert (result.added, result.rows, after.rows) == (2, 22, 22)
    assert after.column("uri").to_pylist()[20:] == [f"{more}/{name(8)}/2.png", f"{more}/{name(30)}/0.png"]
    assert after.references().ids.tolist() == list(range(22))
    assert np.allclose(vectors_in(index)[20:], [vector(8, 2), vector(30, 0)], atol=1e-6)
    assert after.verify() == []
    assert [p.name for p in sorted((index / "intake").glob("*.json"))] == ["0001.json", "0002.json"]
    assert result.counts == Counts(entries=4, items=4, faces=4)


def test_adding_takes_the_embedder_of_the_index(index: Path, tmp_path: Path) -> None:
    more = write_people(tmp_path / "more", [(30, 0)])

    result = add(index, str(more), faces=FaceOptions(faces="aligned"))

    assert result.added == 1


def test_adding_what_is_all_there_already_changes_nothing(index: Path, people_folder: Path) -> None:
    before = files_of(index)

    with pytest.raises(NothingScanned) as caught:
        add(index, str(people_folder), faces=FACES)

    assert str(caught.value) == f"Every item of the source is in {index} already; nothing was added."
    assert files_of(index) == before
    assert not (index.parent / ".people.add.work").exists()


def test_what_was_erased_may_be_added_again_under_a_new_id(index: Path, people_folder: Path) -> None:
    open_index(index).remove(where={"identity": [name(4)]})

    result = add(index, str(people_folder), faces=FACES, sources=BY_FOLDER)

    assert result.added == 2
    ids = open_index(index).references().ids[open_index(index).references().live_rows()]
    assert ids.tolist() == [*range(8), *range(10, 22)]


def test_vectors_of_another_embedder_are_not_added(index: Path, tmp_path: Path) -> None:
    vectors = np.eye(3, 128, dtype=np.float32)
    np.save(tmp_path / "foreign.npy", vectors)
    before = files_of(index)

    with pytest.raises(EmbedderMismatch) as caught:
        add(index, str(tmp_path / "foreign.npy"), options=BuildOptions(embedded_by="other"))

    assert str(caught.value) == (
        f"The index people was built with embedder drawn (fingerprint {opened().fingerprint}), what was to be added has "
        "fingerprint declared:other. Scores between them mean nothing. "
        "Use --embedder drawn, or build the index again with the embedder of the queries."
    )
    assert files_of(index) == before


def test_unfinished_work_is_neither_overwritten_nor_taken_up_with_other_options(
    people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, work = tmp_path / "idx", tmp_path / ".idx.work"
    with monkeypatch.context() as patch:
        patch.setattr("indexes.build.write_manifest", _disk_is_full)
        with pytest.raises(DiskFullError):
            build(out, str(people_folder), faces=FACES, sources=BY_FOLDER)
    assert not out.exists()

    with pytest.raises(UsageError) as untold:
        build(out, str(people_folder), faces=FACES, sources=BY_FOLDER)
    with pytest.raises(RunMismatch) as changed:
        build(out, str(people_folder), faces=FACES, options=BuildOptions(with_crops=True), resume=True)

    assert str(untold.value) == (
        f"{work} holds unfinished work. Pass --resume to finish it, or --force to throw it away."
    )
    assert str(changed.value) == (
        f"{work} cannot be resumed: keep_crops, source_options changed since it was started. "
        "Give the same sources and options as then, or pass --force to begin again."
    )
    result = build(out, str(people_folder), faces=FACES, sources=BY_FOLDER, resume=True)
    assert result.rows == 20
    assert [p.name for p in tmp_path.iterdir()] == ["idx"]


def test_a_source_that_grew_meanwhile_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_people(tmp_path / "q", [(1, 0)])
    with monkeypatch.context() as patch:
        patch.setattr("indexes.build.write_manifest", _disk_is_full)
        with pytest.raises(DiskFullError):
            build(tmp_path / "idx", str(folder), faces=FACES)
    write_people(folder, [(2, 0)])

    with pytest.raises(RunMismatch, match="cannot be resumed: source changed since it was started"):
        build(tmp_path / "idx", str(folder), faces=FACES, resume=True)


def test_unfinished_adding_can_be_thrown_away(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = str(write_people(tmp_path / "more", [(30, 0)]))
    with monkeypatch.context() as patch:
        patch.setattr("indexes.edit.write_manifest", _disk_is_full)
        with pytest.raises(DiskFullError):
            add(index, more, faces=FACES)
    assert open_index(index).rows == 20

    other = str(write_people(tmp_path / "other", [(31, 0)]))
    with pytest.raises(UsageError, match=r"holds unfinished work\. Pass --resume to finish it, or --force"):
        add(index, other, faces=FACES)
    result = add(index, other, faces=FACES, force=True)

    assert (result.added, result.rows) == (1, 21)


def test_resuming_a_finished_build_returns_what_is_there(index: Path, people_folder: Path) -> None:
    before = files_of(index, but=())

    result = build(index, str(people_folder), faces=FACES, sources=BY_FOLDER, resume=True)

    assert (result.rows, result.counts.entries) == (20, 20)
    assert files_of(index, but=()) == before


def test_resuming_a_finished_build_of_other_sources_is_refused(
    index: Path, people_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunMismatch) as caught:
        build(index, str(tmp_path / "elsewhere"), faces=FACES, sources=BY_FOLDER, resume=True)

    assert str(caught.value) == (
        f"{index} is finished, and was made from {people_folder}. Choose another name, or pass --force to replace it."
    )


def test_resuming_a_finished_build_with_other_options_is_refused(index: Path, people_folder: Path) -> None:
    changed = BuildOptions(dtype="float16", codec="none", seed=1)

    with pytest.raises(RunMismatch, match="made with other options: codec, dtype, embedder, seed differ"):
        build(
            index,
            str(people_folder),
            faces=replace(FACES, embedder="dlib"),
            sources=BY_FOLDER,
            options=changed,
            resume=True,
        )


def test_a_damaged_part_is_named(people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("indexes.build.write_manifest", _disk_is_full)
        with pytest.raises(DiskFullError):
            build(tmp_path / "idx", str(people_folder), faces=FACES)
    part = tmp_path / ".idx.work" / "000000.faces.parquet"
    part.write_bytes(part.read_bytes()[:100])

    with pytest.raises(ArtefactError) as caught:
        build(tmp_path / "idx", str(people_folder), faces=FACES, resume=True)

    assert str(caught.value).startswith(f"{part} is no readable Parquet file: ")
    assert str(caught.value).endswith("Make it again.")


def test_intake_counts_are_those_of_the_rejects_beside_them(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "q", [(1, 0), (2, 0)])
    (folder / "broken.png").write_bytes(png(3, 0)[:900])
    (folder / "empty.png").write_bytes(b"")

    result = build(tmp_path / "idx", str(folder), faces=FACES)

    rejects = artefacts.read_table(tmp_path / "idx" / "intake" / "0001.rejects.parquet", "rejects").to_pylist()
    assert [(r["uri"].removeprefix(f"{folder}/"), r["reason"]) for r in rejects] == [
        ("broken.png", "truncated"), ("empty.png", "empty_file"),
    ]  # fmt: skip
    assert result.counts == Counts(4, 2, 0, 2, 2, 0, {"empty_file": 1, "truncated": 1})
