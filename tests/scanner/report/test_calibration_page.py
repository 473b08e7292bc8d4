"""The page of a calibration says the figures that it was given, and holds nothing that runs or is fetched."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scanner.evidence.calibration import ScoreCounts, operating_point
from scanner.evidence.det import OneToMany, one_to_many
from scanner.evidence.one_to_many import searches_of
from scanner.report.calibration_page import det_plot, headline, size_plot, write_calibration_page

PEOPLE, PHOTOS = 120, 3


@pytest.fixture(scope="module")
def rates() -> OneToMany:
    """Rates of drawn people, for a small, the whole, a larger and an impossible gallery."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(PEOPLE, 1, 10)) + 0.5 * rng.normal(size=(PEOPLE, PHOTOS, 10))
    vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    person = np.repeat(np.arange(PEOPLE), PHOTOS).astype(np.int32)
    scores = vectors.reshape(-1, 10) @ vectors[:, 0].T
    search, reference = np.nonzero(person[:, None] != np.arange(PEOPLE))
    mated = np.einsum("pmd,pd->pm", vectors[:, 1:], vectors[:, 0]).ravel()
    searches = searches_of(
        person, scores[search, reference], search.astype(np.int32), reference.astype(np.int32), mated=mated,
        mated_person=np.repeat(np.arange(PEOPLE), PHOTOS - 1).astype(np.int32), people=PEOPLE, floor=-1.0,
    )  # fmt: skip
    others, mates = ScoreCounts(), ScoreCounts()
    others.add(searches.score)
    mates.add(mated)
    return one_to_many(
        searches, fpir=0.1, gallery_sizes=[10, 119, 200, 10**6], operating_points=[operating_point(others, mates, fmr=0.001)],
        non_mated=others, mated=mates, names=["<script>alert(1)</script>", *(f"p{code}" for code in range(1, PEOPLE))],
    )  # fmt: skip


def page(rates: OneToMany, folder: Path) -> str:
    path = write_calibration_page(
        folder / "calibration.html", on="people<&>.idx", fingerprint="feed", faces=360, identities=120, points=(),
        rates=rates,
    )  # fmt: skip
    return path.read_text("utf-8")


def test_the_page_holds_every_row_and_curve(rates: OneToMany, tmp_path: Path) -> None:
    text = page(rates, tmp_path)

    assert [point.gallery_size for point in rates.points] == [10, 119, 200]
    for point in rates.points:
        assert f"{point.threshold:.4f}" in text
        assert f"{point.threshold_interval[1]:.4f}" in text
    assert text.count("<svg") == 3
    assert text.count("extrapolated</small>") == 1
    assert rates.skipped[0].replace("'", "&#39;") in text
    assert "people&lt;&amp;&gt;.idx" in text
    assert text.count("<tr>") == 1 + 3 + 2 + 4 + 1 + len(rates.closest) + 2


def test_the_page_runs_and_fetches_nothing(rates: OneToMany, tmp_path: Path) -> None:
    closest = (replace(rates.closest[0], first="<script>alert(1)</script>"), *rates.closest[1:])

    text = page(replace(rates, closest=closest), tmp_path)

    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    ET.fromstring(text[text.index("<main>") : text.index("</main>") + 7].replace("<br>", "<br/>"))


def test_a_set_without_second_photos_or_support_still_has_a_page(rates: OneToMany, tmp_path: Path) -> None:
    empty = replace(rates, points=(), sizes=(), det=(), roc=(), closest=())

    text = page(empty, tmp_path)

    assert text.count("<svg") == 0
    assert "The set supports no threshold at FPIR 0.1" in text


def test_the_headline_speaks_of_the_largest_gallery_and_of_what_is_not_known(rates: OneToMany) -> None:
    largest = rates.points[-1]

    assert headline(rates).startswith(f"Among 200 references a threshold of {largest.threshold:.4f} finds somebody in ")
    assert "(extrapolated)" in headline(rates)
    unknown = replace(rates, points=(replace(largest, fnir=None),))
    assert headline(unknown).endswith("how many of those who are there it misses is not known.")


def test_what_is_extrapolated_is_dashed_and_both_kinds_of_a_threshold_share_an_ink(rates: OneToMany) -> None:
    det, sizes = det_plot(rates.det, wanted=0.1), size_plot(rates.sizes)

    assert [bool(line.dash) for line in det.lines] == ["extrapolated" in line.name for line in det.lines]
    assert [mark.text for mark in det.marks] == ["FPIR 0.1"]
    assert sizes.lines[0].ink == sizes.lines[1].ink
    assert (bool(sizes.lines[0].band), bool(sizes.lines[1].dash)) == (True, True)
