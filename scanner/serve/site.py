"""What every page needs: the runs, the templates, the secret of forms; and how a page is made of values."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from scanner.errors import UsageError
from scanner.evidence.verdict import count
from scanner.report.page import expected_text
from scanner.serve.address import Secrets
from scanner.serve.filters import TEXT_MAX, exactly, query_string
from scanner.serve.guard import BODY_BYTES_MAX
from scanner.serve.shelf import Run, Shelf, plural

_FIELDS_MAX = 40


@dataclass(frozen=True, slots=True)
class Site:
    """Lent to every handler as `request.app.state.site`."""

    shelf: Shelf
    secrets: Secrets
    templates: Environment

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page."""
        common = {"form_secret": self.secrets.form, "many": len(self.shelf.ids()) > 1}
        return HTMLResponse(self.templates.get_template(template).render({**common, **values}), status)

    def run_of(self, request: Request) -> Run:
        """Return the run that the address names; 404 where there is none."""
        return self.run_named(request.path_params["run"])

    def run_named(self, run_id: str) -> Run:
        """Return the run of an id; 404 where there is none."""
        run = self.shelf.run(run_id)
        if run is None:
            raise HTTPException(404, "There is no run of that name here; it may have been taken away.")
        return run


def site_of(request: Request) -> Site:
    """Return the site that a request is for."""
    return cast("Site", request.app.state.site)


@cache
def make_templates() -> Environment:
    """Return the templates, with escaping on and unknown names refused."""
    environment = Environment(
        loader=PackageLoader("scanner.serve", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    environment.filters.update(count=count, expected=expected_text, p=_p, score=_score, plural=plural, exactly=exactly)
    environment.globals["text_max"] = TEXT_MAX
    environment.globals["resort"] = lambda chosen, name: query_string(replace(chosen, sort=name))
    for name in environment.list_templates():  # read now: the server may outlive the files that it came from
        environment.get_template(name)
    return environment


def query_of(request: Request) -> list[tuple[str, str]]:
    """Return the parameters of the address in order; 400 where they are no text or too many."""
    return _pairs(request.scope["query_string"])


async def form_of(request: Request) -> Mapping[str, str]:
    """Return a form that a page of ours sent; 403 where it does not carry our secret, 413 where it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"A form of at most {BODY_BYTES_MAX} bytes is expected.")
    pairs = _pairs(bytes(body))
    form = dict(pairs)
    if len(form) != len(pairs):
        raise HTTPException(400, "A field of the form is given twice.")
    given = form.pop("form_secret", "")
    if not hmac.compare_digest(given.encode(), site_of(request).secrets.form.encode()):
        raise HTTPException(
            403, "This form is not, or no longer, one of this server: reload the page and send it again."
        )
    return form


async def in_thread(work: Any, *arguments: Any) -> Any:
    """Run what asks the database beside the loop that answers others."""
    return await run_in_threadpool(work, *arguments)


def refuse_unknown(given: Sequence[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """Return parameters by name; UsageError where one is not known or stands twice."""
    found = dict(given)
    if len(found) != len(given) or not set(found) <= set(known):
        raise UsageError(f"This page takes {', '.join(known) or 'no parameters'}, each once.")
    return found


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS_MAX, encoding="utf-8", errors="strict"
        )
    except ValueError as error:
        raise HTTPException(400, "The parameters cannot be read: UTF-8, percent-encoded, is expected.") from error


def _p(value: float | None) -> str:
    """A p- or q-value: four decimals, so that a column lines up, and a power of ten for what is smaller."""
    if value is None:
        return "–"
    return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.1e}"  # noqa: PLR2004


def _score(value: float | None) -> str:
    """A cosine with three digits."""
    return "–" if value is None else f"{value:.3f}"
