"""A scan finds exactly the pairs that a plain matrix product finds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import (
    BY_FOLDER,
    FACES,
    WORLD_SEED,
    crop,
    files_of,
    name,
    opened,
    photos_of,
    png,
    scores_of,
    vector,
    write_people,
    write_tar,
)

import scanner.jobs.scanning.join
from indexes import VectorBatch, open_index
from indexes.errors import FormatError, IndexesError, MemoryTooSmall
from scanner import artefacts
from scanner.errors import (
    ArtefactError,
    CalibrationError,
    EmbedderMismatch,
    NothingScanned,
    RunMismatch,
    SourceError,
    UsageError,
)
from scanner.faces.quality import Gates
from scanner.images import decode_rgb
from scanner.jobs.embedding.embed import embed
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.options import FaceOptions
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import ScanResult, scan
from scanner.world.draw import face_pixels

REFERENCES = photos_of(range(10), range(2))
QUERIES = photos_of([2, 3, 4, 5, *range(20, 26)], [2])
THRESHOLD = 0.5


def expected_rows(
    queries: list[tuple[int, int]], indexes: dict[str, list[tuple[int, int]]], threshold: float
) -> list[tuple[Any, ...]]:
    """Return (query, index, reference_id, identity, rank) of every match, from all pairs."""
    rows = []
    scores = {index: scores_of(queries, references) for index, references in indexes.items()}
    for place, (number, photo) in enumerate(queries):
        ranked = sorted(
            (-score, index, reference)
            for index, of_index in scores.items()
            for reference, score in enumerate(of_index[place])
        )
        rows += [
            (f"{name(number)}/{photo}.png", index, reference, name(indexes[index][reference][0]), rank)
            for rank, (negative, index, reference) in enumerate(ranked, 1)
            if -negative >= threshold
        ]
    every = np.concatenate([of_index.ravel() for of_index in scores.values()])
    assert np.abs(every - threshold).min() > 1e-5, "a score is too near the threshold for this test"
    return rows


def found_rows(result: ScanResult) -> list[tuple[Any, ...]]:
    return [
        ("/".join(row["query_uri"].split("/")[-2:]), row["index"], row["reference_id"], row["identity"], row["rank"])
        for row in result.matches().to_pylist()
    ]


def scan_here(folder: Path, queries: Path, against: Any, **options: Any) -> ScanResult:
    given = {"threshold": THRESHOLD, **options}
    return scan(str(queries), against=against, out=folder / "run", options=ScanOptions(**given), faces=FACES)


def test_matches_ranks_and_best_scores_are_those_of_all_pairs(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    result = scan_here(tmp_path, generated_folder, people_index)

    assert found_rows(result) == expected_rows(QUERIES, {"people": REFERENCES}, THRESHOLD)
    scores = scores_of(QUERIES, REFERENCES)
    queries = artefacts.read_table(tmp_path / "run" / "queries.parquet", "queries")
    assert np.allclose(queries["best_score"].to_numpy(), scores.max(1), atol=1e-6)
    assert queries["best_reference_id"].to_pylist() == scores.argmax(1).tolist()
    assert queries["best_index"].to_pylist() == ["people"] * len(QUERIES)
    assert queries["matches"].to_pylist() == (scores >= THRESHOLD).sum(1).tolist()
    found = result.summary["results"]
    assert found == {
        "queries": 10,
        "matches": int((scores >= THRESHOLD).sum()),
        "matched_queries": int((scores >= THRESHOLD).any(1).sum()),
        "same_bytes": 0,
        "near_copies": 0,
        "matched_identities": len({row[3] for row in found_rows(result)}),
        "comparisons": 200,
        "false_matches_expected": None,
    }
    for row in result.matches().to_pylist():
        place = QUERIES.index((int(row["query_uri"][-9:-6]), 2))
        assert row["score"] == pytest.approx(scores[place, row["reference_id"]], abs=1e-6)
        assert row["verdict"] == "match"
        assert row["reference_uri"].endswith("/{}/{}.png".format(row["identity"], row["reference_id"] % 2))


def test_every_planted_person_is_found_and_the_sum_of_outcomes_adds_up(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    result = scan_here(tmp_path, generated_folder, people_index)

    own = {(row[0].split("/")[0], row[3]) for row in found_rows(result)}
    assert {(name(n), name(n)) for n in (2, 3, 4, 5)} <= own
    counts = result.summary["counts"]
    assert counts["entries"] == counts["items"] + counts["duplicates"] + counts["rejected"] == 10


def test_the_threshold_is_inclusive(people_index: Path, tmp_path: Path) -> None:
    queries = write_people(tmp_path / "q", [(2, 2)])
    first = scan_here(tmp_path, queries, people_index, threshold=-0.99)
    scores = sorted(first.matches()["score"].to_pylist())

    exact = scan(
        str(queries), against=people_index, out=tmp_path / "again", faces=FACES,
        options=ScanOptions(threshold=float(np.float32(scores[7]))),
    )  # fmt: skip

    assert sorted(exact.matches()["score"].to_pylist()) == scores[7:]


def test_two_indexes_are_ranked_as_one(people_folder: Path, tmp_path: Path) -> None:
    halves = {"left": photos_of(range(5), range(2)), "right": photos_of(range(3, 10), range(2))}
    for index, photos in halves.items():
        folder = write_people(tmp_path / f"{index}-photos", photos)
        build(tmp_path / index, str(folder), faces=FACES, sources=BY_FOLDER)
    queries = write_people(tmp_path / "q", QUERIES)

    result = scan_here(tmp_path, queries, [tmp_path / "left", tmp_path / "right"])

    # Person 3 and 4 are in both: equal scores are ranked left before right.
    assert found_rows(result) == expected_rows(QUERIES, halves, THRESHOLD)
    assert result.summary["results"]["comparisons"] == 10 * (10 + 14)
    assert [entry["canaries"] for entry in result.summary["indexes"]] == [{"planted": 8, "found": 8}] * 2


@pytest.mark.parametrize("engine", ["exact", "flat"])
def test_no_engine_changes_a_hit(engine: str, people_index: Path, generated_folder: Path, tmp_path: Path) -> None:
    result = scan_here(tmp_path, generated_folder, people_index, engine=engine)

    assert found_rows(result) == expected_rows(QUERIES, {"people": REFERENCES}, THRESHOLD)
    assert result.summary["indexes"][0]["engine"] == engine


def test_the_size_of_blocks_changes_nothing(
    people_index: Path, generated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scan_here(tmp_path, generated_folder, people_index)
    monkeypatch.setattr(scanner.jobs.scanning.join, "BLOCK_ROWS", 3)
    (tmp_path / "b").mkdir()

    other = scan_here(tmp_path / "b", generated_folder, people_index)

    assert files_of(one.folder) == files_of(other.folder)


def test_the_same_scan_twice_and_with_other_workers_has_the_same_bytes(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    runs = []
    for workers in (2, 2, 1):
        folder = tmp_path / str(len(runs))
        faces = FaceOptions(embedder="drawn", faces="aligned", workers=workers)
        options = ScanOptions(threshold=THRESHOLD, with_crops=True)
        scan(str(generated_folder), against=people_index, out=folder, options=options, faces=faces)
        runs.append(files_of(folder))

    assert runs[0] == runs[1] == runs[2]
    assert sorted(runs[0]) == [
        "crops.parquet", "matches.parquet", "policy.json", "queries.parquet", "rejects.parquet", "report.html", "run.json",
    ]  # fmt: skip


def test_a_picture_under_two_names_is_one_query_with_two_uris(people_index: Path, tmp_path: Path) -> None:
    queries = write_people(tmp_path / "q", [(2, 2), (20, 2)])
    (queries / "zz.png").write_bytes(png(2, 2))

    result = scan_here(tmp_path, queries, people_index)

    table = artefacts.read_table(tmp_path / "run" / "queries.parquet", "queries")
    assert table["other_uris"].to_pylist() == [[f"{queries}/zz.png"], []]
    rejects = artefacts.read_table(tmp_path / "run" / "rejects.parquet", "rejects").to_pylist()
    assert [(r["uri"], r["reason"], r["level"]) for r in rejects] == [(f"{queries}/zz.png", "duplicate", "item")]
    assert result.summary["counts"]["duplicates"] == 1
    assert result.summary["results"]["queries"] == 2


def test_crops_of_both_sides_of_every_match_are_kept_once_when_asked_for(
    people_folder: Path, generated_folder: Path, tmp_path: Path
) -> None:
    build(tmp_path / "idx", str(people_folder), faces=FACES, sources=BY_FOLDER, options=BuildOptions(with_crops=True))

    result = scan_here(tmp_path, generated_folder, tmp_path / "idx", with_crops=True)

    crops = artefacts.read_table(tmp_path / "run" / "crops.parquet", "crops").to_pylist()
    matches = result.matches().to_pylist()
    assert sorted(c["query_id"] for c in crops if c["side"] == "query") == sorted({m["query_id"] for m in matches})
    references = {c["reference_id"]: c["crop_png"] for c in crops if c["side"] == "reference"}
    assert sorted(references) == sorted({m["reference_id"] for m in matches})
    assert len(crops) == len(references) + len({m["query_id"] for m in matches})
    for reference, crop_png in references.items():
        assert np.array_equal(decode_rgb(crop_png), crop(*REFERENCES[reference]))


def test_no_crop_is_written_unless_asked_for(people_index: Path, generated_folder: Path, tmp_path: Path) -> None:
    scan_here(tmp_path, generated_folder, people_index)

    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "costs.json", "matches.parquet", "policy.json", "queries.parquet", "rejects.parquet", "report.html", "run.json",
    ]  # fmt: skip
    assert b"data:image" not in (tmp_path / "run" / "report.html").read_bytes()


def test_a_run_folder_is_its_owners_alone(people_index: Path, generated_folder: Path, tmp_path: Path) -> None:
    result = scan_here(tmp_path, generated_folder, people_index)

    assert result.folder.stat().st_mode & 0o077 == 0


def test_a_threshold_from_a_rate_is_the_one_that_all_pairs_give(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    result = scan_here(
        tmp_path, generated_folder, people_index, threshold=None, fmr=0.1, calibrate_on=str(people_index)
    )

    scores = scores_of(REFERENCES, REFERENCES)
    same = np.equal.outer([n for n, _ in REFERENCES], [n for n, _ in REFERENCES])
    impostors = np.sort(scores[np.triu(~same, 1)])[::-1]
    threshold = result.summary["threshold"]
    allowed = int(0.1 * len(impostors))
    assert len(impostors) == 180
    assert impostors[allowed] - 3e-6 < threshold["value"] <= impostors[allowed - 1] + 1e-6
    assert (threshold["origin"], threshold["calibrated_on"]) == ("calibrated", str(people_index))
    assert threshold["point"]["false_matches"] == allowed
    assert result.summary["results"]["false_matches_expected"] == pytest.approx(200 * allowed / 180)
    assert found_rows(result) == expected_rows(QUERIES, {"people": REFERENCES}, threshold["value"])


def test_a_calibration_set_too_small_for_the_rate_is_refused_before_the_work(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError) as caught:
        scan_here(tmp_path, generated_folder, people_index, threshold=None, fmr=1e-4, calibrate_on=str(people_index))

    assert str(caught.value) == (
        "A threshold at FMR 0.0001 needs at least 100000 pairs of different people, the calibration set has 180. "
        "Name a larger one, or ask for an FMR of 0.06 or more."
    )
    assert not (tmp_path / "run").exists()


def test_a_calibration_set_without_identities_is_refused(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(3):
        (flat / f"{number}.png").write_bytes(png(number, 0))

    with pytest.raises(CalibrationError) as caught:
        scan_here(tmp_path, generated_folder, people_index, threshold=None, fmr=0.1, calibrate_on=str(flat))

    assert str(caught.value) == (
        f"{flat} has no identities, so nobody knows which pairs are the same person. Name labelled pictures, or build the "
        "index with labels: --identity-from folder takes the names of the sub-folders."
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {},
            "Say how close counts as a match: either --threshold T, or --fmr F --calibrate-on LABELLED, or "
            "--fpir F --calibrate-on LABELLED.",
        ),
        (
            {"threshold": 0.4, "fmr": 1e-3},
            "Say how close counts as a match: either --threshold T, or --fmr F --calibrate-on LABELLED, or "
            "--fpir F --calibrate-on LABELLED.",
        ),
        (
            {"fmr": 1e-3},
            "--fmr needs pairs of people whose identity is known: --calibrate-on INDEX (one built with identities) "
            "or --calibrate-on SOURCE (labelled images).",
        ),
    ],
)
def test_a_scan_without_exactly_one_way_to_decide_is_refused(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        ScanOptions(**given)

    assert str(caught.value) == sentence


@pytest.mark.parametrize("value", [-1.0, 1.5, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(
    value: float, people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        scan_here(tmp_path, generated_folder, people_index, threshold=value)

    assert str(caught.value) == f"A threshold is a cosine above -1 and at most 1, for instance 0.43; got {value}."
    assert not (tmp_path / "run").exists()


def test_more_hits_than_the_limit_end_the_scan_and_leave_it_resumable(
    people_index: Path, generated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join_few(gallery: Any, vectors: Any, *, threshold: float) -> Any:
        return gallery.engine.search(VectorBatch(vectors), threshold=threshold, k=1, hits_max=3)

    with monkeypatch.context() as patch:
        patch.setattr(scanner.jobs.scanning.comparisons, "join", join_few)
        with pytest.raises(
            UsageError, match=r"queries reach the threshold .*Raise --threshold, or ask for a lower --fmr"
        ):
            scan_here(tmp_path, generated_folder, people_index)
    options = ScanOptions(threshold=THRESHOLD)
    result = scan(
        str(generated_folder), against=people_index, out=tmp_path / "run", options=options, faces=FACES, resume=True
    )

    assert found_rows(result) == expected_rows(QUERIES, {"people": REFERENCES}, THRESHOLD)


def test_an_index_of_another_embedder_is_refused_before_the_work(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(people_index, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["fingerprint"] = "feedfeedfeedfeed"
    (other / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(EmbedderMismatch) as alone:
        scan_here(tmp_path, generated_folder, other)
    with pytest.raises(EmbedderMismatch) as together:
        scan_here(tmp_path, generated_folder, [people_index, other])
    with pytest.raises(EmbedderMismatch) as calibrated:
        scan_here(tmp_path, generated_folder, people_index, threshold=None, fmr=0.1, calibrate_on=str(other))

    own = opened().fingerprint
    assert str(alone.value) == (
        "The index other was built with embedder drawn (fingerprint feedfeedfeedfeed), the queries' embedder has "
        f"fingerprint {own}. Scores between them mean nothing. "
        "Use --embedder drawn, or build the index again with the embedder of the queries."
    )
    assert "the index people has fingerprint" in str(together.value)
    assert str(calibrated.value) == (
        f"The calibration set {other} was embedded with fingerprint feedfeedfeedfeed, the scan uses {own}. "
        "A threshold of one embedder means nothing for another: calibrate on pictures, or on an index of the same "
        "embedder."
    )
    assert not (tmp_path / "run").exists()


def test_two_indexes_of_one_name_are_refused(people_index: Path, generated_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(people_index, tmp_path / "people")

    with pytest.raises(ArtefactError) as caught:
        scan_here(tmp_path, generated_folder, [people_index, tmp_path / "people"])

    assert str(caught.value) == ("Two of the indexes are called 'people'; matches could not be told apart. Rename one.")


def test_what_is_no_index_is_refused(generated_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        scan_here(tmp_path, generated_folder, tmp_path / "nowhere")

    assert str(caught.value) == (
        f"'{tmp_path}/nowhere' is no index: it has no manifest.json. Check the path, or build an index there."
    )


def test_an_index_that_lost_a_vector_is_noticed_by_its_canaries(
    people_index: Path, generated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join_nothing(gallery: Any, vectors: Any, *, threshold: float) -> Any:
        return gallery.engine.search(VectorBatch(-vectors), threshold=threshold, k=1)

    monkeypatch.setattr("scanner.search.join", join_nothing)

    with pytest.raises(IndexesError, match="Only 0 of 8 planted references were found in the index people"):
        scan_here(tmp_path, generated_folder, people_index)


def test_a_memory_budget_too_small_for_the_index_is_refused(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(MemoryTooSmall):
        scan_here(tmp_path, generated_folder, people_index, memory_bytes=1000)

    assert not (tmp_path / "run").exists()


def test_pictures_without_a_usable_face_are_no_success(people_index: Path, tmp_path: Path) -> None:
    queries = tmp_path / "q"
    queries.mkdir()
    (queries / "a.png").write_bytes(b"")
    (queries / "b.png").write_bytes(b"text")
    (queries / "c.png").write_bytes(b"text")

    with pytest.raises(NothingScanned) as caught:
        scan_here(tmp_path, queries, people_index)

    assert str(caught.value) == (
        f"Nothing was scanned: 3 entries in {queries}, no usable face (1 duplicate, 1 empty_file, 1 not_an_image). "
        "Look at the pictures, and at --faces (detect, aligned, whole)."
    )


def test_erasing_a_person_makes_their_matches_vanish(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    index = tmp_path / "people"
    shutil.copytree(people_index, index)
    open_index(index).remove(where={"identity": [name(3)]})
    kept = [photo for photo in REFERENCES if photo[0] != 3]

    result = scan_here(tmp_path, generated_folder, index)

    expected = expected_rows(QUERIES, {"people": kept}, THRESHOLD)
    numbers = [n for n, photo in enumerate(REFERENCES) if photo[0] != 3]  # ids stay when others go
    assert found_rows(result) == [(q, i, numbers[r], who, rank) for q, i, r, who, rank in expected]
    assert name(3) not in {row[3] for row in found_rows(result)}
    assert result.summary["indexes"][0]["rows"] == 18


def test_the_embedder_of_the_index_is_taken_when_none_is_named(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    result = scan(
        str(generated_folder), against=people_index, out=tmp_path / "run",
        options=ScanOptions(threshold=THRESHOLD), faces=FaceOptions(faces="aligned"),
    )  # fmt: skip

    assert found_rows(result) == expected_rows(QUERIES, {"people": REFERENCES}, THRESHOLD)


def test_a_tar_of_queries_gives_the_matches_of_the_folder(people_index: Path, tmp_path: Path) -> None:
    result = scan_here(tmp_path, write_tar(tmp_path / "q.tar", QUERIES), people_index)

    folder_rows = expected_rows(QUERIES, {"people": REFERENCES}, THRESHOLD)
    assert [row[1:] for row in found_rows(result)] == [row[1:] for row in folder_rows]


def test_crops_of_embeddings_that_came_without_any_are_those_of_the_references(tmp_path: Path) -> None:
    write_people(tmp_path / "people", REFERENCES)
    build(
        tmp_path / "people.idx", str(tmp_path / "people"), options=BuildOptions(with_crops=True), faces=FACES,
        sources=BY_FOLDER,
    )  # fmt: skip
    embed(str(tmp_path / "people" / name(2)), tmp_path / "q.parquet", faces=FACES)
    options = ScanOptions(threshold=THRESHOLD, with_crops=True)
    scan(str(tmp_path / "q.parquet"), against=tmp_path / "people.idx", out=tmp_path / "run", options=options)

    crops = artefacts.read_table(tmp_path / "run" / "crops.parquet", "crops")
    assert crops["side"].to_pylist() == ["reference", "reference"]


def test_a_finished_run_is_not_overwritten_and_resuming_it_does_nothing(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    first = scan_here(tmp_path, generated_folder, people_index)
    before = files_of(first.folder, but=())

    with pytest.raises(UsageError) as caught:
        scan_here(tmp_path, generated_folder, people_index)
    again = scan(
        str(generated_folder), against=people_index, out=first.folder, options=ScanOptions(threshold=THRESHOLD),
        faces=FACES, resume=True,
    )  # fmt: skip

    assert str(caught.value) == (
        f"{tmp_path}/run is already there. Choose another name, or pass --force to replace it."
    )
    assert again.summary == first.summary
    assert files_of(first.folder, but=()) == before


def test_resuming_a_finished_run_at_another_rate_is_refused(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    """A calibrated threshold is not named by hand, so it is the rule that must be the same."""
    wanted = {"against": people_index, "out": tmp_path / "run", "faces": FACES}
    scan(str(generated_folder), options=ScanOptions(fmr=0.1, calibrate_on=str(people_index)), **wanted)

    for changed in (
        ScanOptions(fmr=0.2, calibrate_on=str(people_index)),
        ScanOptions(fpir=0.1, calibrate_on=str(people_index)),
    ):
        with pytest.raises(RunMismatch, match="other options: threshold differ"):
            scan(str(generated_folder), options=changed, resume=True, **wanted)


def test_resuming_a_finished_run_with_other_options_is_refused(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    first = scan_here(tmp_path, generated_folder, people_index)

    with pytest.raises(RunMismatch) as caught:
        scan(
            "elsewhere/", against=people_index, out=first.folder, options=ScanOptions(threshold=0.9), faces=FACES,
            resume=True,
        )  # fmt: skip

    assert str(caught.value) == (
        f"{tmp_path}/run is a finished run on other indexes or with other options: queries, threshold differ. "
        "Choose another name, or pass --force to replace it."
    )


def test_resuming_a_finished_run_whose_index_has_changed_or_whose_faces_are_found_otherwise_is_refused(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    """A nightly script may always pass --resume: what it gets must be what it asked for."""
    index = Path(shutil.copytree(people_index, tmp_path / people_index.name))
    wanted: dict[str, Any] = {
        "against": index, "out": tmp_path / "run", "options": ScanOptions(threshold=THRESHOLD), "resume": True
    }  # fmt: skip
    scan(str(generated_folder), faces=FACES, **wanted)

    changed = replace(FACES, select="all", gates=Gates(sharpness_min=5.0), embedder="dlib")
    with pytest.raises(RunMismatch, match="other options: embedder, gates, select differ"):
        scan(str(generated_folder), faces=changed, **wanted)
    open_index(index).remove([0])
    with pytest.raises(RunMismatch, match="other options: indexes differ"):
        scan(str(generated_folder), faces=FACES, **wanted)


def test_force_keeps_the_old_run_until_the_new_one_can_start(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    first = scan_here(tmp_path, generated_folder, people_index)
    before = files_of(first.folder, but=())

    def again(queries: Path, against: Path, faces: FaceOptions = FACES) -> None:
        options = ScanOptions(threshold=0.9)
        scan(str(queries), against=against, out=first.folder, options=options, faces=faces, force=True)

    with pytest.raises(SourceError):
        again(tmp_path / "typo", people_index)
    with pytest.raises(FormatError):
        again(generated_folder, tmp_path / "typo")
    with pytest.raises(UsageError):
        again(generated_folder, people_index, FaceOptions(embedder="tpyo"))
    assert files_of(first.folder, but=()) == before

    again(generated_folder, people_index)
    assert json.loads((first.folder / "run.json").read_text())["threshold"]["value"] == 0.9


def test_force_deletes_no_folder_that_holds_other_things(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "unfinished").mkdir(parents=True)
    (home / "unfinished" / "thesis.txt").write_text("years")

    with pytest.raises(UsageError) as caught:
        scan(
            str(generated_folder), against=people_index, out=home, options=ScanOptions(threshold=0.5), faces=FACES,
            force=True,
        )  # fmt: skip

    assert str(caught.value) == f"{home} is not, or not only, a run of ours; --force does not delete it."
    assert (home / "unfinished" / "thesis.txt").read_text() == "years"


def test_force_never_deletes_an_index_in_place_of_a_run(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    index = Path(shutil.copytree(people_index, tmp_path / "people"))
    before = files_of(index, but=())

    with pytest.raises(UsageError) as caught:
        scan(
            str(generated_folder), against=index, out=index, options=ScanOptions(threshold=0.5), faces=FACES, force=True
        )

    assert str(caught.value) == f"{index} is not, or not only, a run of ours; --force does not delete it."
    assert files_of(index, but=()) == before


def test_the_helpers_draw_what_the_world_draws() -> None:
    assert np.array_equal(crop(3, 1), face_pixels(WORLD_SEED, 3, 1))
    assert np.linalg.norm(vector(3, 1)) == pytest.approx(1.0, abs=1e-6)
