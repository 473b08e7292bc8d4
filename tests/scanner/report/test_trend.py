"""Runs in the order of time: rows, series, and the page's figure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from run_folder import evidence, match, reject, weighed, write_run
from two_nights import write_nights

from scanner.report.trend import TrendRow, trend_of
from scanner.report.trend_page import figure, headline, write_trend_page


@pytest.fixture
def nights(tmp_path: Path) -> tuple[Path, Path]:
    return write_nights(tmp_path / "state")


def test_each_run_says_what_it_found_and_what_was_new(nights):
    first, second = trend_of(nights).rows

    assert first == TrendRow(
        run="000001/gen", series="gen", queries=3, references=202_599, threshold=0.43, matches=4, matched_identities=4,
        findings=4, named=2, state="named", best_score=pytest.approx(0.6), rejects=2, new=None, gone=None, changed=None,
    )  # fmt: skip
    assert second == replace(
        first, run="000002/gen", queries=4, matches=6, matched_identities=4, best_score=pytest.approx(0.95), new=1, gone=1,
        changed=2,
    )  # fmt: skip


def test_runs_of_a_nightly_job_are_compared_with_those_of_their_own_name(nights, tmp_path):
    web = [
        write_run(tmp_path / "state" / "nights" / night / "web", [match(1, 1, 0.5)]) for night in ("000001", "000002")
    ]

    rows = trend_of([nights[0], web[0], nights[1], web[1]]).rows

    assert [(row.run, row.new, row.gone) for row in rows] == [
        ("000001/gen", None, None), ("000001/web", None, None), ("000002/gen", 1, 1), ("000002/web", 0, 0),
    ]  # fmt: skip


def test_nobody_is_counted_as_named_where_nobody_could_be(tmp_path):
    people = [weighed("person-1", 0.01, 0.5)]
    runs = [
        write_run(tmp_path / f"run-{n}", [match(1, 1, 0.5)], identities=people, evidence=evidence(state))
        for n, state in enumerate(("named", "inconclusive", "undecided", "none"))
    ]
    runs.append(write_run(tmp_path / "run-4", [match(1, 1, 0.5)]))

    rows = trend_of(runs).rows

    assert [row.named for row in rows] == [1, None, None, 0, None]
    assert [row.changed for row in rows] == [None, 1, 1, 1, 1]


def test_runs_of_two_embedders_are_not_compared(tmp_path):
    runs = [write_run(tmp_path / f"run-{n}", [match(1, n, 0.5)]) for n in range(3)]
    document = json.loads((runs[1] / "run.json").read_text())
    document["road"]["embedder"]["fingerprint"] = "e" * 16
    (runs[1] / "run.json").write_text(json.dumps(document))

    rows = trend_of(runs).rows

    assert [row.new for row in rows] == [None, None, None]
    assert [row.findings for row in rows] == [1, 1, 1]


def test_a_run_without_a_query_has_no_best_score(tmp_path):
    (row,) = trend_of([write_run(tmp_path / "run", [], scores=[], rejects=[reject("a.png")])]).rows

    assert row.best_score is None
    assert row.rejects == 2


def test_bars_are_as_high_as_the_counts(nights):
    drawn = figure(trend_of(nights).rows)

    findings, change, score = drawn.panels
    assert [bar.title for bar in findings.bars] == ["000001/gen: 4 findings, 2 of them named"] * 2 + [
        "000002/gen: 4 findings, 2 of them named"
    ] * 2
    assert [bar.height for bar in findings.bars] == [110, 55, 110, 55]
    assert [(bar.ink, bar.height) for bar in change.bars] == [("var(--accent)", 48), ("var(--soft)", 48)]
    assert change.bars[0].y + 48 == change.base_y == change.bars[1].y
    assert score.dots[0].y > score.dots[1].y
    assert [label.text for label in drawn.labels] == ["000001", "000002"]


def test_a_figure_of_many_runs_labels_some_of_them(nights):
    row = trend_of(nights).rows[1]

    drawn = figure([replace(row, run=f"{n:06d}/gen") for n in range(200)])

    places = [label.place for label in drawn.labels]
    assert min(after - before for before, after in pairwise(places)) > 40
    assert drawn.labels[0].text == "000000"
    assert len(drawn.panels[0].bars) == 400


def test_the_page_has_a_figure_for_each_series_and_a_row_for_each_run(nights, tmp_path):
    other = write_run(tmp_path / "by-hand", [match(1, 1, 0.5, identity="<b>")])
    trend = trend_of([*nights, other])

    page = write_trend_page(tmp_path / "trend.html", trend).read_text()

    assert page.count("<figure>") == 2
    assert len(re.findall(r"<tr><td>", page)) == 3
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert headline(trend) in page


def test_the_headline_says_where_each_series_stands(nights, tmp_path):
    other = write_run(tmp_path / "by-hand", [match(1, 1, 0.5)])

    assert headline(trend_of([*nights, other])) == (
        "000002/gen: 4 findings, 2 named; 1 new and 1 gone since the run before. by-hand: 1 finding."
    )


def test_a_trend_is_json(nights):
    document = json.loads(json.dumps(trend_of(nights).as_json(), allow_nan=False))

    assert (document["format"], document["format_version"]) == ("identity-leak-trend", 1)
    assert [run["run"] for run in document["runs"]] == ["000001/gen", "000002/gen"]
