"""The Parquet tables of one run as DuckDB views with row numbers: read a little at a time, whatever their length.

The connection may open the files of this run and nothing else, never writes, and every value is a parameter.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scanner import artefacts
from scanner.errors import ScannerError
from scanner.serve.keyset import Rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAMES = ("matches", "identities", "photos", "queries", "rejects", "joint", "crops")
QUERY_S = 30.0
"""A statement that takes longer is broken off."""
TOGETHER = 4
"""Statements at once; others wait for up to `WAIT_S`."""
WAIT_S = 20.0
MEMORY = "1GB"
_running = threading.BoundedSemaphore(TOGETHER)


class Busy(ScannerError):
    """The database had no time for this question."""


class RunTables:
    """The tables of a run; may be asked from several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Open the tables that the run has.

        Args:
            folder: run folder.

        Raises:
            ArtefactError: a table is broken, foreign or newer.
        """
        import duckdb

        paths = {name: (folder / f"{name}.parquet").resolve() for name in NAMES}
        self.has = frozenset(name for name, path in paths.items() if path.is_file())
        for name in sorted(self.has):
            artefacts.open_artefact(paths[name], name).close()
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 2, "memory_limit": MEMORY, "temp_directory": "", "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )  # fmt: skip
        read = [form for name in self.has for form in {str(paths[name]), _plain(paths[name])}]
        self._connection.execute("SET parquet_metadata_cache = true")
        self._connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, sorted(read)))}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        for name in sorted(self.has):
            self._connection.execute(
                f"CREATE VIEW {name} AS SELECT *, file_row_number AS row "  # noqa: S608 - names and paths are ours
                f"FROM read_parquet({_quoted(_plain(paths[name]))}, file_row_number = true)"
            )

    def ask(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run one statement of ours and return its rows.

        Raises:
            Busy: it took too long, or too many others were running.
        """
        with self._cursor() as cursor:
            found = cursor.execute(sql, list(values))
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def stream(self, sql: str, values: Sequence[Any], *, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield what a statement gives in batches of `rows`; it may take as long as the reader does."""
        cursor = self._connection.cursor()
        try:
            yield from cursor.execute(sql, list(values)).to_arrow_reader(rows)
        finally:
            cursor.close()

    @contextmanager
    def _cursor(self) -> Iterator[DuckDBPyConnection]:
        import duckdb

        if not _running.acquire(timeout=WAIT_S):
            raise Busy("Too many questions at once. Try again in a moment.")
        try:
            cursor = self._connection.cursor()
            clock = threading.Timer(QUERY_S, cursor.interrupt)
            clock.start()
            try:
                yield cursor
            except duckdb.InterruptException as error:
                raise Busy(f"This question took longer than {QUERY_S:.0f} s. Narrow it down.") from error
            finally:
                clock.cancel()
                cursor.close()
        finally:
            _running.release()


def _plain(path: Path) -> str:
    """Return the path as a pattern that matches it alone."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
