"""Old nights and old crops go, the newest night stays, and nothing but the given time is asked."""

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from indexes.atomic import write_json
from scanner.erasing.retention import Retention, apply_retention
from scanner.errors import UsageError
from scanner.report.page import write_page

NOW = datetime(2026, 3, 20, tzinfo=UTC)


@pytest.fixture
def job(everything: Path, tmp_path: Path) -> Path:
    """Five nights, the 2nd to the 6th of March; the third one's account does not say when it was."""
    for number in range(1, 6):
        night = tmp_path / "job" / "nights" / f"{number:06d}"
        shutil.copytree(everything / "state" / "run", night / "gen")
        (night / "gen" / ".queries.parquet.999999.tmp").unlink()
        when = {} if number == 3 else {"ended_at": f"2026-03-0{number + 1}T01:00:00+00:00"}
        write_json(night / "costs.json", {"format": "identity-leak-night-costs", **when})
        write_json(night / "night.json", {"format": "identity-leak-night", "runs": {}})
    return tmp_path / "job"


def nights_with(job: Path, file: str) -> list[int]:
    return [int(path.parent.parent.name) for path in sorted(job.glob(f"nights/*/gen/{file}"))]


def test_so_many_nights_are_kept(job: Path) -> None:
    done = apply_retention(job, Retention(nights=2), now=NOW)

    assert nights_with(job, "run.json") == [4, 5]
    assert [path.parent.name for path in done.runs] == ["000001", "000002", "000003"]
    assert done.nights_kept == 2
    assert len(list(job.glob("nights/*/night.json"))) == 5


def test_nights_up_to_an_age_are_kept_and_one_without_a_time(job: Path) -> None:
    apply_retention(job, Retention(older_than=timedelta(days=14, hours=23)), now=NOW)

    assert nights_with(job, "run.json") == [3, 4, 5]


def test_the_newest_night_stays_however_old_it_is(job: Path) -> None:
    apply_retention(job, Retention(nights=1, older_than=timedelta(hours=1)), now=NOW + timedelta(days=900))

    assert nights_with(job, "run.json") == [5]


def test_a_clock_that_went_back_removes_nothing(job: Path) -> None:
    done = apply_retention(job, Retention(older_than=timedelta(days=1)), now=datetime(2020, 1, 1, tzinfo=UTC))

    assert done.runs == ()
    assert nights_with(job, "run.json") == [1, 2, 3, 4, 5]


def test_crops_go_before_their_runs_and_from_the_page_too(job: Path) -> None:
    page = job / "nights" / "000003" / "gen" / "report.html"
    before = page.read_text()

    done = apply_retention(job, Retention(nights=3, crop_nights=2), now=NOW)

    assert nights_with(job, "crops.parquet") == [4, 5]
    assert nights_with(job, "matches.parquet") == [3, 4, 5]
    assert "data:image/jpeg" in before
    assert "data:image/jpeg" not in page.read_text()
    assert "Match report" in page.read_text()
    assert done.bytes > 10_000


def test_a_dry_run_says_the_same_and_changes_nothing(job: Path) -> None:
    rules = Retention(nights=3, crop_nights=1)
    before = sorted(job.rglob("*"))

    planned = apply_retention(job, rules, now=NOW, dry_run=True)

    assert sorted(job.rglob("*")) == before
    assert planned == apply_retention(job, rules, now=NOW)


@pytest.mark.parametrize("step", range(9))
def test_killed_and_called_again_it_ends_as_if_it_had_not_been(
    job: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules, taken = Retention(nights=4, crop_nights=2), 0

    def dying(call):
        def counted(*args, **kwargs):
            nonlocal taken
            taken += 1
            if taken == step * 2 + 1:
                raise KeyboardInterrupt
            return call(*args, **kwargs)

        return counted

    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "unlink"):
            patch.setattr(os, name, dying(getattr(os, name)))
        with suppress(KeyboardInterrupt):  # a step beyond the last one kills nothing
            apply_retention(job, rules, now=NOW)
    apply_retention(job, rules, now=NOW)

    assert nights_with(job, "matches.parquet") == [2, 3, 4, 5]
    assert nights_with(job, "crops.parquet") == [4, 5]
    assert [path for path in job.rglob(".*") if not path.name.endswith(".tmp")] == []
    page = job / "nights" / "000002" / "gen" / "report.html"
    text = page.read_text()
    write_page(page.parent)
    assert page.read_text() == text


@pytest.mark.parametrize(
    "rules", [Retention(), Retention(nights=0), Retention(older_than=timedelta(0)), Retention(crop_nights=-1)]
)
def test_rules_that_would_keep_nothing_are_refused(job: Path, rules: Retention) -> None:
    with pytest.raises(UsageError):
        apply_retention(job, rules, now=NOW)
    assert nights_with(job, "run.json") == [1, 2, 3, 4, 5]


def test_what_is_no_nightly_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of a nightly job"):
        apply_retention(tmp_path, Retention(nights=1), now=NOW)


def test_a_run_that_a_later_night_names_stays_with_it(job: Path) -> None:
    """Nothing changed on the 4th and 5th night: both are the 2nd night's run."""
    for number in (4, 5):
        night = job / "nights" / f"{number:06d}"
        shutil.rmtree(night / "gen")
        write_json(night / "night.json", {"runs": {"gen": {"run": "000002/gen"}}})

    apply_retention(job, Retention(nights=2, crop_nights=1), now=NOW)

    assert nights_with(job, "run.json") == [2]
    assert nights_with(job, "crops.parquet") == [2]


def test_an_account_that_cannot_be_read_gives_a_night_no_age(job: Path) -> None:
    (job / "nights" / "000001" / "costs.json").write_text("{")

    apply_retention(job, Retention(older_than=timedelta(days=1)), now=NOW)

    assert nights_with(job, "run.json") == [1, 3, 5]


def test_a_night_that_has_not_ended_counts_as_none(job: Path) -> None:
    shutil.copytree(job / "nights" / "000005", job / "nights" / "000006")
    (job / "nights" / "000006" / "night.json").unlink()

    apply_retention(job, Retention(nights=1), now=NOW)

    assert nights_with(job, "run.json") == [5, 6]


def test_a_page_that_cannot_be_made_again_goes_with_its_crops(job: Path) -> None:
    run = job / "nights" / "000001" / "gen"
    summary = (run / "run.json").read_text()
    (run / "run.json").write_text(summary.replace('"versions"', '"other"').replace('"results"', '"others"'))

    apply_retention(job, Retention(crop_nights=4), now=NOW)

    assert not (run / "report.html").exists()
    assert not (run / "crops.parquet").exists()
    assert [path.name for path in run.glob(".*")] == []
