import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from null_run import add_joint, add_null, evidence, identity
from run_folder import crop, match, reject, write_run

from scanner.artefacts import CROPS, IDENTITIES, JOINT, MATCHES, PHOTOS, QUERIES, REJECTS
from scanner.errors import ArtefactError, QueryError
from scanner.report.database import Database


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """`runs/run-1` without a null, `runs/run-2` with one, and two nights."""
    folder = tmp_path / "runs"
    write_run(folder / "run-1", [match(2, 7, 0.6)], rejects=[reject("gen/a.png"), reject("gen/b.png", "truncated")])
    found = [match(2, 7, 0.6, q_value=0.01), match(1, 8, 0.5, q_value=0.5, flags=["hub"])]
    write_run(folder / "run-2", found, scores=[0.1, 0.5, 0.6], crops=[crop("query", f"{2:032x}:0", 90)])
    add_joint(add_null(folder / "run-2", [identity(7, 0.01), identity(8, 0.5)]))
    for night, scores in ((1, [0.2]), (2, [0.2, 0.3])):
        of_night = folder / "state" / "nights" / f"{night:06d}"
        write_run(of_night / "faces", [match(0, night, 0.5 + night / 10)], scores=scores)
        (of_night / "night.json").write_text(json.dumps({"said": night}))
    return folder


def rows(runs: Path, sql: str, parameters: Any = None, **limits: Any) -> list[Any]:
    with Database([runs], **limits) as database:
        return [tuple(row.values()) for row in database.select(sql, parameters).to_pylist()]


def test_all_tables_are_there_and_begin_with_the_run(runs: Path):
    with Database([runs]) as database:
        names = {table: database.columns(table).names for table in database.tables}

    kept = [name for name in QUERIES.names if name != "crop_hash"]
    assert names["queries"] == ["run", "row_id", *kept]
    for table, schema in {
        "matches": MATCHES,
        "identities": IDENTITIES,
        "joint": JOINT,
        "photos": PHOTOS,
        "rejects": REJECTS,
    }.items():
        assert names[table] == ["run", "row_id", *schema.names], table
    assert set(names) == {
        "runs",
        "matches",
        "identities",
        "joint",
        "queries",
        "photos",
        "rejects",
        "evidence",
        "nights",
    }
    assert all(columns[0] == "run" for table, columns in names.items() if table != "nights")


def test_rows_carry_the_name_of_their_run(runs: Path):
    sql = "SELECT run, identity, score, flags FROM matches ORDER BY run, score"

    assert rows(runs, sql) == [
        ("000001/faces", "person-1", pytest.approx(0.6), []),
        ("000002/faces", "person-2", pytest.approx(0.7), []),
        ("run-1", "person-7", pytest.approx(0.6), []),
        ("run-2", "person-8", pytest.approx(0.5), ["hub"]),
        ("run-2", "person-7", pytest.approx(0.6), []),
    ]
    assert rows(runs, "SELECT run, reason FROM rejects ORDER BY reason") == [
        ("run-1", "no_face"),
        ("run-1", "truncated"),
    ]
    assert rows(runs, "SELECT run, identity FROM identities WHERE q_value <= 0.05") == [("run-2", "person-7")]
    assert rows(runs, "SELECT run, side, scores FROM photos ORDER BY side") == [
        ("run-2", "candidate", [0.5, 0.25]), ("run-2", "null", [0.5, 0.25]),
    ]  # fmt: skip
    assert rows(runs, "SELECT run, agreement, q_value FROM joint") == [("run-2", 2, [0.2, 0.4])]


def test_run_and_row_name_a_row(runs: Path):
    sql = "SELECT run, row_id, identity FROM matches WHERE run LIKE 'run-%' ORDER BY ALL"

    assert rows(runs, sql) == [("run-1", 0, "person-7"), ("run-2", 0, "person-7"), ("run-2", 1, "person-8")]
    assert rows(runs, "SELECT identity FROM matches WHERE run = 'run-2' AND row_id = 1") == [("person-8",)]


