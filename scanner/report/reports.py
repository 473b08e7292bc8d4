"""Finished runs in Python: Arrow tables, and SQL over all of them.

    import scanner

    with scanner.open_run("run") as run:
        best = run.matches(["identity", "score"]).sort_by([("score", "descending")])
        people = run.sql("SELECT identity, count(*) AS faces FROM matches GROUP BY ALL ORDER BY faces DESC LIMIT 10")

Arrow tables go on without a copy of ours: `table.to_pandas()`, `polars.from_arrow(table)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from scanner.errors import ArtefactError
from scanner.report.database import Database, Parameters, Stream
from scanner.report.questions import question
from scanner.report.runs import find_runs

Columns = Sequence[str] | None


class Reports:
    """The tables of one run or of many, each with a column `run`: what the run is called; `row_id` counts its rows from 0.

    A context manager; made by `open_run` and `open_runs`.  Every method that gives a table takes the `columns` that are
    wanted, in that order (all, if not given), and gives an Arrow table that is wholly in memory; use `stream` where that
    does not fit.  All raise QueryError: a column is not there, or a limit of memory or time was reached.
    """

    def __init__(self, paths: Sequence[Path | str], **limits: Any) -> None:
        self._database = Database(paths, **limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and files back."""
        self._database.close()

    @property
    def folders(self) -> dict[str, Path]:
        """The run folders by what they are called in the column `run`, in order."""
        return dict(zip(self._database.labels, self._database.folders, strict=True))

    def runs(self, columns: Columns = None) -> pa.Table:
        """Return one row a run, in order.

        run, position (from 0), night (of a nightly job, else empty), source, sources (list), indexes (list), references,
        embedder, fingerprint, faces_mode, threshold, threshold_origin, fmr (empty where the threshold was given), entries,
        items, duplicates, rejected, faces, faces_rejected, matches, matched_queries, matched_identities, comparisons,
        false_matches_expected, near_copies, same_bytes, verdict (empty without a null), seed, scanner_version, document
        (`run.json`).
        """
        return self._table("runs", columns, "position")

    def matches(self, columns: Columns = None) -> pa.Table:
        """Return one row a pair of a scanned face and a reference at or above the threshold.

        run, row_id, query_id, query_uri, query_face, index, reference_id, reference_uri, identity, score (cosine), rank (of the
        reference for this face, from 1), p_value and q_value (of the identity; empty without a null), verdict, flags
        (list), copy_score.
        """
        return self._table("matches", columns)

    def identities(self, columns: Columns = None) -> pa.Table:
        """Return one row a candidate identity of runs with a null.

        run, row_id, index, identity, best_score, photos, p_conformal, p_value, q_value, q_by, q_conformal, p_low, p_high, clusters,
        flags (list).
        """
        return self._table("identities", columns)

    def joint(self, columns: Columns = None) -> pa.Table:
        """Return one row a candidate identity of runs with several embedders.

        run, row_id, identity, photos, best_score, p_value, q_value (lists, one entry an embedder), statistic, p_conformal, p_joint,
        q_joint, q_by, agreement (how many embedders name it alone).
        """
        return self._table("joint", columns)

    def queries(self, columns: Columns = None) -> pa.Table:
        """Return one row a scanned face.

        run, row_id, query_id, item_id, uri, other_uris (list), identity, face, box (4 pixels), quality (struct), best_score,
        best_reference_id, best_index, matches; with a null cluster, null_score, p_value, p_conformal, p_paired, q_value,
        q_paired.  With `biometric` also crop_hash.
        """
        return self._table("queries", columns)

    def photos(self, columns: Columns = None) -> pa.Table:
        """Return one row a labelled photo of candidates and null, of runs with a null.

        run, row_id, side (candidate or null), index, reference_id, reference_uri, item_id, identity, best_score, best_query_id,
        scores (list), centrality, mated_score, flags (list).
        """
        return self._table("photos", columns)

    def rejects(self, columns: Columns = None) -> pa.Table:
        """Return one row an image or face that was left out.

        run, row_id, uri, item_id, identity, level (item or face), reason, detail.
        """
        return self._table("rejects", columns)

    def evidence(self, columns: Columns = None) -> pa.Table:
        """Return one row a run with a null: what is said of it as a whole.

        run, verdict, sentence, level, identities, below_level, below_level_by, below_level_conformal, null_identities,
        p_floor, searches, searches_below_level, clusters, share, share_low, share_high, population_p_value, leaking,
        leaking_low, leaking_high, fpir, fpir_low, fpir_high, false_pairs_expected, smallest_leak, guards_fired (list),
        document (`evidence.json`).
        """
        return self._table("evidence", columns)

    def nights(self, columns: Columns = None) -> pa.Table:
        """Return one row a night of a nightly job.

        job, night, runs (list), entries, faces, rejected, matches, verdicts (list), document (`night.json`).
        """
        return self._table("nights", columns, "job, night")

    def sql(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Answer one SELECT in the SQL of DuckDB over these tables.

        Args:
            sql: may hold `$name`, or `?`.
            parameters: values by name, or in order.

        Raises:
            QueryError: the SQL is wrong or not allowed, or a limit was reached; says where.
        """
        return self._database.select(sql, parameters)

    def stream(self, sql: str, parameters: Parameters | None = None) -> AbstractContextManager[Stream]:
        """Answer one SELECT as `sql` does, in record batches: `with run.stream(...) as answer: for batch in answer.batches`."""
        return self._database.stream(sql, parameters)

    def ask(self, name: str, **values: str | float) -> pa.Table:
        """Answer a ready question by its name (`scanner report query --list`), with values for its parameters.

        Raises:
            UsageError: there is no such question or parameter, or one is missing.
        """
        asked = question(name)
        return self.sql(asked.sql, asked.values({key: str(value) for key, value in values.items()}))

    def _table(self, name: str, columns: Columns, order: str = "") -> pa.Table:
        wanted = "*" if columns is None else ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
        return self.sql(f"SELECT {wanted} FROM {name}" + (f" ORDER BY {order}" if order else ""))  # noqa: S608 - quoted


def open_run(path: Path | str, **limits: Any) -> Reports:
    """Open one finished run for questions.

    Args:
        path: a folder made by `scan`.
        limits: `memory_bytes`, `threads`, `time_limit_s`, `spill` and `biometric`, as of `scanner.report.database.Database`.

    Raises:
        ArtefactError: it is no finished run, or not a single one.
    """
    runs = find_runs([path])
    if len(runs) > 1:
        raise ArtefactError(f"{path} holds {len(runs)} runs, and one is asked for. Name one of them, or use open_runs.")
    return Reports(runs, **limits)


def open_runs(paths: Sequence[Path | str], **limits: Any) -> Reports:
    """Open the finished runs at or below `paths` together; limits and errors as of `open_run`."""
    return Reports(paths, **limits)
