"""The application: addresses, handlers and files of style and script, behind the guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import resources
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from indexes.errors import IndexesError
from scanner.errors import ScannerError
from scanner.serve.address import Address, Secrets
from scanner.serve.guard import Guard, Served
from scanner.serve.match_pages import acknowledge_finding, crop, match, step
from scanner.serve.pages import compare, overview, problem_page
from scanner.serve.run_pages import evidence, export, identities, matches
from scanner.serve.shelf import Shelf
from scanner.serve.site import Site, make_templates

STATIC: Final = {"site.css": "text/css", "site.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""Files that the pages may load; they are read at the start, so that no address ever reaches the file system."""


def make_app(shelf: Shelf, address: Address, *, log: Callable[[Served], None]) -> Guard:
    """Return the guarded application.

    Args:
        shelf: the runs.
        address: where it will listen, and who may ask.
        log: called after every answer.
    """
    secrets = Secrets.of(address.token)
    app = Starlette(
        routes=[
            Route("/", overview),
            Route("/compare", compare),
            Route("/runs/{run}", matches),
            Route("/runs/{run}/identities", identities),
            Route("/runs/{run}/evidence", evidence),
            *(Route(f"/runs/{{run}}/matches.{kind}", partial(export, kind=kind)) for kind in ("csv", "parquet")),
            Route("/runs/{run}/matches/{row:int}", match),
            *(
                Route(f"/runs/{{run}}/matches/{{row:int}}/{side}.png", partial(crop, side=side))
                for side in ("query", "reference")
            ),
            *(
                Route(f"/runs/{{run}}/matches/{{row:int}}/{way}", partial(step, way=way))
                for way in ("next", "previous")
            ),
            Route("/acknowledge", acknowledge_finding, methods=["POST"]),
            Route("/static/{name}", _static_files()),
        ],
        exception_handlers=dict.fromkeys((HTTPException, ScannerError, IndexesError, OSError, Exception), problem_page),
    )
    app.router.redirect_slashes = False
    app.state.site = Site(shelf, secrets, make_templates())
    return Guard(app, address, secrets, log)


def _static_files() -> Callable[[Request], Awaitable[Response]]:
    folder = resources.files("scanner.serve") / "static"
    files = {name: (folder / name).read_bytes() for name in STATIC}

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404, "There is no such file.")
        return Response(files[name], media_type=STATIC[name], headers={"cache-control": "max-age=300"})

    return static
