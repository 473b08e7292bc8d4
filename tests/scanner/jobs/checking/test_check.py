"""`check`: photos against a run, its null and its guards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from check_run import vector_column, write_run
from drawn_people import FACES, crop, opened, png

from scanner.errors import CalibrationError, EmbedderMismatch, NothingScanned, UsageError
from scanner.evidence.persons import weigh_person
from scanner.faces.domain import Domain, Look
from scanner.jobs.checking.check import CheckOptions, check
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.options import SourceOptions
from scanner.jobs.scanning.domain_file import write_domain
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan
from scanner.records import content_id

DIM = 32
NET = CheckOptions(embedded_by="net")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def photos_of(rng: np.random.Generator, centres: np.ndarray) -> np.ndarray:
    return unit(centres + 0.11 * rng.normal(size=centres.shape))


class World:
    """People and what a generator that leaked the first of `members` made."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.members = unit(rng.normal(size=(40, DIM)))
        self.strangers = unit(rng.normal(size=(80, DIM)))
        self.samples = np.concatenate([unit(rng.normal(size=(150, DIM))), photos_of(rng, self.members)])
        counts = np.r_[np.full(150, 4), np.full(250, 1)]
        self.codes = np.repeat(np.arange(400), counts)
        self.null = photos_of(rng, unit(rng.normal(size=(400, DIM)))[self.codes])
        self.identities = [f"n{code}" for code in self.codes]
        self.rng = rng

    def run(self, folder: Path, **changes: Any) -> Path:
        given = {"samples": self.samples, "null": self.null, "null_identities": self.identities}
        return write_run(folder, **{**given, **changes})

    def file(self, path: Path, people: np.ndarray, photos: int = 1) -> str:
        vectors = np.concatenate([photos_of(self.rng, people) for _ in range(photos)])
        return write_vectors(path, vectors)


def write_vectors(path: Path, vectors: np.ndarray) -> str:
    pq.write_table(pa.table({"embedding": vector_column(vectors)}), path)
    return str(path)


@pytest.fixture
def world() -> World:
    return World()


def test_a_person_who_was_in_training_is_closer_and_a_stranger_is_not(world: World, tmp_path: Path):
    run = world.run(tmp_path / "run")

    member = check(world.file(tmp_path / "m.parquet", world.members[:1], 4), run=run, options=NET)
    stranger = check(world.file(tmp_path / "s.parquet", world.strangers[:1], 4), run=run, options=NET)

    assert member.state == "closer"
    assert member.evidence is not None
    assert (member.evidence.photos, member.evidence.used, member.evidence.null_identities) == (4, 4, 150)
    assert member.sentence.startswith(
        "These 4 photos of one person are closer to the scanned faces than unrelated people"
    )
    assert [point.photos for point in member.power] == [1, 2, 3, 4]
    assert stranger.state == "not closer"
    assert any("no proof of absence" in word for word in stranger.words)
    assert any(word.startswith("With 4 photos, a leak as close as another photo") for word in stranger.words)


def test_the_p_value_is_that_of_the_scores_worked_out_by_hand(world: World, tmp_path: Path):
    run = world.run(tmp_path / "run")
    vectors = photos_of(world.rng, np.repeat(world.strangers[:1], 3, 0))

    found = check(write_vectors(tmp_path / "p.parquet", vectors), run=run, options=NET)

    best, null = ((v @ world.samples.T).max(1) for v in (vectors, world.null))
    names = np.unique(world.identities, return_inverse=True)[1]
    by_hand = weigh_person(best, null, names, seed=0)
    assert found.evidence is not None
    assert found.evidence.p_value == pytest.approx(by_hand.p_value)
    assert found.evidence.statistic == pytest.approx(best.mean(), abs=1e-6)


def test_works_of_many(world: World, tmp_path: Path):
    run = world.run(tmp_path / "run")
    options = CheckOptions(of="many", embedded_by="net")

    members = check(world.file(tmp_path / "m.parquet", world.members), run=run, options=options)
    strangers = check(world.file(tmp_path / "s.parquet", world.strangers), run=run, options=options)

    assert members.state == "closer"
    assert members.evidence is not None
    assert strangers.evidence is not None
    assert members.evidence.effect.low > 0.8
    assert strangers.state == "not closer"
    assert strangers.evidence.effect.low < 0.5 < strangers.evidence.effect.high
    assert {round(point.leaking, 1) for point in members.power} == {1.0, 0.1}
    json.dumps(members.document())


