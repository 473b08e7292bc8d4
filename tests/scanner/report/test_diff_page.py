"""The page of a diff says what the diff says, shows the crops of what is new, and holds nothing that runs."""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_folder import crop, match, write_run
from two_nights import write_nights

from scanner.report import diff_page
from scanner.report.acknowledged import Acknowledgement, Finding
from scanner.report.diff import RunDiff, diff_runs
from scanner.report.diff_page import closest_pairs, headline, write_diff_page


@pytest.fixture
def nights(tmp_path: Path) -> tuple[Path, Path]:
    return write_nights(tmp_path / "state")


def page_of(base: Path, run: Path, diff: RunDiff | None = None) -> str:
    path = write_diff_page(run.parent / "page.html", diff or diff_runs(base, run), base=base, run=run)
    return path.read_text("utf-8")


def text_of(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]*>", " ", body)).strip()


def test_the_page_says_the_diff(nights):
    text = text_of(page_of(*nights))

    assert "What changed: 000001/gen → 000002/gen" in text
    assert "1 new finding; 2 have another verdict; 1 is gone; 1 as before." in text
    assert "2 → 2 named identities" in text
    assert "4 → 6 matching pairs: 3 new, 1 gone" in text
    assert "scanned faces 3 faces 4 faces" in text
    assert "bob celeba, closest: 8.png not named → named 0.500 → 0.850 q 0.4 → 0.01 pairs 1 → 2 1 new" in text
    assert "celeba/30.jpg celeba, closest: 3.png match 0.440 → – q – → – pairs 1 → 0" in text


def test_sections_come_in_the_order_of_what_matters(nights):
    titles = re.findall(r"<h2>(.*?)(?: <span|</h2>)", page_of(*nights))

    assert titles == ["What went in", "New", "Another verdict", "Gone", "Still there"]


def test_what_is_acknowledged_says_why(nights):
    known = {Finding("celeba", "dora"): Acknowledgement("licensed", "s")}

    page = page_of(*nights, diff_runs(*nights, acknowledged=known))

    assert "1 new finding, 1 acknowledged; " in text_of(page)
    assert "acknowledged: licensed" in text_of(page)
    assert page.count('class="known"') == 1


def test_the_page_is_its_owners_alone(nights, tmp_path):
    path = write_diff_page(tmp_path / "page.html", diff_runs(*nights), base=nights[0], run=nights[1])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_runs_and_nothing_is_fetched(tmp_path):
    hostile = '"><script>alert(1)</script>'
    base = write_run(tmp_path / "base", [])
    run = write_run(
        tmp_path / "run", [match(1, 1, 0.5, identity=hostile, query_uri=f"gen/{hostile}.png")], queries=[hostile]
    )

    page = page_of(base, run)

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def test_crops_of_the_closest_pair_are_shown_from_the_run_that_has_them(tmp_path):
    def write(name: str, query: int, reference: int, value: int) -> Path:
        pictures = [crop("query", f"{query:032x}:0", value), crop("reference", reference, value + 20)]
        return write_run(tmp_path / name, [match(query, reference, 0.8)], crops=pictures, with_crops=True)

    page = page_of(write("base", 1, 10, 20), write("run", 2, 11, 120))

    assert page.count('<img src="data:image/jpeg;base64,') == 4
    new, gone = page.index("person-11"), page.index("person-10")
    assert new < gone
    assert text_of(page).count("not found") == 0


def test_a_page_without_crops_has_no_room_for_them(nights):
    page = page_of(*nights)

    assert "<img" not in page
    assert 'class="crops"' not in page


def test_more_than_is_listed_is_counted_on_the_page(tmp_path):
    base = write_run(tmp_path / "base", [])
    run = write_run(tmp_path / "run", [match(n, n, 0.5) for n in range(1200)])

    text = text_of(page_of(base, run, diff_runs(base, run, listed=2)))

    assert "The first 2 of 1\N{THIN SPACE}200:" in text
    assert text.startswith("What changed: base → run What changed: base → run 1\N{THIN SPACE}200 new findings.")


@pytest.mark.parametrize(
    ("changed", "says"), [({"reference_uri": "moved.jpg"}, "another uri"), ({"score": 0.6}, "another score")]
)
def test_pairs_that_are_not_what_they_were_are_told(tmp_path, changed, says):
    before = match(1, 1, 0.5, identity="a")
    base, run = write_run(tmp_path / "base", [before]), write_run(tmp_path / "run", [{**before, **changed}])

    assert "Of the pairs that are still there, 1 " in text_of(page_of(base, run))
    assert says in text_of(page_of(base, run))


def test_headlines(nights):
    diff = diff_runs(*nights)
    same = diff_runs(nights[1], nights[1])
    counts = replace(diff.findings, new=0, changed=0, gone=0, still=0, now=0)
    many = replace(counts, new=1200, open_new=1198, named_new=7, now=1200)

    assert headline(same) == "Nothing new: 4 findings as in 000002/gen."
    assert headline(replace(diff, findings=counts)) == "Nothing was found, as in 000001/gen."
    assert headline(replace(diff, findings=many)) == (
        "1\N{THIN SPACE}200 new findings, 7 of them named, 2 acknowledged."
    )


def test_the_closest_pair_of_a_finding_is_its_best_over_all_blocks(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        match(n, int(reference), float(score), identity=[None, "a", "b"][reference % 3])
        for n, (reference, score) in enumerate(
            zip(rng.integers(0, 6, 60), rng.choice([0.5, 0.625, 0.75], 60), strict=True)
        )
    ]
    run = write_run(tmp_path / "run", rows)
    monkeypatch.setattr(diff_page, "BLOCK_ROWS", 7)
    wanted = [
        Finding("celeba", "a"),
        Finding("celeba", uri="celeba/3.jpg"),
        Finding("celeba", "nobody"),
        Finding("art", "a"),
    ]

    found = closest_pairs(run, wanted)

    of_a = [row for row in rows if row["identity"] == "a"]
    of_3 = [row for row in rows if row["identity"] is None and row["reference_id"] == 3]
    for finding, own in zip(wanted, (of_a, of_3), strict=False):
        best = max(row["score"] for row in own)
        expected = min((row for row in own if row["score"] == best), key=lambda row: row["query_id"])
        assert found[finding]["query_id"] == expected["query_id"]
        assert found[finding]["score"] == pytest.approx(best)
    assert set(found) == set(wanted[:2])
