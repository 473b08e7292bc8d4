"""A finding by the name that somebody gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folder import evidence, match, weighed, write_run

from scanner.errors import UsageError
from scanner.report.acknowledged import Finding, acknowledge
from scanner.report.finding_names import acknowledged_called, finding_called


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Eve is in two indexes; fay is named without a match; gus is weighed and not found."""
    rows = [match(1, 1, 0.5, identity="eve"), match(1, 2, 0.5, identity="eve", index="art"),
            match(1, 3, 0.5, identity=None, reference_uri="celeba/x.jpg"), match(1, 4, 0.5, identity="hal")]  # fmt: skip
    people = [weighed("fay", 0.01, 0.4), weighed("gus", 0.2, 0.4)]
    return write_run(tmp_path / "run", rows, identities=people, evidence=evidence("named"))


@pytest.mark.parametrize(
    ("asked", "finding"),
    [
        ({"identity": "hal", "uri": None}, Finding("celeba", "hal")),
        ({"identity": "eve", "uri": None, "index": "art"}, Finding("art", "eve")),
        ({"identity": "fay", "uri": None}, Finding("celeba", "fay")),
        ({"identity": None, "uri": "celeba/x.jpg"}, Finding("celeba", uri="celeba/x.jpg")),
    ],
)
def test_a_finding_is_found_by_its_name(run, asked, finding):
    assert finding_called(run, **asked) == finding


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {"identity": "gus", "uri": None},
            "found no identity 'gus': it has no match at the run's threshold and is not named.",
        ),
        ({"identity": None, "uri": "celeba/1.jpg"}, "found no matched reference 'celeba/1.jpg' without an identity"),
        (
            {"identity": "eve", "uri": None},
            "found identity 'eve' in art and celeba. Say which one is meant: --index art",
        ),
        (
            {"identity": "hal", "uri": None, "index": "art"},
            "found identity 'hal' in celeba, not in 'art'. Pass --index celeba.",
        ),
        ({"identity": None, "uri": None}, "give one of the two"),
    ],
)
def test_what_was_not_found_or_is_not_clear_is_refused(run, asked, says):
    with pytest.raises(UsageError) as caught:
        finding_called(run, **asked)

    assert says in str(caught.value)


def test_who_is_below_the_level_of_an_inconclusive_run_is_no_finding(tmp_path):
    run = write_run(tmp_path / "run", [], identities=[weighed("fay", 0.01, 0.4)], evidence=evidence("inconclusive"))

    with pytest.raises(UsageError, match="found no identity 'fay'"):
        finding_called(run, identity="fay", uri=None)


def test_what_was_acknowledged_is_found_though_the_run_is_without_it(tmp_path):
    path = tmp_path / "acknowledged.json"
    for index in ("celeba", "art"):
        acknowledge(path, Finding(index, "zoe"), reason="r", seen_in="s")
    acknowledge(path, Finding("art", "yan"), reason="r", seen_in="s")

    assert acknowledged_called(path, identity="yan", uri=None) == Finding("art", "yan")
    with pytest.raises(UsageError, match="'zoe' is acknowledged in art and celeba"):
        acknowledged_called(path, identity="zoe", uri=None)
    with pytest.raises(UsageError, match="'ann' is not acknowledged"):
        acknowledged_called(path, identity="ann", uri=None)
