"""Embeddings on disk are those of embedding one picture after the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, files_of, name, opened, photos_of, png, vector, write_people

from scanner import artefacts
from scanner.errors import ArtefactError, NothingScanned, RunMismatch, UsageError
from scanner.faces.quality import Gates
from scanner.jobs.embedding.embed import embed
from scanner.jobs.options import FaceOptions
from scanner.jobs.parts import vectors_of
from scanner.records import Counts

PHOTOS = photos_of(range(10), range(2))


def test_one_row_a_face_with_the_vector_of_embedding_it_alone(people_folder: Path, tmp_path: Path) -> None:
    result = embed(str(people_folder), tmp_path / "e.parquet", faces=FACES, sources=BY_FOLDER)

    table = artefacts.read_table(tmp_path / "e.parquet", "embeddings")
    assert np.allclose(vectors_of(table), [vector(*photo) for photo in PHOTOS], atol=1e-6)
    assert table["identity"].to_pylist() == [name(number) for number, _ in PHOTOS]
    assert table["uri"].to_pylist() == [f"{people_folder}/{name(n)}/{p}.png" for n, p in PHOTOS]
    assert table["id"].to_pylist() == [f"{i}:0" for i in table["item_id"].to_pylist()]
    assert table["box"].to_pylist() == [[0.0, 0.0, 112.0, 112.0]] * 20
    assert "crop_png" not in table.column_names
    assert (result.fingerprint, result.dim) == (opened().fingerprint, 128)
    assert table.schema.metadata[artefacts.FINGERPRINT_KEY].decode() == opened().fingerprint
    assert result.counts == Counts(entries=20, items=20, faces=20)
    assert json.loads((tmp_path / "e.json").read_text())["counts"]["faces"] == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.costs.json", "e.json", "e.parquet", "e.rejects.parquet"]


def test_workers_and_repetition_change_no_byte(people_folder: Path, tmp_path: Path) -> None:
    written = []
    for number, workers in enumerate((1, 2, 5, 5)):
        folder = tmp_path / str(number)
        folder.mkdir()
        faces = FaceOptions(embedder="drawn", faces="aligned", workers=workers)
        embed(str(people_folder), folder / "e.parquet", faces=faces, keep_crops=True)
        written.append(files_of(folder))

    assert all(files == written[0] for files in written)


def test_crops_are_kept_as_they_were_embedded(people_folder: Path, tmp_path: Path) -> None:
    embed(str(people_folder), tmp_path / "e.parquet", faces=FACES, keep_crops=True)

    crops = artefacts.read_table(tmp_path / "e.parquet", "embeddings")["crop_png"].to_pylist()
    assert crops == [png(*photo) for photo in PHOTOS]


def test_a_result_that_is_there_is_neither_replaced_nor_read_as_anything_else(
    people_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "e.parquet"
    embed(str(people_folder), out, faces=FACES)
    before = files_of(tmp_path)

    with pytest.raises(UsageError) as caught:
        embed(str(people_folder), out, faces=FACES)
    again = embed(str(people_folder), out, faces=FACES, resume=True)

    assert str(caught.value) == f"{out} is already there. Choose another name, or pass --force to replace it."
    assert again.counts == Counts(entries=20, items=20, faces=20)
    assert (again.fingerprint, again.dim) == (opened().fingerprint, 128)
    assert files_of(tmp_path) == before


def test_resuming_finished_embeddings_of_other_sources_is_refused(people_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    embed(str(people_folder), out, faces=FACES)

    with pytest.raises(RunMismatch) as caught:
        embed([str(people_folder), "elsewhere/"], out, faces=FACES, resume=True)

    assert str(caught.value) == (
        f"{out} is finished, and was made from {people_folder}. Choose another name, or pass --force to replace it."
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (replace(FACES, embedder="onnx:other.onnx"), "embedder"),
        (replace(FACES, faces="detect", detector="scrfd.onnx"), "detector, faces"),
        (replace(FACES, gates=Gates(size_min_px=40.0)), "gates"),
        (replace(FACES, pixels_max=1000, workers=1), "pixels_max"),
    ],
)
def test_resuming_finished_embeddings_with_other_options_is_refused(
    changed: FaceOptions, named: str, people_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "e.parquet"
    embed(str(people_folder), out, faces=FACES)

    with pytest.raises(RunMismatch) as caught:
        embed(str(people_folder), out, faces=changed, resume=True)

    assert str(caught.value) == (
        f"{out} is finished, and was made with other options: {named} differ. "
        "Choose another name, or pass --force to replace it."
    )


def test_a_file_of_the_user_beside_the_result_is_not_overwritten(people_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text("labels of mine")

    with pytest.raises(UsageError) as caught:
        embed(str(people_folder), tmp_path / "e.parquet", faces=FACES)

    assert str(caught.value).startswith(f"{tmp_path}/e.json is already there.")
    assert (tmp_path / "e.json").read_text() == "labels of mine"


def test_force_replaces_the_result_only_once_there_is_another(people_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    embed(str(people_folder), out, faces=FACES)
    before = files_of(tmp_path)
    nobody = tmp_path / "nobody.png"
    nobody.write_bytes(b"text")

    with pytest.raises(NothingScanned):
        embed(str(nobody), out, faces=FACES, force=True)
    nobody.unlink()
    assert files_of(tmp_path) == before

    embed(str(write_people(tmp_path / "q", [(1, 1)])), out, faces=FACES, force=True)
    assert artefacts.read_table(out, "embeddings").num_rows == 1


def test_a_name_that_could_not_be_read_again_is_refused(people_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        embed(str(people_folder), tmp_path / "e", faces=FACES)

    assert str(caught.value) == (
        f"{tmp_path}/e is no name for embeddings, which are read as *.parquet. Call it {tmp_path}/e.parquet."
    )


def test_embeddings_are_not_embedded(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(2, 128, dtype=np.float32))

    with pytest.raises(UsageError) as caught:
        embed(str(tmp_path / "v.npy"), tmp_path / "e.parquet", faces=FACES)

    assert str(caught.value) == (
        f"{tmp_path}/v.npy holds embeddings already. Pass it to scanner index build or scanner scan as it is."
    )


def test_an_unfinished_result_is_told_from_a_finished_one(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError) as caught:
        artefacts.read_table(tmp_path / "e.parquet", "embeddings")

    assert str(caught.value) == (
        f"{tmp_path}/e.parquet is not there. It is written last: the run has probably not finished."
    )


def test_gates_reject_faces_with_their_reason(people_folder: Path, tmp_path: Path) -> None:
    from scanner.faces import Gates

    faces = FaceOptions(embedder="drawn", faces="aligned", gates=Gates(size_min_px=200))

    with pytest.raises(NothingScanned) as caught:
        embed(str(people_folder), tmp_path / "e.parquet", faces=faces)

    assert str(caught.value) == (
        f"Nothing was scanned: 20 entries in {people_folder}, no usable face (20 face_too_small). "
        "Look at the pictures, and at --faces (detect, aligned, whole)."
    )
    assert list(tmp_path.iterdir()) == []
