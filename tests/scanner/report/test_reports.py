from pathlib import Path

import pytest
from null_run import add_joint, add_null, identity
from run_folder import match, reject, write_run

import scanner
from scanner.errors import ArtefactError, QueryError
from scanner.report.reports import Reports


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "a", [match(2, 7, 0.6), match(1, 8, 0.5)], rejects=[reject("x.png")])
    add_joint(add_null(write_run(tmp_path / "b", [match(2, 9, 0.75)]), [identity(9, 0.01)]))
    return tmp_path


def test_a_run_gives_its_tables(folder: Path):
    with scanner.open_run(folder / "b") as run:
        assert run.folders == {"b": folder / "b"}
        assert run.matches(["identity", "score"]).to_pylist() == [{"identity": "person-9", "score": 0.75}]
        assert run.identities(["q_value"]).to_pylist() == [{"q_value": 0.01}]
        assert run.queries(["uri"])["uri"].to_pylist() == ["gen/0.png", "gen/1.png", "gen/2.png"]
        assert run.joint(["agreement"]).to_pylist() == [{"agreement": 2}]
        assert run.photos(["side"]).num_rows == 2
        assert run.evidence(["run", "verdict"]).to_pylist() == [{"run": "b", "verdict": "named"}]
        assert (run.rejects().num_rows, run.nights().num_rows) == (0, 0)


def test_runs_are_asked_together(folder: Path):
    with scanner.open_runs([folder]) as runs:
        assert runs.runs(["run", "matches"]).to_pylist() == [{"run": "a", "matches": 2}, {"run": "b", "matches": 1}]
        sql = "SELECT run, max(score) AS best FROM matches WHERE score >= ? GROUP BY run ORDER BY run"
        assert runs.sql(sql, [0.625]).to_pylist() == [{"run": "b", "best": 0.75}]
        assert runs.ask("top-identities", top=1)["identity"].to_pylist() == ["person-9"]
        with runs.stream("SELECT identity FROM matches ORDER BY score") as answer:
            found = [name for batch in answer.batches for name in batch["identity"].to_pylist()]
    assert found == ["person-8", "person-7", "person-9"]


def test_every_docstring_names_the_columns_that_there_are(folder: Path):
    with scanner.open_run(folder / "a", biometric=True) as run:
        for name in ("runs", "matches", "identities", "joint", "queries", "photos", "rejects", "evidence", "nights"):
            method = getattr(Reports, name)
            for column in getattr(run, name)().schema.names:
                assert column in method.__doc__, (name, column)


def test_limits_are_passed_on(folder: Path):
    with scanner.open_run(folder / "b", biometric=True) as run:
        assert run.sql("SELECT embedding FROM samples").to_pylist() == [{"embedding": [1.0, 0.0]}]


def test_one_run_is_one_run(folder: Path):
    with pytest.raises(
        ArtefactError, match=rf"^{folder} holds 2 runs, and one is asked for\. Name one of them, or use open_runs\.$"
    ):
        scanner.open_run(folder)


def test_a_column_that_is_not_there_is_named(folder: Path):
    with scanner.open_run(folder / "a") as run, pytest.raises(QueryError, match='"scores" not found'):
        run.matches(["scores"])
    with scanner.open_run(folder / "a") as run, pytest.raises(QueryError, match="not found"):
        run.matches(['" FROM runs --'])
