from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan


@pytest.fixture(scope="module")
def done(index: Path, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two people and two strangers against an index of eight people."""
    out = tmp_path_factory.mktemp("query") / "run"
    scan(str(generated), against=index, out=out, options=ScanOptions(threshold=0.7))
    return out


def test_sql_is_answered_on_stdout_as_it_is(run, done: Path):
    ran = run("report", "query", done, "SELECT run, count(*) AS faces FROM queries GROUP BY run")

    assert (ran.code, ran.out, ran.err) == (0, "run,faces\nrun,4\n", "")


def test_sql_may_be_longer_than_a_path(run, done: Path):
    ran = run("report", "query", done, "SELECT count(*) AS n FROM queries WHERE " + " AND ".join(["face = 0"] * 500))

    assert (ran.code, ran.out, ran.err) == (0, "n\n4\n", "")


def test_a_ready_question_is_answered(run, done: Path):
    ran = run("report", "query", done.parent, "--question", "top-identities", "--set", "top=2", "--format", "json")

    rows = json.loads(ran.out)
    assert ran.code == 0
    assert {row["identity"] for row in rows} == {"person-002", "person-003"}
    assert {row["faces"] for row in rows} == {1}


def test_values_go_into_sql_by_name(run, done: Path):
    sql = "SELECT DISTINCT identity FROM matches WHERE identity = $who AND score > $low"
    ran = run("report", "query", done, sql, "--set", "who=person-003", "--set", "low=0.5")

    assert ran.out == "identity\nperson-003\n"


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_file_is_written_for_its_owner_alone_and_the_last_line_says_so(run, done: Path, tmp_path: Path, form: str):
    out = tmp_path / f"answer.{form}"
    ran = run("report", "query", done, "SELECT uri FROM queries ORDER BY uri", "--out", out)

    said = {"out": str(out), "format": form, "rows": 4, "columns": ["uri"], "runs": ["run"]}
    assert json.loads(ran.out) == said
    assert ran.err == f"{out}: 4 rows\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = {
        "csv": lambda: out.read_text().splitlines()[1:],
        "json": lambda: [row["uri"] for row in json.loads(out.read_text())],
        "parquet": lambda: pq.read_table(out).to_pydict()["uri"],
    }[form]()
    assert found == sorted(pq.read_table(done / "queries.parquet")["uri"].to_pylist())


def test_a_query_that_fails_leaves_no_file(run, done: Path, tmp_path: Path):
    out = tmp_path / "answer.csv"
    ran = run("report", "query", done, "SELECT CAST(uri AS INTEGER) FROM queries", "--out", out)

    assert ran.code == 2
    assert ran.err.startswith("error: The SQL cannot be answered at line 1, column 8: Could not convert string '")
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_for_the_terminal(run, done: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    ran = run(
        "report", "query", done, "SELECT 'esc\x1b[31m' AS name, 0.5 AS score, NULL AS nothing", "--format", "table"
    )

    lines = [line.split() for line in ran.out.splitlines() if line.strip()]
    assert lines[0] == ["name", "score", "nothing"]
    assert lines[2] == ["esc\\x1b[31m", "0.5"]


def test_rows_too_wide_for_a_table_stand_one_below_the_other(run, done: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    ran = run("report", "query", done, "FROM matches ORDER BY identity LIMIT 2", "--format", "table")

    lines = ran.out.splitlines()
    assert lines[0] == "-- row 1"
    assert "identity       person-002" in lines
    assert sum(line.startswith("-- row") for line in lines) == 2


def test_a_long_table_says_that_it_is_cut(run, done: Path):
    sql = "SELECT unnest([1,2,3,4,5,6,7,8,9]) AS n FROM queries, queries AS b, queries AS c"
    ran = run("report", "query", done, sql, "--format", "table")

    assert ran.err == "These are the first 200 rows. LIMIT and OFFSET show others, --out FILE keeps all.\n"
    assert sum(line.strip().isdecimal() for line in ran.out.splitlines()) == 200


def test_the_questions_are_listed(run):
    ran = run("report", "query", "--list")

    listed = json.loads(ran.out)["questions"]
    assert len(listed) == 10
    assert {"name": "new-since", "asks": "Which identities are matched after a run, and neither in it nor before it?",
            "parameters": ["run"]} in listed  # fmt: skip
    assert "    --set margin=...  how far below  [default: 0.05]" in ran.err.splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SELECT 1"], "error: Give run folders and then SQL in quotes, as in"),
        (["RUN"], "error: Give run folders and then SQL in quotes, as in"),
        ([], "error: Give run folders and then SQL in quotes, as in"),
        (
            ["RUN", "SELECT", "1"],
            "error: There is no run 'SELECT'. Give run folders first, then the SQL in quotes as one word.",
        ),
        (
            ["RUN", "SELECT 1", "-q", "verdicts"],
            "error: There is no run 'SELECT 1'. Beside --question only run folders are given.",
        ),
        (["RUN", "-q", "verdict"], "error: There is no question 'verdict'. Did you mean verdicts?"),
        (
            ["RUN", "-q", "verdicts", "--set", "top"],
            "error: --set top: a name and a value are expected, as in --set top=5.",
        ),
        (["RUN", "selec 1"], 'error: The SQL is wrong at line 1, column 1: syntax error at or near "selec".'),
        (["RUN", "FROM '/etc/passwd'"], "error: There is no table '/etc/passwd' at line 1, column 6."),
        (["RUN", "FROM runs", "--out", "a.txt"], "error: a.txt: the name does not say in which form to write."),
        (["RUN", "FROM runs", "--out", "a.csv", "--format", "table"], "error: A table is for the terminal."),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run, done: Path, words: list[str], said: str):
    ran = run("report", "query", *(done if word == "RUN" else word for word in words))

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(said)


def test_parquet_does_not_go_to_a_terminal(run, done: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    ran = run("report", "query", done, "FROM runs", "--format", "parquet")

    assert (ran.code, ran.err) == (2, "error: Parquet is not for a terminal. Add --out FILE.\n")


def test_a_reader_that_has_seen_enough_is_no_error(done: Path):
    sql = "SELECT md5(a.query_id || b.query_id || c.query_id || d.query_id) AS text FROM " + ", ".join(
        f"(FROM queries UNION ALL FROM queries UNION ALL FROM queries) AS {name}" for name in "abcd"
    )
    command = [sys.executable, "-m", "scanner", "report", "query", str(done), sql]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "text\n"
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (0, "")


def test_limits_are_the_users(run, done: Path):
    endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
    ran = run("report", "query", done, endless, "--time-limit", "0.2")

    assert (ran.code, ran.err) == (2, "error: The query took longer than 0.2 s. Ask for less, or allow more time.\n")
