"""The pages of one run: its matches, its identities, what its verdict rests on, and what is filtered as a file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from scanner.report.acknowledged import Acknowledged, Finding
from scanner.report.evidence_view import read_evidence
from scanner.report.page import REASON_TEXT
from scanner.serve.filters import (
    FLAGS,
    IDENTITY_ORDERS,
    MATCH_ORDERS,
    ROWS_MAX,
    IdentityFilter,
    MatchFilter,
    filtered,
    query_string,
    read_filter,
)
from scanner.serve.keyset import Page, Place, read_page
from scanner.serve.reasons import is_named
from scanner.serve.shelf import Run, Shelf, stamp_of
from scanner.serve.site import query_of, refuse_unknown, site_of

EXPORTED: Final = (
    "query_id", "query_uri", "query_face", "index", "reference_id", "reference_uri", "identity", "score", "rank", "p_value",
    "q_value", "verdict", "flags", "copy_score",
)  # fmt: skip
SORTED_MAX: Final = 500_000
"""Longer exports come in the order of the run."""
_FORMULA: Final = "^([=+@\t\r\n\uff1d\uff0b\uff0d\uff20-])"
"""What a spreadsheet runs begins with one of these, or with its full-width form."""
_CHOICES: Final = {
    "verdict": (("", "any"), ("named", "named"), ("not_named", "not named")),
    "acknowledged": (("", "any"), ("no", "not acknowledged"), ("yes", "acknowledged")),
    "flag": (("", "any"), ("none", "no flag"), *((flag, flag.replace("_", " ")) for flag in FLAGS)),
    "rows": tuple((rows, f"{rows} a page") for rows in ROWS_MAX),
}


def matches(request: Request) -> Response:
    """Show the matches of a run, filtered and sorted, a page at a time."""
    site = site_of(request)
    run = site.run_of(request)
    chosen, place = read_filter(MatchFilter, query_of(request))
    acknowledged = run.acknowledged()
    page = page_of_matches(site.shelf, run, chosen, place, acknowledged)
    return site.page(
        "matches.html.j2", here="matches", run=run, page=page, chosen=chosen, filtered=filtered(chosen),
        rows=[shown(run, row, acknowledged) for row in page.rows], query=query_string(chosen), choices=_CHOICES,
        orders=[(name, text) for name, (text, _) in MATCH_ORDERS.items() if run.evidence is not None or name != "q"],
    )  # fmt: skip


def identities(request: Request) -> Response:
    """Show the identities of a run with a null."""
    site = site_of(request)
    run = site.run_of(request)
    if "identities" not in run.tables.has:
        raise HTTPException(404, "This run has no identities: it was scanned without a null.")
    chosen, place = read_filter(IdentityFilter, query_of(request))
    acknowledged = run.acknowledged()
    condition = chosen.condition(run.known(acknowledged))
    total = _total(site.shelf, run, "identities", condition.sql, condition.values)
    page = read_page(run.tables.ask, "identities", condition, chosen.order, size=chosen.rows, total=total, place=place)
    return site.page(
        "identities.html.j2", here="identities", run=run, page=page, chosen=chosen, filtered=filtered(chosen),
        rows=[shown(run, row, acknowledged) for row in page.rows], query=query_string(chosen), choices=_CHOICES,
        orders=[(name, text) for name, (text, _) in IDENTITY_ORDERS.items()],
    )  # fmt: skip


def evidence(request: Request) -> Response:
    """Show what the verdict rests on, and what became of every image."""
    site = site_of(request)
    run = site.run_of(request)
    refuse_unknown(query_of(request), ())
    rejects = run.tables.ask(
        "SELECT reason, level, count(*) AS n FROM rejects GROUP BY reason, level ORDER BY n DESC, reason, level"
    )
    view = read_evidence(run.folder, run.summary["threshold"]["value"])
    return site.page(
        "evidence.html.j2", here="evidence", run=run, s=run.summary, view=view, rejects=rejects, reason_text=REASON_TEXT
    )


def export(request: Request, *, kind: str) -> Response:
    """Stream what is filtered, as CSV or Parquet: in the order that is shown, or the run's own where that is too long."""
    site = site_of(request)
    run = site.run_of(request)
    chosen, _ = read_filter(MatchFilter, query_of(request))
    condition = chosen.condition(run.known(run.acknowledged()))
    columns = ", ".join(f'"{name}"' for name in EXPORTED)
    # Without a sort ten million rows pass through and are never held.
    sorted_ = (
        chosen.sort != "file" and _total(site.shelf, run, "matches", condition.sql, condition.values) <= SORTED_MAX
    )
    order = f" ORDER BY {chosen.order.by(forward=True)}" if sorted_ else ""
    sql = f"SELECT {columns} FROM matches WHERE {condition.sql}{order}"  # noqa: S608
    made = _csv if kind == "csv" else _parquet
    name = f"matches-{run.id}{'-filtered' if filtered(chosen) else ''}.{kind}"
    media = "text/csv; charset=utf-8" if kind == "csv" else "application/vnd.apache.parquet"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    if request.method == "HEAD":
        return Response(media_type=media, headers=headers)
    chunks = made(run, sql, condition.values)
    first = next(chunks)  # what goes wrong at the start is a page, not half a file
    return StreamingResponse(chain([first], chunks), media_type=media, headers=headers)


