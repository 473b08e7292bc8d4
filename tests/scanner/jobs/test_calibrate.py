"""Thresholds are those that counting all pairs by hand gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, opened, photos_of, scores_of, write_tar

from scanner.errors import CalibrationError, EmbedderMismatch
from scanner.jobs.build import build
from scanner.jobs.calibrate import calibrate

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