def test_runs_say_what_run_json_says(runs: Path):
    sql = """SELECT run, position, night, source, "references", threshold, faces, matches, verdict, scanner_version,
             json_extract_string(document, '$.road.faces.detector') FROM runs ORDER BY position"""

    assert rows(runs, sql) == [
        ("run-1", 0, None, "gen/", 202_599, 0.43, 3, 1, None, None, "scrfd.onnx"),
        ("run-2", 1, None, "gen/", 202_599, 0.43, 3, 2, "named", None, "scrfd.onnx"),
        ("000001/faces", 2, 1, "faces", 202_599, 0.43, 1, 1, None, None, "scrfd.onnx"),
        ("000002/faces", 3, 2, "faces", 202_599, 0.43, 2, 1, None, None, "scrfd.onnx"),
    ]


def test_evidence_says_what_evidence_json_says(runs: Path):
    with Database([runs]) as database:
        (row,) = database.select("FROM evidence").to_pylist()

    document = json.loads(row.pop("document"))
    assert document == evidence()
    assert row == {
        "run": "run-2", "verdict": "named", "sentence": "The verdict is named.", "level": 0.05, "identities": 10, "below_level": 1,
        "below_level_by": 0, "below_level_conformal": 0, "null_identities": 100, "p_floor": 1 / 101, "searches": 3,
        "searches_below_level": 0, "clusters": 3, "share": 0.75, "share_low": 0.5, "share_high": 0.9, "population_p_value": 0.01,
        "leaking": 0.5, "leaking_low": 0.0, "leaking_high": 0.8, "fpir": 0.02, "fpir_low": 0.01, "fpir_high": 0.03,
        "false_pairs_expected": 4.0, "smallest_leak": 0.125, "guards_fired": ["hubs"],
    }  # fmt: skip


def test_nights_add_their_runs_up(runs: Path):
    write_run(runs / "state" / "nights" / "000002" / "works", [], scores=[0.1])

    assert rows(runs, "SELECT job, night, runs, faces, matches, document FROM nights ORDER BY night") == [
        ("state", 1, ["000001/faces"], 1, 1, '{"said": 1}'),
        ("state", 2, ["000002/faces", "000002/works"], 3, 1, '{"said": 2}'),
    ]


def test_a_table_that_no_run_has_is_empty_and_has_its_columns(tmp_path: Path):
    run = write_run(tmp_path / "run", [])

    with Database([run]) as database:
        assert database.select("FROM identities").to_pylist() == []
        assert database.columns("identities").names == ["run", "row_id", *IDENTITIES.names]
        assert database.select("SELECT count(*) AS n FROM joint, photos, evidence, nights").to_pylist() == [{"n": 0}]


def test_runs_of_an_older_scanner_lack_columns_that_are_then_empty(runs: Path):
    path = runs / "run-1" / "matches.parquet"
    old = pq.read_table(path).drop_columns(["copy_score", "flags"])
    metadata = {key: value for key, value in old.schema.metadata.items() if key != b"identity_leak.columns"}
    pq.write_table(old.replace_schema_metadata(metadata), path)
    summary = json.loads((runs / "run-1" / "run.json").read_text())
    del summary["results"]["comparisons"], summary["seed"], summary["versions"]
    (runs / "run-1" / "run.json").write_text(json.dumps(summary))

    sql = "SELECT run, flags, copy_score, score FROM matches WHERE run IN ('run-1', 'run-2') AND score > 0.55 ORDER BY run"
    assert rows(runs, sql) == [("run-1", None, None, pytest.approx(0.6)), ("run-2", [], None, pytest.approx(0.6))]
    assert rows(runs, "SELECT comparisons, seed, matches FROM runs WHERE run = 'run-1'") == [(None, None, 1)]


def test_a_run_of_embeddings_has_no_detector(tmp_path: Path):
    run = write_run(tmp_path / "run", [], road={"embedder": {"name": "given", "fingerprint": "f"}, "faces": None})

    assert rows(run, "SELECT embedder, faces_mode FROM runs") == [("given", None)]


@pytest.mark.parametrize("name", ["we[i]rd*? 'x{a,b}", "night=3", 'ü, "quoted"; --', "%41"])
def test_a_run_folder_may_be_called_anything(tmp_path: Path, name: str):
    write_run(tmp_path / "runs" / name, [match(2, 7, 0.6)])
    write_run(tmp_path / "runs" / "weird", [match(2, 8, 0.6)])

    found = rows(tmp_path / "runs", "SELECT run, identity FROM matches WHERE run = ?", [name])
    with Database([tmp_path / "runs" / name]) as database:
        columns = database.columns("matches").names

    assert found == [(name, "person-7")]
    assert columns == ["run", "row_id", *MATCHES.names]


