"""`scanner report diff`, `acknowledge` and `trend`: answers, talk and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))  # as in ../report/conftest.py

from run_folder import match, write_run
from two_nights import write_nights

Run = Callable[..., Any]


@pytest.fixture
def nights(tmp_path: Path) -> tuple[Path, Path]:
    return write_nights(tmp_path / "state")


def answer_of(ran: Any) -> dict[str, Any]:
    assert ran.out.count("\n") == 1
    return json.loads(ran.out)


def test_a_diff_is_told_and_answered(run: Run, nights: tuple[Path, Path]) -> None:
    ran = run("report", "diff", *nights)

    assert ran.code == 0
    assert ran.err.splitlines() == [
        "1 new finding; 2 have another verdict; 1 is gone; 1 as before.",
        "  matching pairs: 6 (3 new, 1 gone); findings: 4 (1 new and 2 changed that nobody acknowledged)",
        "  input changed: scanned faces: 3 faces -> 4 faces",
        "  new      0.700  dora  (celeba; not named, q 0.2)",
        "  changed  0.850  bob  (celeba; not named -> named, q 0.01)",
        "  changed  0.800  cleo  (celeba; named -> not named, q 0.06)",
        "  gone     0.440  celeba/30.jpg  (celeba; match)",
    ]
    document = answer_of(ran)
    assert document["findings"]["new"] == 1
    assert document["new"][0]["identity"] == "dora"
    assert document["gate"] is None


def test_an_index_that_was_built_anew_is_noticed(run: Run, tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [match(1, 1, 0.5)])
    other = write_run(tmp_path / "run", [match(1, 1, 0.5, reference_uri="celeba/other.jpg")])

    ran = run("report", "diff", base, other)

    assert ran.err.splitlines()[2] == (
        "  note: 1 of the pairs that are still there are with a reference that has another uri now: was an index built anew under "
        "its old name?  Findings are compared by identity; read the counts of pairs with care."
    )


def test_a_quiet_diff_says_its_answer_alone(run: Run, nights: tuple[Path, Path]) -> None:
    ran = run("report", "diff", *nights, "--json", "--top", "1")

    assert ran.err == ""
    assert [len(answer_of(ran)[name]) for name in ("new", "changed", "still", "gone")] == [1, 1, 1, 1]


def test_the_page_is_written_where_it_was_asked_for(run: Run, nights: tuple[Path, Path], tmp_path: Path) -> None:
    ran = run("report", "diff", *nights, "--html", tmp_path / "changes.html")

    assert ran.code == 0
    assert ran.err.splitlines()[-1] == f"{tmp_path}/changes.html written"
    assert "<title>What changed: 000001/gen" in (tmp_path / "changes.html").read_text()


@pytest.mark.parametrize("command", ["diff", "trend"])
def test_a_page_that_has_no_folder_is_refused_before_the_work(
    run: Run, nights: tuple[Path, Path], tmp_path: Path, command: str
) -> None:
    ran = run("report", command, *nights, "--html", tmp_path / "none" / "page.html")

    assert ran.code == 2
    assert ran.err == (
        f"error: --html {tmp_path}/none/page.html: there is no folder {tmp_path}/none. Make it, or name another file.\n"
    )


def test_a_gate_fails_until_everything_new_is_acknowledged(run: Run, nights: tuple[Path, Path]) -> None:
    codes = {}
    for known in ("", "dora", "bob", "cleo"):
        if known:
            assert run("report", "acknowledge", nights[1], "--identity", known, "--reason", "seen").code == 0
        codes[known] = [run("report", "diff", *nights, "--fail-on", gate).code for gate in ("new", "changed", "named")]

    assert codes == {"": [1, 1, 1], "dora": [0, 1, 1], "bob": [0, 1, 0], "cleo": [0, 0, 0]}


def test_a_gate_is_answered(run: Run, nights: tuple[Path, Path]) -> None:
    ran = run("report", "diff", *nights, "--fail-on", "new")

    assert ran.code == 1
    assert ran.err.splitlines()[-1] == "gate (new): no"
    assert answer_of(ran)["gate"] == {"fail_on": "new", "failed": True}
    assert answer_of(run("report", "diff", nights[1], nights[1], "--fail-on", "new"))["gate"]["failed"] is False


def test_what_is_acknowledged_is_listed_and_taken_back(run: Run, nights: tuple[Path, Path]) -> None:
    path = nights[1].parents[2] / "acknowledged.json"

    made = run("report", "acknowledge", nights[1], "--identity", "dora", "--reason", "licensed")
    photo = run("report", "acknowledge", nights[0], "--uri", "celeba/30.jpg", "--reason", "stock")
    listed = run("report", "acknowledge", nights[0], "--list")
    back = run("report", "acknowledge", nights[1], "--identity", "dora", "--withdraw")

    assert (made.code, photo.code, listed.code, back.code) == (0, 0, 0, 0)
    assert made.err == f"dora (celeba) is acknowledged in {path}\n"
    assert listed.err.splitlines() == [
        "  dora  (celeba; seen in 000002/gen): licensed", "  celeba/30.jpg  (celeba; seen in 000001/gen): stock",
        f"2 acknowledged in {path}",
    ]  # fmt: skip
    assert answer_of(listed)["findings"][0] == {
        "index": "celeba", "identity": "dora", "uri": None, "reason": "licensed", "seen_in": "000002/gen",
    }  # fmt: skip
    assert back.err == "dora (celeba) counts again\n"
    assert [one["uri"] for one in answer_of(back)["findings"]] == ["celeba/30.jpg"]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--identity", "dora"),
        ("--reason", "why"),
        ("--identity", "dora", "--uri", "x", "--reason", "why"),
        ("--identity", "dora", "--reason", "why", "--withdraw"),
        ("--list", "--identity", "dora"),
        ("--list", "--reason", "why"),
        ("--withdraw",),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Run, nights: tuple[Path, Path], words: tuple[str, ...]) -> None:
    ran = run("report", "acknowledge", nights[1], *words)

    assert ran.code == 2
    assert ran.err == "error: Pass --identity I or --uri U with either --reason TEXT or --withdraw; or --list alone.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--identity", "nobody", "--reason", "why"), "found no identity 'nobody'"),
        (("--identity", "dora", "--withdraw"), "there is nothing to withdraw"),
        (("--identity", "dora", "--reason", " "), "got 0 letters"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, nights: tuple[Path, Path], words: tuple[str, ...], says: str) -> None:
    ran = run("report", "acknowledge", nights[1], *words)

    assert ran.code == 2
    assert says in ran.err
    assert not (nights[1].parents[2] / "acknowledged.json").exists()


def test_a_folder_that_is_no_run_is_refused(run: Run, nights: tuple[Path, Path], tmp_path: Path) -> None:
    ran = run("report", "diff", tmp_path, nights[1])

    assert ran.code == 2
    assert ran.err == f"error: {tmp_path}/run.json is not there: is this a finished run?\n"


def test_a_trend_is_a_table_and_a_page(run: Run, nights: tuple[Path, Path], tmp_path: Path) -> None:
    ran = run("report", "trend", nights[0].parents[1], "--html", tmp_path / "trend.html")

    assert ran.code == 0
    assert ran.err.splitlines() == [
        "            faces  pairs  identities  named  new  gone  best score  rejects",
        "000001/gen      3      4           4      2    -     -       0.600        2",
        "000002/gen      4      6           4      2    1     1       0.950        2",
        f"{tmp_path}/trend.html written",
    ]
    assert [row["new"] for row in answer_of(ran)["runs"]] == [None, 1]
    assert "<svg" in (tmp_path / "trend.html").read_text()


def test_a_trend_of_runs_without_a_null_leaves_gaps(run: Run, tmp_path: Path) -> None:
    write_run(tmp_path / "one", [], scores=[])

    ran = run("report", "trend", tmp_path / "one")

    assert ran.err.splitlines()[1] == "one      0      0           0      -    -     -           -        2"
