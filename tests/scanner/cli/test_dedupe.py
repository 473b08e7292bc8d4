"""`scanner index dedupe`: the answer on stdout, the talk on stderr, and what it would cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import photos_of, scores_of

REFERENCES = photos_of(range(8), range(2))


def test_dedupe_answers_with_what_all_pairs_give(run: Callable[..., Any], index: Path, tmp_path: Path) -> None:
    ran = run("index", "dedupe", index, "--out", tmp_path / "out", "--threshold", 0.6)

    one, other = np.nonzero(np.triu(scores_of(REFERENCES, REFERENCES) >= 0.6, 1))
    found = json.loads(ran.out)
    assert ran.code == 0
    assert ran.out.count("\n") == 1
    assert (found["references"], found["comparisons"], found["threshold"]) == (16, 120, 0.6)
    assert found["pairs"] == len(one) > 0
    assert found["pairs_between"] == sum(a // 2 != b // 2 for a, b in zip(one, other, strict=True))
    assert found["references_in_groups"] == len({*one.tolist(), *other.tolist()})
    assert found["out"] == str(tmp_path / "out")
    lines = ran.err.splitlines()
    assert f"{found['pairs']} pairs, {found['pairs_between']} of them between two identities" in lines
    assert lines[-1] == f"report: {tmp_path / 'out' / 'report.html'}"


def test_the_options_of_other_commands_mean_the_same(run: Callable[..., Any], index: Path, tmp_path: Path) -> None:
    rate = ("--fmr", 0.2, "--calibrate-on", index, "--memory", "1GiB", "--engine", "exact", "--json")
    first = run("index", "dedupe", index, "--out", tmp_path / "out", *rate)
    again = run("index", "dedupe", index, "--out", tmp_path / "out", *rate)
    resumed = run("index", "dedupe", index, "--out", tmp_path / "out", *rate, "--resume")
    forced = run("index", "dedupe", index, "--out", tmp_path / "out", *rate, "--force", "--quiet")

    assert [ran.code for ran in (first, again, resumed, forced)] == [0, 2, 0, 0]
    assert first.err == resumed.err == forced.err == ""
    assert first.out == resumed.out == forced.out
    assert "is already there" in again.err
    assert json.loads(first.out)["false_matches_expected"] > 0


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(
    run: Callable[..., Any], index: Path, tmp_path: Path
) -> None:
    ran = run("index", "dedupe", index, "--out", tmp_path / "out", "--threshold", 0.6, "--dry-run")

    cost = json.loads(ran.out)
    done = json.loads(run("index", "dedupe", index, "--out", tmp_path / "done", "--threshold", 0.6).out)
    assert ran.code == 0
    assert (cost["references"], cost["engine"], cost["pairs"]) == (16, "exact", done["pairs"])
    assert cost["search_s"] > 0
    assert "16 references against each other" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Say how close counts as a match: either --threshold T"),
        (("--fmr", 0.1), "--fmr needs pairs of people whose identity is known"),
        (("--threshold", 2), "A threshold is a cosine above -1 and at most 1"),
        (("--threshold", 0.5, "--engine", "compressed"), "the compressed engine needs codes"),
        (("--threshold", 0.5, "--memory", "1KiB"), "the exact engine needs about"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    words: tuple[Any, ...], sentence: str, run: Callable[..., Any], index: Path, tmp_path: Path
) -> None:
    ran = run("index", "dedupe", index, "--out", tmp_path / "out", *words)

    assert ran.code == 2
    assert sentence in ran.err
    assert not (tmp_path / "out").exists()


def test_the_page_is_made_again_from_the_folder_alone(run: Callable[..., Any], index: Path, tmp_path: Path) -> None:
    run("index", "dedupe", index, "--out", tmp_path / "out", "--threshold", 0.6)
    page = tmp_path / "out" / "report.html"
    before = page.read_bytes()
    page.unlink()

    ran = run("report", "html", tmp_path / "out")

    assert (ran.code, json.loads(ran.out)) == (0, {"page": str(page)})
    assert page.read_bytes() == before


def test_what_is_no_index_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("index", "dedupe", tmp_path, "--out", tmp_path / "out", "--threshold", 0.5)

    assert (ran.code, "is no index" in ran.err) == (2, True)
