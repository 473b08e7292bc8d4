"""`--null-match`: matched indexes against a plain loop, whatever the order, the batches or the kills; and what they are
good for: drawn strangers, seen small, are not accused."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_people import (
    BY_FOLDER,
    FACES,
    files_of,
    name,
    opened,
    photos_of,
    png,
    write_members,
    write_people,
    write_tar,
)
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from indexes import VectorBatch, build_index, open_index
from scanner import BuildOptions, build
from scanner.errors import ArtefactError, EmbedderMismatch, RunMismatch, UsageError
from scanner.evidence.guards import TwoSample, two_sample
from scanner.evidence.identities import weigh_identities
from scanner.faces.align import ARCFACE_LANDMARKS_PX
from scanner.faces.domain import Domain, Look, bring, domain_of, shown
from scanner.faces.quality import Gates
from scanner.images import decode_rgb, encode_png
from scanner.jobs.embedding.embed import embed
from scanner.jobs.embedding.intake import Intake, take_in
from scanner.jobs.options import OpenedRoad, SourceOptions
from scanner.jobs.scanning import null_match, query_domain
from scanner.jobs.scanning.match_account import describe
from scanner.jobs.scanning.null_match import match_galleries
from scanner.jobs.scanning.query_domain import measure_domain
from scanner.progress import Silent
from scanner.world.draw import face_pixels

CROPS = BuildOptions(with_crops=True)
SMALL = domain_of([Look(24.0), Look(30.0, 60), Look(40.0, 80, grey=True), Look(300.0)], [50.0], queries=4)


@pytest.fixture(scope="module")
def with_crops(people_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten people, with crops."""
    path = tmp_path_factory.mktemp("crops") / "people"
    build(path, str(people_folder), faces=FACES, sources=BY_FOLDER, options=CROPS)
    return path


def match(paths: Iterable[Path], out: Path, domain: Domain = SMALL, **options: Any) -> list[Path]:
    chosen: dict[str, Any] = {"domain": domain, "opened_road": opened(), "seed": 3, **options}
    return match_galleries(list(paths), out=out, **chosen)


def vectors_by_face(path: Path) -> dict[str, bytes]:
    index = open_index(path)
    rows = index.references().gather(index.references().live_rows())
    return {face: row.tobytes() for face, row in zip(index.column("face_id").to_pylist(), rows, strict=True)}


def taken_in(spec: Path, work: Path, **options: Any) -> Intake:
    return take_in(
        [str(spec)], work=work, sources=SourceOptions(), faces=FACES, progress=Silent(), plan={"job": "test"}, **options
    )


@dataclass
class Dying:
    """The drawn embedder, which dies after some calls."""

    calls: int

    def __getattr__(self, attribute: str) -> Any:
        return getattr(opened().road.embedder, attribute)

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return opened().road.embedder.embed(crops)


def road_with(embedder: Any, *, workers: int = 1) -> OpenedRoad:
    return replace(opened(), road=replace(opened().road, embedder=embedder, workers=workers))


# --- the copies


def test_each_vector_is_that_of_the_crop_brought_to_its_own_draw(with_crops: Path, tmp_path: Path) -> None:
    """The slow twin: one crop at a time."""
    (path,) = match([with_crops], tmp_path / "matched")

    original, made = open_index(with_crops), open_index(path)
    got = made.references().gather(np.arange(made.rows))
    for row, table in enumerate(original.lookup(np.arange(original.rows)).to_pylist()):
        look = SMALL.draw(table["face_id"], seed=3)
        crop = bring(decode_rgb(table["crop_png"]), look, own_px=112.0)
        assert np.array_equal(got[row], opened().road.embedder.embed(crop[None])[0])
    kept = [column for column in original.lookup([0]).column_names if column != "crop_png"]
    assert original.lookup(np.arange(20), kept).equals(made.lookup(np.arange(20), kept))
    assert made.column("crop_png").null_count == 20
    assert (made.path.name, made.fingerprint) == (with_crops.name, original.fingerprint)
    assert made.manifest.embedder == original.manifest.embedder
    assert made.verify() == []


def test_erased_references_are_left_out(with_crops: Path, tmp_path: Path) -> None:
    shutil.copytree(with_crops, tmp_path / "people")
    open_index(tmp_path / "people").remove(where={"identity": [name(3)]}, request="r")

    (path,) = match([tmp_path / "people"], tmp_path / "matched")

    made = open_index(path)
    assert made.rows == 18
    assert made.column("identity").to_pylist() == open_index(tmp_path / "people").column("identity").to_pylist()
    whole = vectors_by_face(match([with_crops], tmp_path / "whole")[0])
    assert all(whole[face] == vector for face, vector in vectors_by_face(path).items())


