"""The page of one match, its pictures, its neighbours in the table, and the form that acknowledges its finding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from indexes.errors import SealError
from scanner.errors import UsageError
from scanner.report.acknowledged import REASON_LETTERS_MAX, Finding, acknowledge, withdraw
from scanner.serve.figures import null_figure
from scanner.serve.filters import ROWS_BOUND, MatchFilter, query_string, read_filter
from scanner.serve.keyset import Place, Rows, read_rows
from scanner.serve.reasons import headline_of, is_named, reasons_of
from scanner.serve.run_pages import finding_of, shown
from scanner.serve.shelf import Run
from scanner.serve.site import form_of, in_thread, query_of, refuse_unknown, site_of
from scanner.serve.tables import CropKey

NEIGHBOURS = 12
"""Other matches of the scanned face, and of the reference, that a page lists; it counts all."""
_PNG = b"\x89PNG\r\n\x1a\n"
_BACK = re.compile(r"/runs/[a-z0-9-]{1,80}(/(identities|matches/[0-9]{1,18}))?(\?[A-Za-z0-9_=&%.+~*/-]{0,2000})?")


def match(request: Request) -> Response:
    """Show one match: both faces, why it has its verdict, and what else lies near."""
    site = site_of(request)
    run = site.run_of(request)
    chosen, _ = read_filter(MatchFilter, query_of(request))
    row = _row_of(run, request)
    acknowledged = run.acknowledged()
    drawn = null_figure(run.tables, row["score"], run.summary["threshold"]["value"])
    figure, null = drawn if drawn is not None else (None, None)
    identity = _one(run, "identities", '"index" = ? AND identity = ?', row["index"], row["identity"])
    joint = _one(run, "joint", "identity = ?", row["identity"]) if run.joint is not None else None
    keys: dict[str, CropKey] = {"query": ("", row["query_id"]), "reference": (row["index"], row["reference_id"])}
    kept, none_kept = _kept(run, keys)
    others = {
        "query": _others(run, "query_id = ?", row["query_id"], row=row["row_id"]),
        "reference": _others(
            run, '"index" = ? AND reference_id = ?', row["index"], row["reference_id"], row=row["row_id"]
        ),
    }
    return site.page(
        "match.html.j2", here="match", run=run, row=shown(run, row, acknowledged), crops=kept, no_crop=none_kept, figure_values=figure,
        headline=headline_of(run, row), is_named=is_named(run, row), query=query_string(chosen), finding=finding_of(row),
        reasons=reasons_of(run, row, identity, joint, null), letters_max=REASON_LETTERS_MAX,
        others={side: (number, [shown(run, one, acknowledged) for one in rows]) for side, (number, rows) in others.items()},
    )  # fmt: skip


def step(request: Request, *, way: str) -> Response:
    """Go on to the next match of the table that one came from, or to the one before; to the table where there is none."""
    site = site_of(request)
    run = site.run_of(request)
    chosen, _ = read_filter(MatchFilter, query_of(request))
    row = _row_of(run, request)
    place = Place(row["row_id"], forward=way == "next")
    condition = chosen.condition(run.known(run.acknowledged()))
    found = read_rows(run.tables.ask, "matches", condition, chosen.order, size=1, place=place)
    query = query_string(chosen)
    target = f"/runs/{run.id}/matches/{found[0]['row_id']}" if found else f"/runs/{run.id}"
    return RedirectResponse(target + (f"?{query}" if query else ""), 303)


def crop(request: Request, *, side: str) -> Response:
    """Send a face of a match, where the run kept it."""
    site = site_of(request)
    run = site.run_of(request)
    refuse_unknown(query_of(request), ())
    row = _row_of(run, request)
    key: CropKey = ("", row["query_id"]) if side == "query" else (row["index"], row["reference_id"])
    try:
        picture = run.tables.crop(side, key)
    except SealError as error:
        raise HTTPException(404, "This face is encrypted, and the key is not at hand.") from error
    if picture is None or not picture.startswith(_PNG):
        raise HTTPException(404, "This run did not keep that face.")
    return Response(picture, media_type="image/png", headers={"cache-control": "no-store"})


async def acknowledge_finding(request: Request) -> Response:
    """Write down why a finding needs no further look, or take that back."""
    site = site_of(request)
    form = await form_of(request)
    known = {"run", "index", "identity", "uri", "reason", "back", "what"}
    if not set(form) <= known or not {"run", "index", "what"} <= set(form):
        raise UsageError("The form is not complete: reload the page and send it again.")
    run = site.run_named(form["run"])
    finding = Finding(form["index"], form.get("identity"), form.get("uri"))
    if form["what"] == "withdraw":
        if finding in run.acknowledged():  # else somebody was quicker, or pressed twice
            await in_thread(withdraw, run.acknowledged_path, finding)
    else:
        await in_thread(_acknowledge, run, finding, form.get("reason", ""))
    back = form.get("back", "")
    return RedirectResponse(back if _BACK.fullmatch(back) else f"/runs/{run.id}", 303)


def _acknowledge(run: Run, finding: Finding, reason: str) -> None:
    """Acknowledge what the run has found, and nothing else."""
    column, value = ("identity", finding.identity) if finding.identity is not None else ("reference_uri", finding.uri)
    where = f'"index" = ? AND {column} = ?'
    asked = [finding.index, value]
    views = ("matches", "identities") if finding.identity is not None else ("matches",)
    if not any(run.tables.ask(f"SELECT 1 AS there FROM {view} WHERE {where} LIMIT 1", asked) for view in views):  # noqa: S608
        raise UsageError("This run has no such finding.")
    acknowledge(run.acknowledged_path, finding, reason=reason, seen_in=run.label)


def _row_of(run: Run, request: Request) -> dict[str, Any]:
    """Return the match that the address names; 404 where there is none."""
    row = request.path_params["row"]
    found = run.tables.ask("SELECT * FROM matches WHERE row_id = ?", [row]) if row < ROWS_BOUND else []
    if not found:
        raise HTTPException(404, "This run has no match of that number.")
    return found[0]


def _kept(run: Run, keys: Mapping[str, CropKey]) -> tuple[dict[str, bool], str]:
    """Return which faces can be shown, and what is said in place of one that cannot."""
    if not run.tables.has_crops:
        return {}, "no crops in this run"
    try:
        return {side: run.tables.crop(side, key) is not None for side, key in keys.items()}, "not kept"
    except SealError:
        return {}, "encrypted, and the key is not at hand"


def _one(run: Run, view: str, where: str, *values: Any) -> dict[str, Any] | None:
    found = run.tables.ask(f"SELECT * FROM {view} WHERE {where} LIMIT 1", values) if None not in values else []  # noqa: S608
    return found[0] if found else None


def _others(run: Run, where: str, *values: Any, row: int) -> tuple[int, Rows]:
    """Return how many other matches there are, and the best of them."""
    found = run.tables.ask(
        f"SELECT *, count(*) OVER () AS n FROM matches WHERE {where} AND row_id <> ? "  # noqa: S608
        f"ORDER BY score DESC, row_id LIMIT {NEIGHBOURS}",
        [*values, row],
    )
    return (found[0]["n"] if found else 0), found
