"""The diff of two runs, against a twin that reads everything into dictionaries."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from run_folder import evidence, match, weighed, write_run
from two_nights import write_nights

from scanner import artefacts
from scanner.errors import ArtefactError, EmbedderMismatch
from scanner.report import partitions
from scanner.report.acknowledged import Acknowledgement, Finding, acknowledge
from scanner.report.diff import RunDiff, diff_runs

INDEXES = ("celeba", "art")
PEOPLE = ("ann", "bob", None)


def row(query: int, reference: int, score: float, **more: Any) -> dict[str, Any]:
    """Return a match of a reference that always has the same uri and, unless told otherwise, the same identity."""
    return match(query, reference, score, **{"identity": PEOPLE[reference % 3], **more})


def slow_diff(folders: tuple[Path, Path], acknowledged: dict[Finding, Acknowledgement]) -> dict[str, Any]:
    """What a diff says, the obvious way."""
    said, pairs = [], []
    for folder in folders:
        matches = artefacts.read_table(folder / "matches.parquet", "matches").to_pylist()
        pairs.append({(m["query_id"], m["index"], m["reference_id"]): m for m in matches})
        found: dict[Finding, dict[str, Any]] = {}
        summary = json.loads((folder / "run.json").read_text())
        known = summary.get("evidence")
        rows = artefacts.read_table(folder / "identities.parquet", "identities").to_pylist() if known else []
        q = {Finding(r["index"], r["identity"]): (r["q_value"], r["best_score"]) for r in rows}
        for m in matches:
            finding = Finding(m["index"], m["identity"], None if m["identity"] else m["reference_uri"])
            one = found.setdefault(finding, {"matches": 0, "verdict": "match"})
            one["matches"] += 1
            if finding in q:
                state = known["verdict"]["state"]
                one["verdict"] = state if state in ("inconclusive", "undecided") else "not named"
        for finding, (value, _) in q.items():
            if known["verdict"]["state"] == "named" and value <= known["level"]:
                found.setdefault(finding, {"matches": 0})["verdict"] = "named"
        said.append(found)
    was, now = said
    both = pairs[0].keys() & pairs[1].keys()
    named = [{f for f, one in found.items() if one["verdict"] == "named"} for found in said]
    changed = {f for f in was.keys() & now.keys() if was[f]["verdict"] != now[f]["verdict"]}
    new = now.keys() - was.keys()
    return {
        "matches": {
            "before": len(pairs[0]), "now": len(pairs[1]), "still": len(both),
            "new": len(pairs[1]) - len(both), "gone": len(pairs[0]) - len(both),
            "rescored": sum(pairs[0][key]["score"] != pairs[1][key]["score"] for key in both),
            "renamed": sum(pairs[0][key]["reference_uri"] != pairs[1][key]["reference_uri"] for key in both),
        },
        "findings": {
            "before": len(was), "now": len(now), "new": len(new), "still": len(was.keys() & now.keys()),
            "gone": len(was.keys() - now.keys()), "changed": len(changed),
            "named_before": len(named[0]), "named_now": len(named[1]), "named_new": len(named[1] & new), "newly_named": len(named[1] - named[0]),
            "open_new": len(new - acknowledged.keys()), "open_changed": len(changed - acknowledged.keys()),
            "open_newly_named": len(named[1] - named[0] - acknowledged.keys()),
            "acknowledged": len(now.keys() & acknowledged.keys()),
        },
        "new": new, "changed": changed, "gone": was.keys() - now.keys(),
        "still": (was.keys() & now.keys()) - changed,
    }  # fmt: skip


matches_of = st.dictionaries(
    st.tuples(st.integers(0, 6), st.sampled_from(INDEXES), st.integers(0, 8)),
    st.tuples(st.sampled_from([0.5, 0.625, 0.75]), st.sampled_from(["", "", "", "renamed-"])),
    max_size=25,
)
weighed_of = st.none() | st.tuples(
    st.sampled_from(["named", "none", "inconclusive", "undecided"]),
    st.dictionaries(
        st.tuples(st.sampled_from(INDEXES), st.sampled_from(["ann", "bob", "cleo"])),
        st.sampled_from([0.01, 0.05, 0.5]), max_size=6,
    ),
)  # fmt: skip
findings_of = st.builds(Finding, st.sampled_from(INDEXES), st.sampled_from(["ann", "bob", "cleo"])) | st.builds(
    Finding, st.sampled_from(INDEXES), st.none(), st.sampled_from(["celeba/2.jpg", "celeba/5.jpg"])
)


def write_side(folder: Path, matches: dict[Any, Any], weighing: Any) -> Path:
    rows = [
        row(query, reference, score, index=index, reference_uri=f"{prefix}celeba/{reference}.jpg")
        for (query, index, reference), (score, prefix) in matches.items()
    ]
    if weighing is None:
        return write_run(folder, rows)
    state, values = weighing
    people = [weighed(person, q, 0.6, index=index) for (index, person), q in values.items()]
    return write_run(folder, rows, identities=people, evidence=evidence(state))


@settings(max_examples=40, deadline=None)
@given(
    matches_of, matches_of, weighed_of, weighed_of, st.dictionaries(findings_of, st.just(Acknowledgement("r", "s")), max_size=4),
    st.sampled_from([1, 3]),
)  # fmt: skip
def test_a_diff_is_what_the_obvious_twin_says(before, now, weighed_before, weighed_now, acknowledged, parts):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.report.diff.parts_for", lambda _rows: parts)
        base = write_side(Path(folder) / "base", before, weighed_before)
        run = write_side(Path(folder) / "run", now, weighed_now)

        diff = diff_runs(base, run, acknowledged=acknowledged)

        twin = slow_diff((base, run), acknowledged)
        backwards = diff_runs(run, base, acknowledged={})
    assert asdict(diff.matches) == twin["matches"]
    assert asdict(diff.findings) == twin["findings"]
    for status in ("new", "changed", "still", "gone"):
        changes = getattr(diff, status)
        assert {change.finding for change in changes} == twin[status]
        assert len(changes) == len(twin[status])
        assert {change.status for change in changes} <= {status}
    check_sums(diff)
    assert (backwards.matches.new, backwards.matches.gone) == (diff.matches.gone, diff.matches.new)
    assert {change.finding for change in backwards.new} == {change.finding for change in diff.gone}
    assert backwards.findings.changed == diff.findings.changed


def check_sums(diff: RunDiff) -> None:
    for counts in (diff.matches, diff.findings):
        assert counts.new + counts.still == counts.now
        assert counts.gone + counts.still == counts.before
    changes = [*diff.new, *diff.changed, *diff.still, *diff.gone]
    assert sum(change.matches_now for change in changes) == diff.matches.now
    assert sum(change.matches_before for change in changes) == diff.matches.before
    assert sum(change.matches_new for change in changes) == diff.matches.new


@pytest.fixture
def two_nights(tmp_path: Path) -> tuple[Path, Path]:
    return write_nights(tmp_path / "state")


def test_a_second_night_in_numbers(two_nights):
    diff = diff_runs(*two_nights)

    assert (diff.base, diff.run) == ("000001/gen", "000002/gen")
    assert asdict(diff.matches) == {
        "before": 4, "now": 6, "new": 3, "still": 3, "gone": 1, "rescored": 0, "renamed": 0,
    }  # fmt: skip
    assert [change.finding.identity for change in diff.new] == ["dora"]
    assert [change.finding.identity for change in diff.changed] == ["bob", "cleo"]
    assert [change.finding.identity for change in diff.still] == ["ann"]
    assert [change.finding for change in diff.gone] == [Finding("celeba", uri="celeba/30.jpg")]
    assert (diff.findings.newly_named, diff.findings.named_new) == (1, 0)
    assert diff.findings.open_newly_named == 1
    check_sums(diff)


def test_a_change_says_what_was_and_what_is(two_nights):
    bob = diff_runs(*two_nights).changed[0]

    assert bob.as_json() == {
        "index": "celeba", "identity": "bob", "uri": None, "status": "changed", "verdict_before": "not named",
        "verdict_now": "named", "score_before": 0.5, "score_now": pytest.approx(0.85), "q_before": 0.4, "q_now": 0.01,
        "matches_before": 1, "matches_now": 2, "matches_new": 1, "acknowledged": None,
    }  # fmt: skip


def test_what_is_acknowledged_beside_the_nights_is_listed_last_and_is_not_open(two_nights):
    acknowledge(
        two_nights[1].parents[2] / "acknowledged.json",
        Finding("celeba", "bob"),
        reason="licensed",
        seen_in="000001/gen",
    )

    diff = diff_runs(*two_nights)

    assert [change.finding.identity for change in diff.changed] == ["cleo", "bob"]
    assert diff.changed[1].acknowledged == Acknowledgement("licensed", "000001/gen")
    assert (diff.findings.changed, diff.findings.open_changed, diff.findings.open_newly_named) == (2, 1, 0)
    assert diff.findings.acknowledged == 1


@pytest.mark.parametrize(
    ("known", "fails"),
    [
        ([], {"new": True, "changed": True, "named": True}),
        (["dora"], {"new": False, "changed": True, "named": True}),
        (["dora", "bob"], {"new": False, "changed": True, "named": False}),
        (["dora", "bob", "cleo"], {"new": False, "changed": False, "named": False}),
    ],
)
def test_a_gate_says_no_to_what_nobody_acknowledged(two_nights, known, fails):
    acknowledged = {Finding("celeba", name): Acknowledgement("r", "s") for name in known}

    diff = diff_runs(*two_nights, acknowledged=acknowledged)

    assert {gate: diff.fails(gate) for gate in fails} == fails


def test_a_diff_is_json_and_the_same_one_every_time(two_nights):
    first, second = (json.dumps(diff_runs(*two_nights).as_json(), allow_nan=False) for _ in range(2))

    assert first == second
    assert json.loads(first)["verdict_now"] == {"state": "named", "sentence": "It is named."}


def test_a_run_and_itself_differ_in_nothing(two_nights):
    diff = diff_runs(two_nights[1], two_nights[1])

    assert (diff.new, diff.changed, diff.gone, diff.inputs) == ((), (), (), ())
    assert diff.base == diff.run == "000002/gen"
    assert diff.matches.still == diff.matches.now == 6


def test_more_findings_than_are_listed_are_counted(tmp_path):
    base = write_run(tmp_path / "base", [])
    run = write_run(tmp_path / "run", [match(n, n, 0.5 + n / 1000) for n in range(50)])

    diff = diff_runs(base, run, listed=3)

    assert diff.findings.new == 50
    assert [change.finding.identity for change in diff.new] == ["person-49", "person-48", "person-47"]


def test_many_parts_say_what_one_says(tmp_path, monkeypatch):
    base = write_run(tmp_path / "base", [match(n, n % 7, 0.5) for n in range(400)])
    run = write_run(tmp_path / "run", [match(n, n % 7, 0.5) for n in range(100, 500)])
    whole = diff_runs(base, run)
    monkeypatch.setattr(partitions, "PART_ROWS", 50)

    cut = diff_runs(base, run)

    assert cut == whole
    assert (cut.matches.new, cut.matches.still, cut.matches.gone) == (100, 300, 100)


def test_nothing_is_left_in_the_scratch_folder(two_nights, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    diff_runs(*two_nights, scratch=scratch)

    assert list(scratch.iterdir()) == []


def test_a_pair_that_stands_there_twice_is_refused(tmp_path):
    base = write_run(tmp_path / "base", [match(1, 2, 0.5)])
    run = write_run(tmp_path / "run", [match(1, 2, 0.5), match(1, 2, 0.5)])

    with pytest.raises(ArtefactError) as caught:
        diff_runs(base, run)

    assert str(caught.value) == (
        f"{run}/matches.parquet has a match of one query with one reference twice, expected each once. Scan again."
    )


def test_runs_of_two_embedders_are_refused(tmp_path):
    base = write_run(tmp_path / "base", [])
    run = write_run(tmp_path / "run", [])
    summary = json.loads((run / "run.json").read_text())
    summary["road"]["embedder"] |= {"name": "onnx:other.onnx", "fingerprint": "e" * 16}
    (run / "run.json").write_text(json.dumps(summary))

    with pytest.raises(EmbedderMismatch) as caught:
        diff_runs(base, run)

    assert str(caught.value) == (
        f"{base} was embedded by onnx:face.onnx (fingerprint {'f' * 16}), {run} by onnx:other.onnx (fingerprint {'e' * 16}). "
        "Scores of two embedders cannot be compared, so nothing can be called new or gone. Name two runs of one embedder, or "
        "scan again with the other one's."
    )


@pytest.mark.parametrize("missing", ["run.json", "matches.parquet"])
def test_a_run_that_is_not_finished_is_refused(two_nights, missing):
    (two_nights[0] / missing).unlink()

    with pytest.raises(ArtefactError, match=f"{missing} is not there"):
        diff_runs(*two_nights)


@pytest.mark.parametrize("key", ["road", "threshold", "indexes", "counts"])
def test_a_summary_that_lacks_something_is_refused(two_nights, key):
    path = two_nights[0] / "run.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in document.items() if name != key}))

    with pytest.raises(ArtefactError, match=rf"lacks what a run says of itself \('{key}'\)\. Scan again\."):
        diff_runs(*two_nights)