def test_copies_count_once_and_so_does_the_same_file(world: World, tmp_path: Path):
    run = world.run(tmp_path / "run")
    vectors = photos_of(world.rng, np.repeat(world.strangers[:1], 2, 0))
    again = unit(vectors[[0, 1, 0]] + 1e-3)

    found = check(write_vectors(tmp_path / "p.parquet", again), run=run, options=NET)

    assert found.evidence is not None
    assert found.evidence.photos == 2
    assert found.notes.copies == 1
    assert any("a copy is no further witness" in word for word in found.words)


def test_an_inconclusive_run_answers_nothing(world: World, tmp_path: Path):
    photos = world.file(tmp_path / "m.parquet", world.members[:1], 4)

    found = check(photos, run=world.run(tmp_path / "run", state="inconclusive"), options=NET)

    assert found.state == "inconclusive"
    assert "for a test" in found.sentence


def test_vectors_cannot_be_brought_to_the_domain_of_a_matched_run(world: World, tmp_path: Path):
    photos = world.file(tmp_path / "m.parquet", world.members[:1], 4)
    run = world.run(tmp_path / "matched", null_match=True)
    write_domain(Path(run), Domain((Look(40.0),), 1))

    with pytest.raises(UsageError, match="ready embeddings cannot be"):
        check(photos, run=run, options=NET)


def test_photos_of_another_kind_are_inconclusive(world: World, tmp_path: Path):
    null = tmp_path / "null.parquet"
    table = {"embedding": vector_column(world.null), "identity": world.identities}
    pq.write_table(pa.table(table), null)
    index = build(tmp_path / "null.idx", str(null), options=BuildOptions(embedded_by="net")).path
    sha = {"nulls": [{"name": "null", "manifest_sha256": manifest_sha(index)}]}
    run = world.run(tmp_path / "run", **sha)
    other = world.strangers.copy()
    other[:, 0] += 0.6
    options = CheckOptions(of="many", null=(str(index),), embedded_by="net")

    alike = check(world.file(tmp_path / "s.parquet", world.strangers), run=run, options=options)
    shifted = check(world.file(tmp_path / "o.parquet", unit(other)), run=run, options=options)
    person = check(world.file(tmp_path / "p.parquet", world.strangers[:1], 12), run=run,
                   options=CheckOptions(null=(str(index),), embedded_by="net"))  # fmt: skip

    assert alike.state == "not closer"
    assert any("No classifier tells the photos from those of the null" in word for word in alike.words)
    assert shifted.state == "inconclusive"
    assert "a classifier tells these photos from those of the null" in shifted.sentence
    assert person.kind is None  # a classifier would always know one person
    with pytest.raises(UsageError, match="is not one of the run's nulls, or has changed since"):
        check(str(null), run=world.run(tmp_path / "run2"), options=options)


def manifest_sha(index: Path) -> str:
    from indexes import open_index

    return open_index(index).manifest_sha256


