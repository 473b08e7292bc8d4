"""The audit's page: what it says, in which words, and that it needs nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

# With --import-mode=importlib test modules do not see their folder.
sys.path.insert(0, str(Path(__file__).parent.parent / "jobs"))

from audit_world import make_world

from scanner import artefacts
from scanner.audit.audit import AuditResult, audit
from scanner.report.audit_figures import growth_figure
from scanner.report.audit_page import render


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    folder = tmp_path_factory.mktemp("audit-page")
    return audit(make_world(folder / "world"), out=folder / "out")


@pytest.fixture(scope="module")
def page(done: AuditResult) -> str:
    return (done.folder / "report.html").read_text()


def test_the_headline_is_the_verdict(page: str):
    assert "<h1>Fail: 1 of 2 generators gives away more people than is tolerated (leaking).</h1>" in page


def test_nothing_comes_from_elsewhere_and_nothing_runs(page: str):
    assert "<script" not in page
    assert re.findall(r"(?:src|href)=", page) == []
    assert "://" not in page
    assert "default-src 'none'" in page


def test_every_score_stands_with_its_interval_and_the_best_is_bold(done: AuditResult, page: str):
    entry = done.document["generators"][0]
    part = page[page.index("leaking: how well") : page.index("leaking: the release gate")]

    for rates in entry["scores"].values():
        at = rates["auc"]
        assert f"{at['value']:.3f}" in part
        assert f"{at['low']:.3f} to {at['high']:.3f}" in part
    best = max(entry["scores"].values(), key=lambda rates: rates["auc"]["value"])["auc"]
    assert re.findall(r"<td class=\"n\"><b>(\d\.\d+)", part) == [f"{best['value']:.3f}"]
    assert part.count("baseline") == 8  # two of identities, six of whole sets
    assert part.index("best match") < part.index("learned attack") < part.index("baseline")


def test_the_gates_numbers_are_on_the_page(done: AuditResult, page: str):
    gate = done.document["generators"][0]["gate"]

    assert f"{gate['member_hits']} of 40 members at or above the cut of {gate['cut']:.3f}, 4 of 200 non-members" in page
    assert "at most 20 % of the member identities given away, with 95 % confidence" in page


def test_the_words_claim_no_more_than_was_measured(page: str):
    text = re.sub(r"<[^>]+>", " ", page)

    assert "closer to the samples than unrelated people are" in text
    assert "no finding is no proof of absence" in text
    for claim in ("this is", "identified as", "proves that", "recogni[sz]ed as"):
        assert not re.search(claim, text.replace("that is why this is", ""), re.IGNORECASE)


def test_every_figure_that_was_asked_for_is_drawn(page: str):
    # two distributions, roc, power, samples and photos for each; a dose for the one with shares; growth over both
    assert page.count("<svg") == 2 * 6 + 1 + 1
    assert "identities in training" in page


def test_names_are_escaped(done: AuditResult):
    scores = artefacts.read_table(done.folder / "scores.parquet", "scores")
    place = scores.column_names.index("identity")
    names = ["<img src=x>" if name == "m000" else name for name in scores["identity"].to_pylist()]

    page = render(done.document, scores.set_column(place, "identity", [names]))

    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


def test_growth_goes_by_training_time_where_the_people_are_the_same(done: AuditResult):
    first, second = done.document["generators"]
    same = [{**first, "identities_in_training": 40, "step": 1.0}, {**second, "identities_in_training": 40, "step": 9.0}]

    by_people, by_time = growth_figure(done.document["generators"]), growth_figure(same)

    assert by_people is not None
    assert by_people.x_label == "identities in training"
    assert by_time is not None
    assert by_time.x_label == "training time"
    assert growth_figure([first]) is None
