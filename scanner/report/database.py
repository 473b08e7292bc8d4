"""SQL over run folders: a DuckDB database in memory whose views read the Parquet and JSON files of many runs.

Read-only and locked: once the views are made the engine opens no file but theirs, no network, no extension, no setting,
and `scanner.report.select_only` lets one SELECT over the views pass.  Vectors and crops are in no view, and their files are
not among those that can be opened.  Only this module imports duckdb.

    with Database(["runs/"]) as database:
        table = database.select("SELECT identity, max(score) FROM matches WHERE run = $run GROUP BY ALL", {"run": "run-2"})
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa

from scanner import artefacts
from scanner.errors import ArtefactError, QueryError
from scanner.report.run_rows import read_rows
from scanner.report.runs import find_runs, run_labels
from scanner.report.select_only import SQL_BYTES_MAX, refuse_all_but_select
from scanner.report.sql_errors import has_place, in_words

if TYPE_CHECKING:
    import duckdb

TABLES: Final = {
    "matches": artefacts.MATCHES,
    "identities": artefacts.IDENTITIES,
    "joint": artefacts.JOINT,
    "queries": artefacts.QUERIES,
    "photos": artefacts.PHOTOS,
    "rejects": artefacts.REJECTS,
}
"""Views over a Parquet file of each run, with the columns of these schemas after those of `KEY`."""
ALWAYS: Final = frozenset({"matches", "queries", "rejects"})
"""Every run has these: one that is not there is damage, not a run without matches."""
KEY: Final = (pa.field("run", pa.string()), pa.field("row_id", pa.int64()))
"""The run, and the number of the row in the run's table, from 0: together they name a row."""
BIOMETRIC_TABLES: Final = ("samples", "crops")
BIOMETRIC_COLUMNS: Final = ("embedding", "crop_png", "crop_hash")
BATCH_ROWS: Final = 65_536
Parameters = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is fetched bit by bit: its columns, and record batches that can be gone through once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class Database:
    """Runs as tables: `runs`, `evidence`, `nights` and those of `TABLES`; a context manager, usable from many threads.

    Args:
        paths: run folders, or folders of them, as of `scanner.report.runs.find_runs`.
        memory_bytes: the most that all queries together may hold, and the most that one answer may take.
        spill: folder for what does not fit into that memory: names and scores, in a private folder that `close` removes.
            If not given, nothing is written, and a query that needs more is an error.
        threads: of all queries together.
        time_limit_s: after which a query ends with an error.
        biometric: whether `queries` shows `crop_hash` and there are also `samples` with its embeddings and `crops` with
            its pictures, both loaded into memory; then nothing is ever spilled.

    A table that no run has is a view without rows; a column that a run does not have, because an older scanner wrote it, is
    empty.

    Raises:
        ArtefactError: there is no run, or one is damaged or was written by a newer scanner.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        memory_bytes: int = 1 << 30,
        threads: int = 2,
        time_limit_s: float = 60.0,
        spill: Path | str | None = None,
        biometric: bool = False,
    ) -> None:
        import duckdb

        self.folders = find_runs(paths)
        self.labels = run_labels(self.folders)
        self.memory_bytes, self.time_limit_s = memory_bytes, time_limit_s
        self._files: list[str] = []
        self._stack = ExitStack()
        spilled = ""  # the engine's own choice would be a folder beside whoever called
        if spill is not None and not biometric:
            spilled = self._stack.enter_context(TemporaryDirectory(prefix="queries-", dir=spill))
        self._root = duckdb.connect(":memory:", config=_config(memory_bytes, threads, time_limit_s, spilled))
        self._stack.callback(self._root.close)
        try:
            self._root.execute("SET parquet_metadata_cache = true; CREATE SCHEMA bare")
            for name, rows in read_rows(self.folders, self.labels).items():
                self._load(name, rows)
            for name in TABLES:
                self._view(name, biometric=biometric)
            if biometric:
                for name in BIOMETRIC_TABLES:
                    self._load_biometric(name)
            self._lock()
        except BaseException:
            self.close()
            raise
        self.tables = tuple(row[0] for row in self._root.execute("SHOW TABLES").fetchall())
        engines = "SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"
        self._engines = frozenset(name for (name,) in self._root.execute(engines).fetchall())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and files back."""
        self._stack.close()

    def columns(self, table: str) -> pa.Schema:
        """Return the columns of a table."""
        return self.select(f'FROM "{table}" LIMIT 0').schema

    def select(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Answer one SELECT.

        Args:
            sql: SQL as DuckDB speaks it, over the tables of this database.
            parameters: values for `$name` (a mapping) or for `?` and `$1` (a sequence).

        Raises:
            QueryError: the SQL is wrong or not allowed, or a limit of time or memory was reached.
        """
        with self.stream(sql, parameters) as answer:
            batches, taken = [], 0
            for batch in answer.batches:
                taken += batch.nbytes
                if taken > self.memory_bytes:
                    raise QueryError(
                        f"The answer is larger than {self.memory_bytes} bytes. Ask for fewer rows or columns, fetch it as a "
                        "stream, or allow more memory."
                    )
                batches.append(batch)
            return pa.Table.from_batches(batches, answer.schema)

    @contextmanager
    def stream(self, sql: str, parameters: Parameters | None = None, *, rows: int = BATCH_ROWS) -> Iterator[Stream]:
        """Answer one SELECT in record batches of about `rows` rows, never all in memory; as `select` otherwise.

        The time limit counts until the last batch was fetched.  Errors come while batches are fetched, too.
        """
        cursor = self._root.cursor()
        try:
            self._refuse(cursor, sql)
            yield self._answer(cursor, sql, parameters, rows)
        finally:
            cursor.close()

    def _answer(self, cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters | None, rows: int) -> Stream:
        import duckdb

        def fetched() -> Iterator[pa.RecordBatch]:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (duckdb.Error, pa.ArrowException, OSError) as error:
                    raise self._in_words(error, sql) from error
                yield batch

        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            reader = cursor.sql(sql, params=parameters).to_arrow_reader(rows)
        except duckdb.Error as error:
            raise self._in_words(error, sql, parameters) from error
        return Stream(reader.schema, fetched())

    def _in_words(self, error: Exception, sql: str, parameters: Parameters | None = None) -> QueryError:
        import duckdb

        def said(error: Exception, before: int = 0) -> QueryError:
            return in_words(error, sql, memory_bytes=self.memory_bytes, time_limit_s=self.time_limit_s, before=before)

        if not has_place(error):  # `sql` of the Python layer leaves out what `execute` says
            try:
                self._root.cursor().execute(f"EXPLAIN {sql}", parameters)
            except duckdb.Error as located:
                return said(located, before=len("EXPLAIN "))
        return said(error)

    def _refuse(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
        import duckdb

        try:
            size = len(sql.encode())
        except UnicodeEncodeError as error:
            raise QueryError(f"The SQL is no text: {error.reason} at character {error.start + 1}.") from error
        if size > SQL_BYTES_MAX:
            raise QueryError(f"The SQL has {size} bytes, and {SQL_BYTES_MAX} are allowed. Give values as parameters.")
        try:
            ((tree,),) = cursor.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()
            refuse_all_but_select(json.loads(tree), sql, self.tables, engines=self._engines)
        except RecursionError as error:
            raise QueryError("The SQL is nested too deeply. Write it with fewer brackets.") from error
        except duckdb.Error as error:
            raise self._in_words(error, sql) from error

    def _load(self, name: str, rows: pa.Table) -> None:
        self._root.register("incoming", rows)
        self._root.execute(f"CREATE TABLE {name} AS FROM incoming")
        self._root.unregister("incoming")

    def _view(self, name: str, *, biometric: bool) -> None:
        """Make one view over a table's files: those with equal columns are read together."""
        wanted = [field for field in TABLES[name] if biometric or field.name not in BIOMETRIC_COLUMNS]
        self._load(f"bare.{name}", pa.schema([*KEY, *wanted]).empty_table())
        alike: dict[tuple[str, ...], dict[str, str]] = {}
        for folder, label in zip(self.folders, self.labels, strict=True):
            path = folder / f"{name}.parquet"
            if name in ALWAYS or path.exists():
                with artefacts.open_artefact(path, name) as file:
                    there = _there(path, file.schema_arrow, wanted)
                alike.setdefault(there, {})[str(path)] = label
        parts = [_reading(columns, files) for columns, files in alike.items()]
        # Through a union the best few of ten million matches cost nearly three times as much (benchmarks/LOG.md).
        if [len(columns) for columns in alike] != [len(wanted)]:
            parts.insert(0, f"FROM bare.{name}")
        self._root.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(parts)}")
        self._files += [path for files in alike.values() for path in files]

    def _load_biometric(self, name: str) -> None:
        tables = []
        for folder, label in zip(self.folders, self.labels, strict=True):
            path = folder / f"{name}.parquet"
            if path.exists():
                table = artefacts.read_table(path, name)
                tables.append(table.add_column(0, "run", pa.array([label] * table.num_rows, pa.string())))
        schema = artefacts.CROPS if name == "crops" else artefacts.samples_schema(1)
        empty = pa.schema([("run", pa.string()), *schema])
        self._load(name, pa.concat_tables(tables, promote_options="default") if tables else empty.empty_table())

    def _lock(self) -> None:
        paths = ", ".join(map(_text, self._files))
        for setting in (
            f"allowed_paths = [{paths}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._root.execute(f"SET {setting}")


def _config(memory_bytes: int, threads: int, time_limit_s: float, spilled: str) -> dict[str, Any]:
    return {
        "memory_limit": f"{memory_bytes}B",
        "threads": threads,
        "max_execution_time": max(1, round(1000 * time_limit_s)),
        "errors_as_json": True,  # with the place in the SQL
        "temp_directory": spilled,
        "python_enable_replacements": False,  # else SQL sees the variables of its callers
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allow_persistent_secrets": False,
    }


def _there(path: Path, found: pa.Schema, wanted: Sequence[pa.Field]) -> tuple[str, ...]:
    """Return those of the wanted columns that a file has; ArtefactError where one is of another type."""
    there = [field for field in wanted if field.name in found.names]
    for name, kind in ((field.name, field.type) for field in there if field.type != found.field(field.name).type):
        raise ArtefactError(f"{path} holds {found.field(name).type} as {name}, expected {kind}. Make it again.")
    return tuple(field.name for field in there)


def _reading(columns: Sequence[str], files: Mapping[str, str]) -> str:
    """Return the SELECT over files of equal columns; `files` are paths with the label of their run."""
    # A label looked up by file name: `WHERE run = ...` then opens the first file, for its columns, and those of that run.
    labels = ", ".join(f"{_text(path)}: {_text(label)}" for path, label in files.items())
    names = ", ".join(f'"{name}"' for name in columns)
    paths = ", ".join(map(_text, files))
    return f"SELECT MAP {{{labels}}}[filename] AS run, file_row_number AS row_id, {names} FROM read_parquet([{paths}], filename = true, hive_partitioning = false)"  # noqa: S608 - paths and labels are quoted


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