def test_only_files_of_the_run_that_is_asked_for_are_read_and_the_first_one_for_its_columns(runs: Path):
    with Database([runs]) as database:
        (runs / "run-2" / "matches.parquet").write_bytes(b"PAR1 no more")

        sql = "SELECT identity FROM matches WHERE run = '000001/faces'"
        assert database.select(sql).to_pylist() == [{"identity": "person-1"}]
        with pytest.raises(QueryError, match=r"^The SQL cannot be answered: .*run-2/matches.parquet'\.$"):
            database.select("SELECT max(score) FROM matches WHERE run = 'run-2'")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("run.json", "{", "cannot be read"),
        ("run.json", '{"format": "identity-leak-run", "format_version": 99}', "newer scanner"),
        ("run.json", '{"format": "identity-leak-run", "format_version": 1}', "run.json does not hold what it should"),
        ("evidence.json", '{"format": "x"}', "no evidence that this scanner can read"),
        ("evidence.json", '{"format": "identity-leak-evidence", "verdict": 3}', "does not hold what it should"),
        ("matches.parquet", "PAR1", "no readable Parquet file"),
    ],
)
def test_a_damaged_run_is_refused_with_the_file_named(runs: Path, file: str, text: str, said: str):
    (runs / "run-2" / file).write_text(text)

    with pytest.raises(ArtefactError, match=said) as refused:
        Database([runs])
    assert "run-2" in str(refused.value)


def test_a_table_of_another_kind_is_refused(runs: Path):
    (runs / "run-2" / "rejects.parquet").write_bytes((runs / "run-2" / "matches.parquet").read_bytes())

    with pytest.raises(ArtefactError, match="holds matches, expected rejects"):
        Database([runs])


def test_values_go_in_by_name_and_in_order(runs: Path):
    hostile = "'; DROP TABLE runs; --"

    assert rows(
        runs, "SELECT count(*) FROM matches WHERE identity = $who AND score > $low", {"who": "person-7", "low": 0.5}
    ) == [(2,)]
    assert rows(runs, "SELECT count(*) FROM matches WHERE identity = ? AND score > ?", ["person-7", 0.5]) == [(2,)]
    assert rows(runs, "SELECT count(*) FROM matches WHERE identity = $who", {"who": hostile}) == [(0,)]


def test_a_stream_gives_the_rows_of_the_table_in_batches(tmp_path: Path):
    run = write_run(tmp_path / "run", [match(n, n, 0.5) for n in range(10_000)])

    with Database([run]) as database:
        whole = database.select("SELECT reference_id FROM matches ORDER BY reference_id")
        with database.stream("SELECT reference_id FROM matches ORDER BY reference_id", rows=2048) as answer:
            batches = list(answer.batches)

    assert len(batches) == 5
    assert pa.Table.from_batches(batches, answer.schema) == whole
    assert whole["reference_id"].to_pylist() == list(range(10_000))


def test_many_threads_ask_at_once(runs: Path):
    found: list[int] = []
    with Database([runs]) as database:

        def ask() -> None:
            found.extend(database.select("SELECT count(*) AS n FROM matches")["n"].to_pylist() for _ in range(5))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == [[5]] * 40


def test_vectors_and_crops_are_there_only_when_asked_for(runs: Path):
    with Database([runs], biometric=True) as database:
        (sample,) = database.select("FROM samples").to_pylist()
        assert (sample["run"], sample["embedding"]) == ("run-2", [1.0, 0.0])
        (picture,) = database.select("SELECT run, side, octet_length(crop_png) AS bytes FROM crops").to_pylist()
        assert picture["run"] == "run-2"
        assert picture["bytes"] > 100
        assert "crop_hash" in database.columns("queries").names

    with Database([runs]) as database:
        for table in ("samples", "crops"):
            with pytest.raises(QueryError, match=f"There is no table '{table}'"):
                database.select(f"FROM {table}")
        for table in database.tables:
            assert not {"embedding", "crop_png", "crop_hash"} & set(database.columns(table).names)


def test_without_samples_and_crops_their_tables_are_empty(tmp_path: Path):
    run = write_run(tmp_path / "run", [])

    with Database([run], biometric=True) as database:
        assert database.select("FROM samples").num_rows == 0
        assert database.columns("crops").names == ["run", *CROPS.names]