def test_a_null_too_small_for_the_level_leaves_it_undecided(world: World, tmp_path: Path):
    run = world.run(tmp_path / "run")

    found = check(
        world.file(tmp_path / "m.parquet", world.members[:1], 4),
        run=run,
        options=CheckOptions(level=0.001, embedded_by="net"),
    )

    assert found.state == "undecided"
    assert "with 150 people in the null no p-value could be below 0.0066" in found.sentence


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of drawn people: 120 in the null, person 500 leaked, one sample the same file as photo 1 of person 501."""
    folder = tmp_path_factory.mktemp("drawn")
    embed = opened().road.embedder.embed
    numbers = [*range(120), 0]
    null = np.concatenate([embed(crop(number, 0)[None]) for number in numbers])
    samples = np.concatenate([embed(crop(*who)[None]) for who in ((500, 0), (501, 1), (600, 0), (601, 0))])
    run = write_run(
        folder / "run", samples=samples, null=null, null_identities=[f"n{number}" for number in numbers],
        null_items=[content_id(png(number, 0)) for number in numbers],
        sample_items=["", content_id(png(501, 1)), "", ""], candidate_items=[content_id(png(500, 3))],
        fingerprint=opened().fingerprint, road=json.loads(json.dumps(opened().description)),
    )  # fmt: skip
    return {"run": run, "folder": folder}


def write_photos(folder: Path, photos: list[tuple[int, int]]) -> str:
    folder.mkdir()
    for number, photo in photos:
        (folder / f"{number}-{photo}.png").write_bytes(png(number, photo))
    return str(folder)


def test_pictures_are_embedded_as_in_the_run_and_nothing_is_written(drawn: dict[str, Any], tmp_path: Path):
    before = sorted(drawn["run"].iterdir())

    found = check(write_photos(tmp_path / "p", [(500, 1), (500, 2), (500, 3)]), run=drawn["run"])

    assert found.state == "closer"
    assert found.counts.faces == 3
    assert found.notes.in_candidates == 1
    assert sorted(drawn["run"].iterdir()) == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["500-1.png", "500-2.png", "500-3.png", "p"]


def test_the_very_same_files_are_noted(drawn: dict[str, Any], tmp_path: Path):
    scanned = check(write_photos(tmp_path / "a", [(501, 1)]), run=drawn["run"], faces=FACES)
    known = check(write_photos(tmp_path / "b", [(5, 0), (5, 1)]), run=drawn["run"], faces=FACES)

    assert scanned.state == "inconclusive"
    assert scanned.evidence is None
    assert "every photo is the very same file as a scanned face" in scanned.sentence
    assert known.notes.in_null == 1
    assert known.evidence is not None
    assert known.evidence.null_identities == 119


def test_what_cannot_be_checked_is_refused(drawn: dict[str, Any], world: World, tmp_path: Path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.png").write_bytes(b"no picture")
    run = world.run(tmp_path / "run")
    vectors = world.file(tmp_path / "p.parquet", world.members[:1], 2)

    with pytest.raises(NothingScanned, match=r"Nothing to check: 1 entries in .*no usable face"):
        check(str(tmp_path / "none"), run=drawn["run"])
    with pytest.raises(EmbedderMismatch, match="fingerprint declared:other, the run has declared:net"):
        check(vectors, run=run, options=CheckOptions(embedded_by="other"))
    with pytest.raises(UsageError, match="cannot be mixed"):
        check([vectors, str(tmp_path / "none")], run=run)
    with pytest.raises(UsageError, match="--level lies between 0 and 1"):
        CheckOptions(level=0.0)
    few = world.run(tmp_path / "few", null=world.null[:90], null_identities=[f"n{r}" for r in range(90)])
    with pytest.raises(CalibrationError, match="The null has 90 identities"):
        check(vectors, run=few, options=NET)
    (run / "evidence.json").unlink()
    with pytest.raises(UsageError, match="without people known not to be in training"):
        check(vectors, run=run, options=NET, sources=SourceOptions())


def test_what_scan_writes_can_be_checked(world: World, tmp_path: Path):
    labels = {"cand": [f"c{row}" for row in range(40)], "null": world.identities}
    for name, vectors in (("cand", world.strangers[:40]), ("null", world.null)):
        spec = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"embedding": vector_column(vectors), "identity": labels[name]}), spec)
        build(tmp_path / f"{name}.idx", str(spec), options=BuildOptions(embedded_by="net"))
    null = str(tmp_path / "null.idx")
    scanned = write_vectors(tmp_path / "queries.parquet", world.samples)
    options = ScanOptions(threshold=0.8, null=(null,), embedded_by="net")
    run = scan(scanned, against=tmp_path / "cand.idx", out=tmp_path / "run", options=options).folder
    photos = world.file(tmp_path / "m.parquet", world.members[:1], 4)

    found = check(photos, run=run, options=NET)
    by_hand = check(photos, run=world.run(tmp_path / "by_hand"), options=NET)
    works = check(
        world.file(tmp_path / "w.parquet", world.members), run=run,
        options=CheckOptions(of="many", null=(null,), embedded_by="net"),
    )  # fmt: skip

    assert found.state == "closer"
    assert found.evidence is not None
    assert by_hand.evidence is not None
    assert found.evidence.statistic == pytest.approx(by_hand.evidence.statistic)
    assert found.evidence.p_value == pytest.approx(1 / 151)
    assert [point.photos for point in found.power] == [1, 2, 3, 4]
    assert works.state == "closer"
    assert works.kind is not None