def page_of_matches(
    shelf: Shelf, run: Run, chosen: MatchFilter, place: Place | None, acknowledged: Acknowledged
) -> Page:
    """Return one page of the matches that a filter keeps."""
    condition = chosen.condition(run.known(acknowledged))
    total = _total(shelf, run, "matches", condition.sql, condition.values)
    return read_page(run.tables.ask, "matches", condition, chosen.order, size=chosen.rows, total=total, place=place)


def finding_of(row: dict[str, Any]) -> Finding:
    """Return the finding that a match, or a row of identities, belongs to."""
    if row["identity"] is not None:
        return Finding(row["index"], row["identity"])
    return Finding(row["index"], uri=row["reference_uri"])


def shown(run: Run, row: dict[str, Any], acknowledged: Acknowledged) -> dict[str, Any]:
    """Return a row with what its badges say."""
    return {**row, "is_named": is_named(run, row), "acknowledged": acknowledged.get(finding_of(row))}


def _total(shelf: Shelf, run: Run, view: str, sql: str, values: Sequence[Any]) -> int:
    return shelf.remembered(
        (run.id, stamp_of(run), view, sql, values),
        lambda: run.tables.ask(f"SELECT count(*) AS n FROM {view} WHERE {sql}", values)[0]["n"],  # noqa: S608
    )


def _csv(run: Run, sql: str, values: Sequence[Any]) -> Iterator[bytes]:
    with run.tables.stream(sql, values) as (schema, batches):
        flat = pa.schema([pa.field(one.name, pa.string()) if pa.types.is_list(one.type) else one for one in schema])
        sink = io.BytesIO()
        with pyarrow.csv.CSVWriter(sink, flat) as writer:
            for batch in batches:
                writer.write_batch(_flat(batch, flat))
                yield _taken(sink)
        yield _taken(sink)


def _parquet(run: Run, sql: str, values: Sequence[Any]) -> Iterator[bytes]:
    with run.tables.stream(sql, values) as (schema, batches):
        sink = _Passed()
        with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                yield sink.take()
        yield sink.take()


def _flat(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Write lists as text, and keep a spreadsheet from taking a text for a formula."""
    columns = [_as_text(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        column = pa.array([" ".join(flags or ()) for flags in column.to_pylist()], pa.string())
    return pc.replace_substring_regex(column, _FORMULA, "'\\1") if pa.types.is_string(column.type) else column


def _taken(sink: io.BytesIO) -> bytes:
    """Return what was written since the last call."""
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data


class _Passed(io.RawIOBase):
    """A file that is only written: what came in is taken out again, and places count on."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting, self._place = bytearray(), 0

    def writable(self) -> bool:
        """Say that it is."""
        return True

    def write(self, data: Any) -> int:
        """Keep bytes until they are taken."""
        before = len(self._waiting)
        self._waiting += data
        self._place += len(self._waiting) - before
        return len(self._waiting) - before

    def tell(self) -> int:
        """Return how many bytes were written in all."""
        return self._place

    def take(self) -> bytes:
        """Return what came in since the last call."""
        data = bytes(self._waiting)
        self._waiting.clear()
        return data