def test_neither_order_nor_parts_nor_workers_change_a_vector(
    with_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = photos_of(range(10), range(2))[::-1]
    build(tmp_path / "turned", str(write_tar(tmp_path / "turned.tar", photos)), faces=FACES, options=CROPS)
    expected = vectors_by_face(match([with_crops], tmp_path / "a")[0])

    monkeypatch.setattr(null_match, "ROWS", 7)
    assert vectors_by_face(match([tmp_path / "turned"], tmp_path / "b")[0]) == expected
    match([with_crops], tmp_path / "c", opened_road=road_with(opened().road.embedder, workers=3))
    assert files_of(tmp_path / "c" / "people") == files_of(tmp_path / "a" / "people")


def test_a_crop_that_is_left_keeps_its_vector_to_the_bit(with_crops: Path, tmp_path: Path) -> None:
    large = domain_of([Look(112.0), Look(500.0, 90)], [50.0], queries=2)

    paths = match([with_crops], tmp_path / "matched", large)

    assert vectors_by_face(paths[0]) == vectors_by_face(with_crops)
    (account,) = describe(large, paths)["references"]
    assert (account["changed"], account["no_more_pixels_than_queries"]) == (0, 20)


def test_queries_framed_alike_have_the_references_cut_to_their_frame(with_crops: Path, tmp_path: Path) -> None:
    landmarks = tuple((float(x), float(y)) for x, y in (ARCFACE_LANDMARKS_PX + 0.5 - 16) / 80)
    framed = domain_of([Look(50.0)], [50.0], queries=1, landmarks=landmarks)

    paths = match([with_crops], tmp_path / "matched", framed)

    table = open_index(with_crops).lookup([7]).to_pylist()[0]
    crop = bring(decode_rgb(table["crop_png"]), Look(50.0), own_px=112.0, fill=shown(landmarks, side_px=112))
    assert vectors_by_face(paths[0])[table["face_id"]] == opened().road.embedder.embed(crop[None])[0].tobytes()
    assert "crop" in describe(framed, paths)["matched"]


def test_references_of_the_queries_own_frame_are_not_cut_again(with_crops: Path, tmp_path: Path) -> None:
    landmarks = tuple((float(x), float(y)) for x, y in (ARCFACE_LANDMARKS_PX + 0.5 - 16) / 80)
    framed = domain_of([Look(400.0)], [50.0], queries=1, landmarks=landmarks)
    original = open_index(with_crops)
    rows = original.lookup(np.arange(20)).drop_columns(["id"])
    vectors = VectorBatch(original.references().gather(np.arange(20)))
    way = {"faces": {"mode": "aligned", "landmarks": [list(point) for point in landmarks]}}
    build_index(
        tmp_path / "people", [(vectors, rows)], fingerprint=original.fingerprint, dim=original.dim, schema=rows.schema,
        embedder={"name": "drawn", **way},
    )  # fmt: skip

    paths = match([tmp_path / "people"], tmp_path / "matched", framed)

    (account,) = describe(framed, paths)["references"]
    assert account["changed"] == 0
    assert account["size_px_before"]["50"] == pytest.approx(112 * 112 / 80)


@pytest.mark.parametrize("calls", [0, 3])
def test_a_killed_match_resumed_leaves_the_same_bytes(
    calls: int, with_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(null_match, "ROWS", 6)
    shutil.copytree(with_crops, tmp_path / "second")
    paths = [with_crops, tmp_path / "second"]
    match(paths, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        match(paths, tmp_path / "killed", opened_road=road_with(Dying(calls)))
    match(paths, tmp_path / "killed", resume=True)

    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == [
        "people", "people.json", "plan.json", "second", "second.json",
    ]  # fmt: skip


def test_a_kill_while_the_copy_is_written_or_cleared_away_leaves_the_same_bytes(
    with_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match([with_crops], tmp_path / "whole")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for broken in ("_build", "remove_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(null_match, broken, die)
            with pytest.raises(KeyboardInterrupt):
                match([with_crops], tmp_path / broken)

        match([with_crops], tmp_path / broken, resume=True, opened_road=road_with(Dying(0)))  # nothing is done twice

        assert files_of(tmp_path / broken) == files_of(tmp_path / "whole")


def test_the_account_counts_what_was_done(with_crops: Path, tmp_path: Path) -> None:
    paths = match([with_crops], tmp_path / "matched")

    found = describe(SMALL, paths)

    faces = open_index(with_crops).column("face_id").to_pylist()
    looks = [SMALL.draw(face, seed=3) for face in faces]
    (account,) = found["references"]
    assert account["rows"] == 20
    assert account["changed"] == sum(look.size_px < 112 for look in looks)
    assert account["no_more_pixels_than_queries"] == sum(look.size_px >= 112 for look in looks)
    assert account["size_px_before"]["50"] == 112.0
    assert account["size_px_after"]["50"] == np.median([min(112.0, look.size_px) for look in looks])
    assert account["sharpness_after"]["50"] < account["sharpness_before"]["50"]
    assert account["not_embedded"] == 0
    assert found["matched"] == ["resolution", "JPEG compression", "colour"]
    assert found["queries"]["grey"] == 0.25


def test_a_crop_that_cannot_be_embedded_any_more_keeps_its_vector_and_is_counted(
    with_crops: Path, tmp_path: Path
) -> None:
    class Blind(Dying):
        def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
            vectors = opened().road.embedder.embed(crops)
            vectors[0] = np.nan
            return vectors

    paths = match([with_crops], tmp_path / "matched", opened_road=road_with(Blind(0)))

    (account,) = describe(SMALL, paths)["references"]
    assert account["not_embedded"] == 2  # 20 rows are two batches
    before, after = vectors_by_face(with_crops), vectors_by_face(paths[0])
    first = open_index(with_crops).column("face_id").to_pylist()[0]
    assert after[first] == before[first]


# --- what is refused


def test_an_index_without_crops_is_refused_and_the_way_out_named(people_index: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keeps no crops .* scanner index build .*people SOURCE --with-crops"):
        match([people_index], tmp_path / "matched")
    assert not (tmp_path / "matched").exists()


def test_crops_missing_from_what_was_added_later_are_seen(with_crops: Path, tmp_path: Path) -> None:
    from scanner.jobs.indexing.build import add

    shutil.copytree(with_crops, tmp_path / "people")
    more = write_people(tmp_path / "more", photos_of([50], [0]))
    add(tmp_path / "people", str(more), faces=FACES, sources=BY_FOLDER)

    with pytest.raises(UsageError, match="keeps no crops of some references"):
        match([tmp_path / "people"], tmp_path / "matched")


def test_another_network_or_another_domain_is_refused(with_crops: Path, tmp_path: Path) -> None:
    class Other(Dying):
        fingerprint = "0" * 16

    with pytest.raises(EmbedderMismatch, match="fingerprint 0000"):
        match([with_crops], tmp_path / "matched", opened_road=road_with(Other(0)))
    match([with_crops], tmp_path / "matched")
    with pytest.raises(UsageError, match="--resume"):
        match([with_crops], tmp_path / "matched")
    with pytest.raises(RunMismatch, match="domain, seed changed"):
        match([with_crops], tmp_path / "matched", domain_of([Look(9.0)], [], queries=1), seed=4, resume=True)


# --- the queries


def queries_folder(folder: Path) -> Path:
    """Four pictures: a PNG, two JPEGs of known quality, one of them grey, and the same bytes again."""
    folder.mkdir()
    pixels = decode_rgb(png(30, 0))
    (folder / "a.png").write_bytes(png(31, 0))
    Image.fromarray(pixels).resize((40, 40)).save(folder / "b.jpg", quality=63)
    Image.fromarray(pixels).convert("L").resize((56, 56)).save(folder / "c.jpg", quality=91)
    (folder / "d.jpg").write_bytes((folder / "b.jpg").read_bytes())
    (folder / "e.txt.jpg").write_bytes(b"no picture")
    return folder


def test_the_domain_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    folder = queries_folder(tmp_path / "queries")
    intake = taken_in(folder, tmp_path / "work")

    domain = measure_domain(intake, [str(folder)], SourceOptions())

    assert domain.looks == (Look(40.0, 63), Look(56.0, 91, grey=True), Look(112.0))
    assert (domain.queries, len(domain.sharpness), domain.bytes_read) == (3, 3, True)


def test_the_queries_looked_at_do_not_depend_on_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_domain, "LOOKED_AT", 5)
    domains = []
    for turn in (1, -1):
        members = {}
        for number in range(12):
            out = io.BytesIO()
            Image.fromarray(decode_rgb(png(number, 0))).resize((30 + number,) * 2).save(
                out, "JPEG", quality=50 + number
            )
            members[f"{number:03d}.jpg"] = out.getvalue()
        folder = tmp_path / f"queries{turn}"
        folder.mkdir()
        for place, data in enumerate(list(members.values())[::turn]):
            (folder / f"{place:03d}.jpg").write_bytes(data)
        domains.append(measure_domain(taken_in(folder, tmp_path / f"w{turn}"), [str(folder)], SourceOptions()))

    assert domains[0] == domains[1]
    assert len(domains[0].looks) == 5
    assert domains[0].queries == 12
    assert all(look.jpeg_quality == look.size_px + 20 for look in domains[0].looks)


def test_embeddings_of_ours_say_their_sizes_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    folder = queries_folder(tmp_path / "queries")
    embed(str(folder), tmp_path / "q.parquet", faces=FACES)
    domain = measure_domain(
        taken_in(tmp_path / "q.parquet", tmp_path / "w1"), [str(tmp_path / "q.parquet")], SourceOptions()
    )
    assert domain.looks == (Look(40.0), Look(56.0), Look(112.0))
    assert "compression and colour: the queries came as vectors" in describe(domain, [])["not_matched"]

    np.save(tmp_path / "foreign.npy", opened().road.embedder.embed(decode_rgb(png(1, 0))[None]))
    intake = taken_in(tmp_path / "foreign.npy", tmp_path / "w2", embedded_by="drawn")
    with pytest.raises(UsageError, match=r"says it of none of 1: vectors without the columns box and quality"):
        measure_domain(intake, [str(tmp_path / "foreign.npy")], SourceOptions())


def test_a_source_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    folder = queries_folder(tmp_path / "queries")
    intake = taken_in(folder, tmp_path / "work")
    (folder / "c.jpg").unlink()

    with pytest.raises(ArtefactError, match="1 of 3 pictures are no longer in"):
        measure_domain(intake, [str(folder)], SourceOptions())


# --- what it is good for

STRANGERS = 110
SIDE_PX = 12  # the drawn recogniser hardly minds 24


def tar_of(path: Path, first: int, number: int, side_px: int) -> str:
    """Write one drawn photo each of `number` people, reduced to `side_px`, with identities."""
    members: list[tuple[str, bytes]] = []
    for person in range(first, first + number):
        pixels = cv2.resize(face_pixels(9, person, 0), (side_px, side_px), interpolation=cv2.INTER_AREA)
        members += [(f"{person}.png", encode_png(pixels)), (f"{person}.json", b'{"identity": "p%d"}' % person)]
    return str(write_members(path, members))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small pictures of 40 people are the queries; 110 others, small too, the candidates; 110 at full size the null."""
    folder = tmp_path_factory.mktemp("strangers")
    faces = replace(FACES, gates=Gates(size_min_px=8.0))
    specs = {
        "queries": tar_of(folder / "queries.tar", 0, 40, SIDE_PX),
        "candidates": tar_of(folder / "candidates.tar", 1000, STRANGERS, SIDE_PX),
        "null": tar_of(folder / "null.tar", 2000, STRANGERS, 112),
    }
    for name_of, spec in specs.items():
        build(folder / name_of, spec, faces=faces, options=CROPS)
    paths = [folder / "candidates", folder / "null"]
    intake = take_in(
        [specs["queries"]], work=folder / "w", sources=SourceOptions(), faces=faces, progress=Silent(), plan={}
    )
    domain = measure_domain(intake, [specs["queries"]], SourceOptions())
    matched = match(paths, folder / "matched", domain)
    return {"queries": folder / "queries", "candidates": paths[0], "null": paths[1], "matched": matched[1]}


def rows_of(path: Path) -> NDArray[np.float32]:
    index = open_index(path)
    return index.references().gather(np.arange(index.rows))


def weighed(strangers: dict[str, Path], null: str) -> tuple[NDArray[np.float64], int, TwoSample]:
    """Return the candidates' p-values, how many are named, and whether the guard tells the sides apart."""
    queries, candidates, others = (rows_of(strangers[which]) for which in ("queries", "candidates", null))
    best, null_best = (candidates @ queries.T).max(1), (others @ queries.T).max(1)
    codes = np.arange(STRANGERS)
    found = weigh_identities(best, codes, null_best, codes, seed=0)
    return found.p_conformal, int((found.q_bh <= 0.05).sum()), two_sample(candidates, others, seed=0)


def test_small_strangers_against_a_null_at_full_size_look_like_a_leak(strangers: dict[str, Path]) -> None:
    p_values, named, fit = weighed(strangers, "null")
    full = rows_of(strangers["null"])
    pairs = (full @ full.T)[np.triu_indices(STRANGERS, 1)]
    radius = np.quantile(pairs, 0.999)
    small = (rows_of(strangers["candidates"]) @ rows_of(strangers["queries"]).T).max(1)

    assert np.count_nonzero(small >= radius) > STRANGERS / 5  # a fixed threshold: over a fifth of innocent people
    assert named > STRANGERS / 5
    assert stats.kstest(p_values, "uniform").pvalue < 1e-6
    assert fit.differ  # so the verdict would be: inconclusive


def test_against_the_matched_null_their_p_values_are_uniform(strangers: dict[str, Path]) -> None:
    p_values, named, fit = weighed(strangers, "matched")

    assert named == 0
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert not fit.differ


def test_candidates_that_are_small_already_are_left(strangers: dict[str, Path]) -> None:
    account = describe(domain_of([Look(float(SIDE_PX))], [], queries=1), [strangers["matched"].with_name("candidates")])

    assert account["references"][0]["changed"] == 0
    assert account["references"][0]["size_px_before"]["50"] == SIDE_PX
