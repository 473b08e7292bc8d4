"""Ready embeddings give the matches that their pictures give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_people import BY_FOLDER, FACES, name, photos_of, vector

from indexes import open_index
from scanner import artefacts
from scanner.errors import ArtefactError, EmbedderMismatch, NothingScanned, UsageError
from scanner.jobs.embedding.embed import embed
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.indexing.calibrate import calibrate
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import ScanResult, scan

REFERENCES = photos_of(range(10), range(2))
QUERIES = photos_of([2, 3, 4, 5, *range(20, 26)], [2])


def write_npy(path: Path, photos: list[tuple[int, int]], *, scale: float = 1.0) -> Path:
    np.save(path, np.array([vector(*photo) for photo in photos]) * np.float32(scale))
    path.with_suffix(".ids.txt").write_text("".join(f"{name(number)}-{photo}\n" for number, photo in photos))
    return path


def write_foreign_parquet(path: Path, photos: list[tuple[int, int]]) -> Path:
    columns = {
        "id": [f"{name(number)}-{photo}" for number, photo in photos],
        "identity": [name(number) for number, _ in photos],
        "embedding": [vector(*photo).tolist() for photo in photos],
    }
    pq.write_table(pa.table(columns), path)
    return path


def keys(result: ScanResult) -> list[tuple[int, int, int]]:
    """Return (query, reference, rank) of every match; queries by their place."""
    queries = artefacts.read_table(result.folder / "queries.parquet", "queries")["query_id"].to_pylist()
    return [(queries.index(r["query_id"]), r["reference_id"], r["rank"]) for r in result.matches().to_pylist()]


@pytest.fixture(scope="module")
def from_pictures(people_index: Path, generated_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    """The scan of the pictures themselves."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return scan(str(generated_folder), against=people_index, out=out, options=ScanOptions(threshold=0.5), faces=FACES)


def test_our_own_embeddings_give_the_same_run_as_their_pictures(
    from_pictures: ScanResult, people_folder: Path, generated_folder: Path, tmp_path: Path
) -> None:
    embed(str(people_folder), tmp_path / "p.parquet", faces=FACES, sources=BY_FOLDER)
    embed(str(generated_folder), tmp_path / "g.parquet", faces=FACES)
    build(tmp_path / "people", str(tmp_path / "p.parquet"))

    result = scan(
        str(tmp_path / "g.parquet"),
        against=tmp_path / "people",
        out=tmp_path / "run",
        options=ScanOptions(threshold=0.5),
    )

    assert result.matches().equals(from_pictures.matches())
    assert result.summary["results"] == from_pictures.summary["results"]
    assert result.summary["counts"] == from_pictures.summary["counts"]
    own, theirs = (artefacts.read_table(r.folder / "queries.parquet", "queries") for r in (result, from_pictures))
    assert own.equals(theirs)


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_arrays_with_ids_give_the_matches_of_their_pictures(
    scale: float, from_pictures: ScanResult, tmp_path: Path
) -> None:
    people = write_npy(tmp_path / "p.npy", REFERENCES, scale=scale)
    build(tmp_path / "people", str(people), options=BuildOptions(embedded_by="net"))
    queries = write_npy(tmp_path / "g.npy", QUERIES, scale=scale)
    options = ScanOptions(threshold=0.5, embedded_by="net")

    result = scan(str(queries), against=tmp_path / "people", out=tmp_path / "run", options=options)

    assert keys(result) == keys(from_pictures)
    assert np.allclose(result.matches()["score"], from_pictures.matches()["score"], atol=1e-6)
    assert result.matches()["query_id"].to_pylist()[0] == "person-002-2"
    assert open_index(tmp_path / "people").column("face_id").to_pylist()[:2] == ["person-000-0", "person-000-1"]


def test_foreign_parquet_gives_matches_with_their_identities(from_pictures: ScanResult, tmp_path: Path) -> None:
    people = write_foreign_parquet(tmp_path / "p.parquet", REFERENCES)
    build(tmp_path / "people", str(people), options=BuildOptions(embedded_by="net"))
    queries = write_foreign_parquet(tmp_path / "g.parquet", QUERIES)
    options = ScanOptions(threshold=0.5, embedded_by="net")

    result = scan(str(queries), against=tmp_path / "people", out=tmp_path / "run", options=options)

    assert keys(result) == keys(from_pictures)
    assert result.matches()["identity"].to_pylist() == from_pictures.matches()["identity"].to_pylist()


