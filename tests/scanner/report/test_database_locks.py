"""Attempts to get out of the database: by SQL, and past the check of the SQL against the engine alone."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from null_run import add_null, identity
from run_folder import match, write_run

from scanner.errors import QueryError
from scanner.report.database import Database
from scanner.report.select_only import SQL_BYTES_MAX


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locks")
    (folder / "secret.csv").write_text("word\nopen-sesame\n")
    return add_null(write_run(folder / "run", [match(2, 7, 0.6)]), [identity(7, 0.01)])


@pytest.fixture(scope="module")
def database(run: Path) -> Iterator[Database]:
    with pytest.MonkeyPatch.context() as patch, Database([run]) as database:
        patch.chdir(run.parent)
        yield database


READS = [
    "FROM read_csv('/etc/passwd')",
    "FROM read_csv('secret.csv')",
    "FROM 'secret.csv'",
    'FROM "secret.csv"',
    "FROM read_text('secret.csv')",
    "FROM read_blob('secret.csv')",
    "FROM read_json('run/run.json')",
    "FROM read_json_auto('run/policy.json')",
    "FROM read_parquet('run/samples.parquet')",
    "FROM parquet_scan('run/samples.parquet')",
    "FROM 'run/samples.parquet'",
    "FROM parquet_metadata('run/samples.parquet')",
    "FROM parquet_schema('run/samples.parquet')",
    "FROM parquet_kv_metadata('run/samples.parquet')",
    "FROM read_parquet('run/*.parquet')",
    "FROM read_parquet('run/../run/samples.parquet')",
    "FROM read_parquet('file:///etc/passwd')",
    "FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    "FROM read_csv('https://example.org/x.csv')",
    "FROM read_parquet('s3://bucket/x.parquet')",
    "FROM glob('/etc/*')",
    "FROM glob('run/*')",
    "FROM sniff_csv('secret.csv')",
    "FROM read_duckdb('secret.db')",
    "FROM query('FROM ''secret.csv''')",
    "FROM query_table('secret.csv')",
    "SELECT * FROM (SELECT 1 UNION ALL SELECT word FROM read_csv('secret.csv'))",
    "SELECT (SELECT max(word) FROM read_csv('secret.csv'))",
    "SELECT 1 WHERE EXISTS (FROM 'secret.csv')",
    "WITH t AS (FROM 'secret.csv') FROM t",
    "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a FROM 'secret.csv') FROM t",
    "FROM matches JOIN 'secret.csv' ON true",
    "FROM matches, LATERAL (FROM 'secret.csv')",
    "SELECT [word FOR word IN (SELECT list(word) FROM 'secret.csv')]",
    "SELECT max(score) FROM matches ORDER BY (SELECT 1 FROM 'secret.csv')",
    "SELECT sum(score) OVER (ORDER BY (SELECT 1 FROM 'secret.csv')) FROM matches",
    "DESCRIBE 'secret.csv'",
    "SUMMARIZE 'secret.csv'",
    "PIVOT 'secret.csv' ON word IN ('a') USING count(*)",
]
WRITES = [
    "COPY matches TO 'stolen.csv'",
    "COPY (FROM matches) TO 'stolen.parquet' (FORMAT parquet)",
    "COPY matches FROM 'secret.csv'",
    "WITH t AS (COPY matches TO 'stolen.csv') SELECT 1",
    "EXPORT DATABASE 'stolen'",
    "IMPORT DATABASE 'stolen'",
    "ATTACH 'stolen.db'",
    "ATTACH 'http://127.0.0.1:9/x.db'",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM community",
    "LOAD httpfs",
    "LOAD './evil.duckdb_extension'",
]
CHANGES = [
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW matches AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "CREATE SEQUENCE s",
    "CREATE TYPE t AS ENUM ('a')",
    "INSERT INTO runs (run) VALUES ('x')",
    "WITH t AS (INSERT INTO runs (run) VALUES ('x') RETURNING run) FROM t",
    "WITH t AS (DELETE FROM runs RETURNING run) FROM t",
    "UPDATE runs SET run = 'x'",
    "DELETE FROM runs",
    "MERGE INTO runs USING evidence ON runs.run = evidence.run WHEN MATCHED THEN DELETE",
    "TRUNCATE runs",
    "DROP VIEW matches",
    "DROP TABLE runs",
    "ALTER TABLE runs ADD COLUMN x INTEGER",
    "COMMENT ON TABLE runs IS 'x'",
]
SETTINGS = [
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET allowed_paths = ['/etc/passwd']",
    "SET memory_limit = '100GB'",
    "SET threads = 64",
    "SET max_execution_time = 0",
    "SET temp_directory = '/'",
    "SET python_enable_replacements = true",
    "RESET enable_external_access",
    "PRAGMA enable_profiling = 'json'",
]
OTHERS = [
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "ATTACH ':memory:' AS other",
    "CREATE SECRET s (TYPE s3)",
    "SET VARIABLE x = 1",
    "PRAGMA add_parquet_key('k', '0123456789112345')",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CALL pragma_version()",
    "CALL enable_logging()",
    "USE memory",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE COPY matches TO 'stolen.csv'",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW matches",
    "PIVOT matches ON verdict USING count(*)",
    "",
    "-- nothing",
]
TELLS = [
    "FROM duckdb_settings()",
    "FROM duckdb_views()",
    "FROM duckdb_secrets()",
    "FROM duckdb_databases()",
    "FROM duckdb_external_file_cache()",
    "FROM information_schema.tables",
    "FROM pg_catalog.pg_views",
    "FROM sqlite_master",
    "FROM system.main.duckdb_views",
    "FROM bare.matches",
    "SHOW DATABASES",
    "SHOW ALL TABLES",
    "SELECT current_setting('allowed_paths')",
    "SELECT pg_get_viewdef(1)",
    "SELECT getenv('HOME')",
    "SELECT write_log('x')",
    "SELECT json_serialize_plan('SELECT current_setting(''allowed_paths'')', optimize := true)",
    "WITH sqlite_master AS (FROM sqlite_master) FROM sqlite_master",
    "WITH a AS (FROM duckdb_views), duckdb_views AS (SELECT 1) FROM a",
    "FROM (WITH pg_views AS (SELECT 1) FROM pg_views), pg_views",
    'FROM (WITH "Duckdb_Columns" AS (SELECT 1) SELECT 2), duckdb_columns',
    "FROM (WITH \"secret.csv\" AS (SELECT 1) SELECT 2), 'secret.csv'",
]
AT_ONCE = [
    "SELECT len(list_resize([1], 20000000, 7))",
    "SELECT len(array_resize(['x'], 20000000, 'yyyy'))",
    "SELECT list_reduce(['x', 'x'], lambda a, b: a || a)",
    "SELECT reduce(['x', 'x'], lambda a, b: a || a)",
    "SELECT array_reduce(['x', 'x'], lambda a, b: a || a)",
]


@pytest.mark.parametrize("sql", [*READS, *WRITES, *CHANGES, *SETTINGS, *OTHERS, *TELLS, *AT_ONCE])
def test_sql_that_reaches_out_is_refused_and_leaves_nothing(database: Database, run: Path, sql: str):
    before = sorted(path.name for path in run.parent.rglob("*"))

    with pytest.raises(QueryError) as refused:
        database.select(sql)

    assert "open-sesame" not in str(refused.value)
    assert sorted(path.name for path in run.parent.rglob("*")) == before
    assert database.select("SELECT run, identity FROM matches").to_pylist() == [{"run": "run", "identity": "person-7"}]


@pytest.mark.parametrize("sql", [*READS, *WRITES, *SETTINGS])
def test_the_engine_alone_opens_no_other_file_and_changes_no_setting(database: Database, run: Path, sql: str):
    import duckdb

    before = sorted(path.name for path in run.parent.rglob("*"))

    with pytest.raises((duckdb.Error, OSError)) as refused:
        database._root.cursor().execute(sql).fetchall()

    assert "open-sesame" not in str(refused.value)
    assert sorted(path.name for path in run.parent.rglob("*")) == before


@pytest.mark.parametrize("sql", CHANGES)
def test_the_engine_alone_writes_nothing_in_a_transaction_that_reads(database: Database, sql: str):
    import duckdb

    cursor = database._root.cursor()
    cursor.execute("BEGIN TRANSACTION READ ONLY")

    with pytest.raises(duckdb.Error):
        cursor.execute(sql).fetchall()


def test_variables_of_the_caller_are_no_tables(database: Database):
    import pyarrow as pa

    passwords = pa.table({"word": ["open-sesame"]})

    with pytest.raises(QueryError, match="There is no table 'passwords'"):
        database.select("FROM passwords")
    with pytest.raises(Exception, match="passwords does not exist"):
        database._root.cursor().execute("FROM passwords")
    assert passwords.num_rows == 1


def test_what_only_reads_passes(database: Database):
    for sql, rows in {
        "SHOW TABLES": 9, "DESCRIBE matches": 16, "SUMMARIZE rejects": 8, "FROM matches": 1, "TABLE matches": 1, "VALUES (1), (2)": 2,
        "WITH matches AS (SELECT 1) FROM matches": 1, 'WITH columns AS (SELECT 1), "größte" AS (FROM columns) FROM größte': 1, "SELECT 1 UNION ALL SELECT 2": 2, "FROM main.matches": 1,
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5) FROM t": 5,
        "PIVOT matches ON verdict IN ('match') USING count(*)": 1, "SELECT unnest([1, 2, 3])": 3, "FROM unnest([1, 2])": 2,
        "SELECT DISTINCT ON (run) * FROM matches ORDER BY run, score DESC LIMIT 10 OFFSET 0": 1,
        "SELECT row_number() OVER (PARTITION BY run ORDER BY score), 'FROM ''a.csv''' FROM matches QUALIFY true": 1,
        "FROM runs, json_each(runs.document) AS parts WHERE parts.key = 'seed'": 1, "SELECT 1;": 1, "-- why\nSELECT 1 -- so": 1,
        "FROM matches TABLESAMPLE 100%": 1, "FROM matches POSITIONAL JOIN queries": 3, "FROM matches LIMIT 50%": 0,
    }.items():  # fmt: skip
        assert database.select(sql).num_rows == rows, sql


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selec 1", 'The SQL is wrong at line 1, column 1: syntax error at or near "selec".'),
        (
            "SELECT 'ä',\n scor FROM matches",
            'The SQL cannot be answered at line 2, column 2: Referenced column "scor" not found in FROM clause. '
            'Did you mean "score", "copy_score"?',
        ),
        (
            "SELECT identity FROM match",
            "There is no table 'match' at line 1, column 22. The tables are evidence, identities, joint, matches, nights, "
            "photos, queries, rejects, runs.",
        ),
        (
            "SELECT CAST('x' AS INTEGER)",
            "The SQL cannot be answered at line 1, column 8: Could not convert string 'x' to INT32.",
        ),
        ("SELECT 1; SELECT 2", "One statement at a time is answered, and these are 2."),
        ("SELECT ?", "The SQL cannot be answered: Values were not provided for the following parameters: 1."),
        ("DELETE FROM runs", "Reports can only be read: write one SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE)."),
        ("SELECT sleep_ms(1)", "sleep_ms() is not allowed here at line 1, column 8."),
    ],
)
def test_an_error_is_one_sentence_with_the_place(database: Database, sql: str, said: str):
    with pytest.raises(QueryError) as refused:
        database.select(sql)

    assert str(refused.value) == said


def test_a_query_ends_at_its_time_limit(run: Path):
    endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
    with Database([run], time_limit_s=0.3) as database:
        began = time.monotonic()
        with pytest.raises(
            QueryError, match=r"^The query took longer than 0\.3 s\. Ask for less, or allow more time\.$"
        ):
            database.select(endless)

        assert time.monotonic() - began < 5
        assert database.select("FROM matches").num_rows == 1


def test_a_query_holds_no_more_than_it_may_and_spills_where_it_is_told(run: Path, tmp_path: Path):
    digits = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS t(n)"
    numbers = "SELECT row_number() OVER () AS n, md5(a.n || b.n || c.n || d.n || e.n || f.n) AS text FROM " + ", ".join(
        digits.replace("AS t", f"AS {name}") for name in "abcdef"
    )
    spill = tmp_path / "spill"
    spill.mkdir()
    with Database([run], memory_bytes=40_000_000, spill=spill, time_limit_s=300) as database:
        (private,) = spill.iterdir()
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        sql = f"SELECT text FROM ({numbers}) ORDER BY text OFFSET 999998"
        assert database.select(sql)["text"].to_pylist() == [
            "ffffbd0f062adb4c4a307c5a05f7b0ad",
            "fffffa6bed6b7780465149fab05cf406",
        ]
    assert list(spill.iterdir()) == []

    with Database([run], memory_bytes=40_000_000) as database:
        with pytest.raises(QueryError, match=r"^The query needs more than the 38 MiB it may use\."):
            database.select(f"SELECT list(text ORDER BY text) FROM ({numbers})")
        with pytest.raises(QueryError, match=r"^The answer is larger than 40000000 bytes\. Ask for fewer rows"):
            database.select(numbers.replace("row_number() OVER ()", "0"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
        "SELECT " + "[" * 20_000 + "1" + "]" * 20_000,
        "SELECT 1" + "+1" * 20_000,
        "FROM " + "(FROM " * 3_000 + "matches" + ")" * 3_000,
        "SELECT '" + "x" * SQL_BYTES_MAX + "'",
        "SELECT '\udcff'",
        "SELECT '\0'; DROP VIEW matches",
    ],
)
def test_sql_that_is_too_deep_too_long_or_no_text_is_refused(database: Database, sql: str):
    with pytest.raises(QueryError):
        database.select(sql)

    assert database.select("FROM matches").num_rows == 1
