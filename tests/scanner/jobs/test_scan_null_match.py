"""`scan --null-match`, then `check` and `report verify`, on drawn people and small samples."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, crop, files_of, name, photos_of, write_people

from indexes import open_index
from scanner import BuildOptions, ScanOptions, artefacts, build, scan
from scanner.errors import UsageError
from scanner.images import encode_png
from scanner.jobs.checking.check import check
from scanner.jobs.checking.check_photos import embed_photos
from scanner.jobs.checking.verify import verify
from scanner.jobs.options import SourceOptions
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.domain_file import read_domain
from scanner.progress import Silent

SIDE_PX = 40
LEAKED = range(2, 10)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("match")
    keep = BuildOptions(with_crops=True)
    for index, numbers, photos in (("people", range(24), range(2)), ("outsiders", range(30, 150), range(1))):
        write_people(folder / index, photos_of(numbers, photos))
        build(folder / f"{index}.idx", str(folder / index), faces=FACES, sources=BY_FOLDER, options=keep)
    open_index(folder / "people.idx").remove(ids=[0, 1])  # ids of the copy are not those of the index any more
    (folder / "generated").mkdir()
    for number in LEAKED:
        small = cv2.resize(crop(number, 5), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        (folder / "generated" / f"{number}.png").write_bytes(encode_png(np.asarray(small, np.uint8)))
    run(folder, folder / "run")
    return folder


def run(folder: Path, out: Path, **options: object) -> None:
    null = str(folder / "outsiders.idx")
    chosen = ScanOptions(fmr=1e-2, calibrate_on=null, null=(null,), null_match=True, with_crops=True)
    scan(str(folder / "generated"), against=folder / "people.idx", out=out, options=chosen, faces=FACES)


def test_matches_name_the_references_of_the_index_and_not_of_its_copy(world: Path):
    matches = artefacts.read_table(world / "run" / "matches.parquet", "matches").to_pylist()
    index = open_index(world / "people.idx")

    known = index.lookup([row["reference_id"] for row in matches], columns=["identity", "uri"]).to_pylist()

    assert [(row["identity"], row["reference_uri"]) for row in matches] == [(k["identity"], k["uri"]) for k in known]
    found = {
        row["query_uri"].rpartition("/")[2]
        for row in matches
        if row["identity"] == name(int(Path(row["query_uri"]).stem))
    }
    assert len(found) >= 6
    photos = artefacts.read_table(world / "run" / "photos.parquet", "photos").to_pylist()
    own = [row for row in photos if row["side"] == "candidate"]
    assert [row["reference_id"] for row in own] == list(range(2, 48))
    assert artefacts.read_table(world / "run" / "crops.parquet", "crops").num_rows > len(LEAKED)


def test_the_run_says_what_was_matched_and_holds(world: Path):
    summary = artefacts.read_json(world / "run" / "run.json")
    domain = read_domain(world / "run")

    assert summary["null_match"]["matched"] == ["resolution", "JPEG compression", "colour"]
    assert [one["changed"] for one in summary["null_match"]["references"]] == [46, 120]
    assert {look.size_px for look in domain.looks} == {float(SIDE_PX)}
    assert verify(world / "run").differences == ()
    assert "Brought to the scanned faces" in (world / "run" / "report.html").read_text()


def test_the_same_run_again_has_the_same_bytes(world: Path, tmp_path: Path):
    run(world, tmp_path / "again")

    assert files_of(tmp_path / "again") == files_of(world / "run")


def test_photos_that_are_checked_are_brought_there_too(world: Path):
    leaked = check([str(world / "people" / name(5))], run=world / "run", faces=FACES)
    stranger = check([str(world / "people" / name(15))], run=world / "run", faces=FACES)

    assert leaked.evidence is not None
    assert stranger.evidence is not None
    assert leaked.evidence.p_value < 0.05 < stranger.evidence.p_value


def test_a_checked_photo_scores_what_it_scores_in_the_run(world: Path):
    """The same picture draws the same look, so nothing but rounding may differ."""
    summary = artefacts.read_json(world / "run" / "run.json")
    samples = vectors_of(artefacts.read_table(world / "run" / "samples.parquet", "samples", columns=["embedding"]))
    photos = artefacts.read_table(world / "run" / "photos.parquet", "photos").to_pylist()
    recorded = [row["best_score"] for row in photos if row["identity"] == name(5)]

    vectors, _, _ = embed_photos(
        [str(world / "people" / name(5))], summary, summary["indexes"][0]["fingerprint"], FACES, SourceOptions(), Silent(),
        embedded_by=None, domain=read_domain(world / "run"), seed=0,
    )  # fmt: skip

    assert (vectors @ samples.T).max(1) == pytest.approx(recorded, abs=1e-5)


def test_without_a_null_there_is_nothing_to_match(world: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="name one with --null"):
        scan(
            str(world / "generated"), against=world / "people.idx", out=tmp_path / "run", faces=FACES,
            options=ScanOptions(threshold=0.8, null_match=True),
        )  # fmt: skip