def test_the_name_of_the_embedder_reaches_the_calibration_of_a_scan(tmp_path: Path) -> None:
    people = write_foreign_parquet(tmp_path / "p.parquet", REFERENCES)
    build(tmp_path / "people", str(people), options=BuildOptions(embedded_by="net"))
    queries = write_npy(tmp_path / "g.npy", QUERIES)
    options = ScanOptions(fmr=0.1, calibrate_on=str(people), embedded_by="net")

    result = scan(str(queries), against=tmp_path / "people", out=tmp_path / "run", options=options)

    threshold = calibrate(str(people), fmrs=(0.1,), embedded_by="net").points[0].threshold
    assert result.summary["threshold"]["value"] == threshold


def test_vectors_whose_embedder_nobody_names_are_refused(people_index: Path, tmp_path: Path) -> None:
    queries = write_npy(tmp_path / "g.npy", QUERIES)

    with pytest.raises(UsageError) as caught:
        scan(str(queries), against=people_index, out=tmp_path / "run", options=ScanOptions(threshold=0.5))

    assert str(caught.value) == (
        f"{queries} does not say which embedder made its vectors, and vectors of two embedders must not be "
        "compared. Give it a name of your own, and the same one to the index and to the queries: --embedded-by NAME."
    )


def test_vectors_of_another_embedder_are_refused(people_index: Path, tmp_path: Path) -> None:
    queries = write_npy(tmp_path / "g.npy", QUERIES)
    options = ScanOptions(threshold=0.5, embedded_by="net")

    with pytest.raises(EmbedderMismatch, match="the queries' embedder has fingerprint declared:net"):
        scan(str(queries), against=people_index, out=tmp_path / "run", options=options)


def test_a_name_that_contradicts_the_file_is_refused(people_folder: Path, tmp_path: Path) -> None:
    embed(str(people_folder), tmp_path / "p.parquet", faces=FACES)

    with pytest.raises(UsageError, match="Leave the option out"):
        build(tmp_path / "idx", str(tmp_path / "p.parquet"), options=BuildOptions(embedded_by="net"))


def test_pictures_and_vectors_are_not_mixed_in_one_call(people_folder: Path, tmp_path: Path) -> None:
    queries = write_npy(tmp_path / "g.npy", QUERIES)

    with pytest.raises(UsageError) as caught:
        build(tmp_path / "idx", [str(people_folder), str(queries)], faces=FACES)

    assert str(caught.value) == "Images and ready embeddings cannot be mixed in one call. Name them in two."


def test_rows_that_are_no_vectors_are_counted_and_left_out(tmp_path: Path) -> None:
    vectors = np.array([vector(*photo) for photo in QUERIES])
    vectors[1] = np.nan
    vectors[4] = 0.0
    np.save(tmp_path / "v.npy", vectors)

    result = build(tmp_path / "idx", str(tmp_path / "v.npy"), options=BuildOptions(embedded_by="net"))

    assert result.rows == 8
    assert result.counts.add_up
    assert (result.counts.entries, result.counts.rejected) == (10, 2)
    assert result.counts.reasons == {"bad_embedding": 2}
    rejects = artefacts.read_table(tmp_path / "idx" / "intake" / "0001.rejects.parquet", "rejects").to_pylist()
    assert [r["detail"] for r in rejects] == ["row 1: not finite", "row 4: zero vector"]


def test_a_file_without_one_usable_vector_is_no_success(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.full((3, 128), np.nan, np.float32))

    with pytest.raises(NothingScanned) as caught:
        build(tmp_path / "idx", str(tmp_path / "v.npy"), options=BuildOptions(embedded_by="net"))

    assert str(caught.value) == f"Nothing was scanned: no usable vector among the 3 rows of {tmp_path}/v.npy."


def test_a_vector_of_ours_that_was_changed_is_rejected(people_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    embed(str(people_folder), path, faces=FACES)
    table = artefacts.read_table(path, "embeddings")
    vectors = vectors_of(table).copy()
    vectors[3] *= 2.0
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 128)
    place = table.column_names.index("embedding")
    pq.write_table(table.set_column(place, table.schema.field(place), column), path)

    result = build(tmp_path / "idx", str(path))

    assert (result.rows, result.counts.reasons) == (19, {"bad_embedding": 1})


def test_an_embeddings_file_cut_short_is_refused(people_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    embed(str(people_folder), path, faces=FACES)
    path.write_bytes(path.read_bytes()[:-50])

    with pytest.raises((ArtefactError, Exception)) as caught:
        build(tmp_path / "idx", str(path))

    assert type(caught.value).__module__ == "scanner.errors"
    assert str(path) in str(caught.value)
