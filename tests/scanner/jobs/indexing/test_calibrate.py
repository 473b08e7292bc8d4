"""Thresholds are those that counting all pairs by hand gives."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, opened, photos_of, scores_of, write_tar

from scanner.errors import CalibrationError, EmbedderMismatch
from scanner.jobs.indexing import search_labelled as module
from scanner.jobs.indexing.build import build
from scanner.jobs.indexing.calibrate import calibrate, calibrate_at_fpir, usual_sizes
from scanner.jobs.indexing.search_labelled import search_labelled

PHOTOS = photos_of(range(10), range(2))


def pairs_by_hand() -> tuple[np.ndarray, np.ndarray]:
    scores = scores_of(PHOTOS, PHOTOS)
    numbers = [number for number, _ in PHOTOS]
    same = np.equal.outer(numbers, numbers)
    upper = np.triu(np.ones_like(same), 1)
    return scores[upper & ~same], scores[upper & same]


@pytest.mark.parametrize("kind", ["index", "folder", "tar"])
def test_every_kind_of_labelled_set_gives_the_points_of_all_pairs(
    kind: str, people_index: Path, people_folder: Path, tmp_path: Path
) -> None:
    on = {"index": people_index, "folder": people_folder, "tar": write_tar(tmp_path / "l.tar", PHOTOS)}[kind]
    sources = BY_FOLDER if kind == "folder" else None

    found = calibrate(str(on), fmrs=(0.1, 0.06), faces=FACES, sources=sources)

    impostors, mates = pairs_by_hand()
    assert (found.fingerprint, found.faces, found.identities) == (opened().fingerprint, 20, 10)
    for point, fmr in zip(found.points, (0.1, 0.06), strict=True):
        allowed = int(fmr * len(impostors))
        ranked = np.sort(impostors)[::-1]
        assert ranked[allowed] - 3e-6 < point.threshold <= ranked[allowed - 1] + 1e-6
        assert point.false_matches == int((impostors >= point.threshold).sum()) == allowed
        assert point.fmr == allowed / 180
        assert point.tar == (mates >= point.threshold).mean()
        assert (point.non_mated_pairs, point.mated_pairs) == (180, 10)


def test_rates_beyond_the_set_are_skipped_with_their_sentences(people_index: Path) -> None:
    found = calibrate(str(people_index), skip_thin=True, fmrs=(0.1, 1e-3))

    assert len(found.points) == 1
    assert found.skipped == (
        "A threshold at FMR 0.001 needs at least 10000 pairs of different people, the calibration set has 180. "
        "Name a larger one, or ask for an FMR of 0.06 or more.",
    )


def test_a_rate_that_is_none_is_refused(people_index: Path) -> None:
    with pytest.raises(CalibrationError) as caught:
        calibrate(str(people_index), fmrs=(1.5,))

    assert str(caught.value) == "A false match rate lies between 0 and 1, for instance 1e-4; got 1.5."


def test_an_index_without_identities_is_refused(people_folder: Path, tmp_path: Path) -> None:
    build(tmp_path / "idx", str(people_folder), faces=FACES)

    with pytest.raises(CalibrationError) as caught:
        calibrate(str(tmp_path / "idx"))

    assert str(caught.value).startswith(f"{tmp_path}/idx has no identities, so nobody knows which pairs")


def test_a_set_of_another_embedder_is_refused(people_index: Path) -> None:
    with pytest.raises(EmbedderMismatch, match="was embedded with fingerprint"):
        calibrate(str(people_index), fingerprint="feedfeedfeedfeed")


def test_nothing_is_left_in_the_temporary_folder(
    people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    calibrate(str(people_folder), fmrs=(0.1,), faces=FACES, sources=BY_FOLDER)

    assert list(tmp_path.iterdir()) == []


def people(count: int, photos: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(count)
    photo = rng.normal(size=(count, 1, 8)) + 0.7 * rng.normal(size=(count, photos, 8))
    unit = (photo / np.linalg.norm(photo, axis=-1, keepdims=True)).astype(np.float32).reshape(-1, 8)
    return unit, [f"p{number:03d}" for number in range(count) for _ in range(photos)]


def test_searches_are_those_of_a_plain_loop() -> None:
    vectors, names = people(30, 3)
    order = np.random.default_rng(0).permutation(90)
    vectors, names = vectors[order], [names[row] for row in order]
    names[7] = None

    found, codes = search_labelled(vectors, names, seed=5)

    rows = [row for row in range(90) if row != 7]
    assert codes == sorted({name for name in names if name})
    assert [codes[code] for code in found.person] == [names[row] for row in rows]
    assert (len(found.mated), found.people, found.gallery, found.floor) == (89 - 30, 30, 29, -1.0)
    assert len(found.score) == 89 * 29
    assert np.all(np.diff(found.score) <= 0)
    references = {}
    for search, reference, score in zip(found.search, found.reference, found.score, strict=True):
        one, own = rows[search], codes[reference]
        assert own != names[one]
        mine = {row for row in rows if names[row] == own and abs(vectors[one] @ vectors[row] - score) < 1e-6}
        references[own] = references.get(own, mine) & mine
    assert all(len(photo) == 1 for photo in references.values())  # everybody has one gallery photo for all searches
    gallery = {name: photo.pop() for name, photo in references.items()}
    mates = [vectors[row] @ vectors[gallery[names[row]]] for row in rows if row != gallery[names[row]]]
    assert found.mated == pytest.approx(mates, abs=1e-6)


@pytest.mark.parametrize("tile", [7, 64, 512])
@pytest.mark.parametrize("kept", [50, 1000, 10**6])
def test_neither_tiles_nor_the_room_for_pairs_change_what_is_said(
    tile: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, names = people(40, 3)
    # On a grid of sixteenths products are exact, and many scores tie.
    vectors = (np.round(vectors * 8) / 16).astype(np.float32)
    whole, _ = search_labelled(vectors, names, seed=1)
    monkeypatch.setattr(module, "_TILE_ROWS", tile)

    found, _ = search_labelled(vectors, names, seed=1, pairs_kept=kept)

    assert len(found.score) <= kept
    best = whole.score >= found.floor
    assert len(found.score) == best.sum() > 0 or kept == 50
    for name in ("score", "search", "reference", "place"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)[best])
    assert np.array_equal(found.mated, whole.mated)


def test_too_many_photos_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, names = people(40, 3)
    monkeypatch.setattr(module, "SEARCHES_MAX", 60)

    found, _ = search_labelled(vectors, names, seed=1)
    again, _ = search_labelled(vectors, names, seed=1)

    assert len(found.person) == 60
    assert np.array_equal(found.score, again.score)


def test_rates_of_searches_come_with_those_of_pairs(people_index: Path) -> None:
    found = calibrate(str(people_index), fmrs=(0.1,), fpir=0.5, gallery_sizes=(9, 3, 9, 500))

    rates = found.one_to_many
    assert rates is not None
    assert (rates.searches, rates.gallery, rates.mated_searches) == (20, 9, 10)
    assert [row.size for row in rates.sizes[0].sizes] == [3, 9, 500]
    assert len(rates.points) + len(rates.skipped) == 3
    assert found.points == calibrate(str(people_index), fmrs=(0.1,)).points
    assert json.loads(json.dumps(asdict(found)))["one_to_many"]["fpir"] == 0.5


def test_without_a_wanted_rate_nothing_is_searched(people_index: Path) -> None:
    assert calibrate(str(people_index), fmrs=(0.1,)).one_to_many is None


def test_a_scan_gets_the_threshold_and_what_pairs_and_searches_say_of_it(people_index: Path) -> None:
    point, rate = calibrate_at_fpir(str(people_index), fpir=0.8, gallery_size=9)

    impostors, mates = pairs_by_hand()
    assert point.threshold == rate.threshold
    assert point.false_matches == int((impostors >= point.threshold).sum())
    assert point.tar == (mates >= point.threshold).mean()
    assert (rate.gallery_size, rate.wanted, rate.extrapolated) == (9, 0.8, False)
    assert 10 <= rate.fpir.errors <= 16
    assert rate.fpir.value == rate.fpir.errors / 20
    assert json.loads(json.dumps(asdict(rate)))["fpir"]["value"] == rate.fpir.value


def test_a_gallery_that_the_set_cannot_speak_of_is_refused(people_index: Path) -> None:
    with pytest.raises(CalibrationError, match="at least 10 are needed"):
        calibrate_at_fpir(str(people_index), fpir=0.01, gallery_size=1000)
    with pytest.raises(CalibrationError, match="at least one reference; got 0"):
        calibrate_at_fpir(str(people_index), fpir=0.01, gallery_size=0)
    with pytest.raises(CalibrationError, match="lies between 0 and 1"):
        calibrate(str(people_index), fmrs=(0.1,), fpir=2.0)
    with pytest.raises(EmbedderMismatch):
        calibrate_at_fpir(str(people_index), fpir=0.5, gallery_size=9, fingerprint="feedfeedfeedfeed")


def test_usual_sizes_end_with_the_whole_set() -> None:
    assert usual_sizes(9) == [9]
    assert usual_sizes(2859) == [100, 1000, 2859]
