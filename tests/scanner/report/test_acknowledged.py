"""Acknowledged findings: what is kept, where, and that two writers lose nothing."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from indexes.errors import LockedError
from indexes.lock import write_lock
from scanner.errors import ArtefactError, UsageError
from scanner.report import acknowledged
from scanner.report.acknowledged import (
    Acknowledgement,
    Finding,
    acknowledge,
    acknowledged_path,
    read_acknowledged,
    withdraw,
)

PERSON = Finding("celeba", identity="person-7")
PHOTO = Finding("celeba", uri="celeba/9.jpg")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "acknowledged.json"


def test_nothing_is_acknowledged_where_there_is_no_file(path):
    assert read_acknowledged(path) == {}


def test_what_is_acknowledged_is_read_back(path):
    acknowledge(path, PHOTO, reason="a stock photo", seen_in="run-2")
    acknowledge(path, PERSON, reason="  licensed\n in 2024 ", seen_in="run-1")

    assert read_acknowledged(path) == {
        PERSON: Acknowledgement("licensed in 2024", "run-1"),
        PHOTO: Acknowledgement("a stock photo", "run-2"),
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_says_why_and_where_and_nothing_of_who_or_when(path):
    acknowledge(path, PERSON, reason="licensed", seen_in="run-1")

    assert json.loads(path.read_text()) == {
        "format": "identity-leak-acknowledged", "format_version": 1,
        "findings": [
            {"index": "celeba", "identity": "person-7", "uri": None, "reason": "licensed", "seen_in": "run-1"}
        ],
    }  # fmt: skip


def test_the_same_findings_give_the_same_bytes_in_any_order(tmp_path):
    findings = [PERSON, PHOTO, Finding("art", identity="person-7")]
    for name, order in (("a.json", findings), ("b.json", findings[::-1])):
        for finding in order:
            acknowledge(tmp_path / name, finding, reason="r", seen_in="s")

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_finding_that_is_acknowledged_again_gets_the_new_reason(path):
    acknowledge(path, PERSON, reason="licensed", seen_in="run-1")
    acknowledge(path, PERSON, reason="licensed until 2027", seen_in="run-2")

    assert read_acknowledged(path) == {PERSON: Acknowledgement("licensed until 2027", "run-2")}


def test_what_is_withdrawn_counts_again(path):
    acknowledge(path, PERSON, reason="licensed", seen_in="run-1")
    acknowledge(path, PHOTO, reason="stock", seen_in="run-1")

    withdraw(path, PERSON)

    assert list(read_acknowledged(path)) == [PHOTO]


def test_what_was_never_acknowledged_cannot_be_withdrawn(path):
    with pytest.raises(UsageError) as caught:
        withdraw(path, PERSON)

    assert str(caught.value) == (
        f"'person-7' of index 'celeba' is not acknowledged in {path}: there is nothing to withdraw. "
        "`scanner report acknowledge RUN --list` lists what is."
    )
    assert not path.exists()


@pytest.mark.parametrize(("reason", "letters"), [(" \n ", 0), ("x" * 1001, 1001), ("a\x1b[31mb", 7)])
def test_a_reason_is_needed(path, reason, letters):
    with pytest.raises(UsageError, match=f"A reason of 1 to 1000 printable letters .* got {letters} letters"):
        acknowledge(path, PERSON, reason=reason, seen_in="run-1")

    assert not path.exists()


def test_a_finding_is_an_identity_or_a_uri():
    with pytest.raises(UsageError):
        Finding("celeba")
    with pytest.raises(UsageError):
        Finding("celeba", identity="a", uri="b")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("runs/run-1", "runs/acknowledged.json"),
        ("state/nights/000012/gen", "state/acknowledged.json"),
        ("nights/run-1", "nights/acknowledged.json"),
    ],
)
def test_the_file_lies_beside_the_runs_or_in_the_state_of_a_nightly_job(tmp_path, run, expected):
    assert acknowledged_path(tmp_path / run) == (tmp_path / expected).resolve()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ('{"format": "other", "format_version": 1, "findings": []}', "format: input should be 'identity-leak-ack"),
        (
            '{"format": "identity-leak-acknowledged", "format_version": 2, "findings": []}',
            "format_version: a newer scanner wrote this file; this one reads up to version 1: install it, got 2",
        ),
        (
            '{"format": "identity-leak-acknowledged", "format_version": 1, "findings": '
            '[{"index": "a", "reason": "r", "seen_in": "s"}]}',
            "findings[1]: an identity or a uri is needed, not both",
        ),
        (
            '{"format": "identity-leak-acknowledged", "format_version": 1, "findings": '
            '[{"index": "a", "identity": "b", "reason": "r", "seen_in": "s", "who": "me"}]}',
            "findings[1].who: unknown key",
        ),
    ],
)
def test_a_file_that_is_not_ours_is_refused_with_a_sentence(path, text, says):
    path.write_text(text)

    with pytest.raises(ArtefactError) as caught:
        read_acknowledged(path)

    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_finding_that_stands_there_twice_is_refused(path):
    acknowledge(path, PERSON, reason="licensed", seen_in="run-1")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "findings": document["findings"] * 2}))

    with pytest.raises(ArtefactError, match="names a finding twice"):
        read_acknowledged(path)


def test_a_file_that_cannot_be_read_is_not_written_over(path):
    path.write_text("{")

    with pytest.raises(ArtefactError):
        acknowledge(path, PERSON, reason="licensed", seen_in="run-1")

    assert path.read_text() == "{"


def test_writers_at_the_same_time_lose_nothing(path):
    def write(first: int) -> None:
        for number in range(first, 40, 4):
            acknowledge(path, Finding("celeba", identity=f"person-{number}"), reason="r", seen_in="s")

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {finding.identity for finding in read_acknowledged(path)} == {f"person-{n}" for n in range(40)}


def test_a_writer_that_does_not_end_is_named(path, monkeypatch):
    monkeypatch.setattr(acknowledged, "_PATIENCE_S", 0.05)

    with write_lock(path.parent, ".acknowledged.lock"), pytest.raises(LockedError, match=f"process {os.getpid()}"):
        acknowledge(path, PERSON, reason="licensed", seen_in="run-1")


def test_the_lock_of_a_nightly_job_is_another_one(path):
    with write_lock(path.parent):
        acknowledge(path, PERSON, reason="licensed", seen_in="run-1")

    assert PERSON in read_acknowledged(path)
