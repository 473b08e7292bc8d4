"""The application over runs made by hand, asked in process; run folders come from ../report/run_folder.py."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

# With --import-mode=importlib test modules do not see their folder.
sys.path.insert(0, str(Path(__file__).parent.parent / "report"))
sys.path.insert(0, str(Path(__file__).parent))

from served_runs import write_weighed

from scanner.serve.address import Address, address_of
from scanner.serve.app import make_app
from scanner.serve.guard import Guard, Served
from scanner.serve.shelf import Shelf


@pytest.fixture(scope="session")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a null, 400 matches and some crops; only read."""
    return write_weighed(tmp_path_factory.mktemp("runs") / "weighed")


class Visitor:
    """Asks the application in this process, as a browser with a jar of cookies does; follows no redirect."""

    def __init__(self, app: Guard, base_url: str) -> None:
        self._app, self._base_url, self._jar = app, base_url, httpx.Cookies()

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=self._base_url, cookies=self._jar) as client:
                answer = await client.request(method, path, **given)
            self._jar = client.cookies
            return answer

        return asyncio.run(ask())

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.request("POST", path, **given)


@pytest.fixture(scope="session")
def visit() -> Callable[..., Visitor]:
    """Return a visitor of the application over some runs, on loopback without a token if not said otherwise."""

    def call(*paths: Path, address: Address | None = None, log: Callable[[Served], None] = lambda _: None) -> Visitor:
        where = address or address_of(with_token=False)
        return Visitor(
            make_app(Shelf(paths), where, log=log), f"{'https' if where.secure else 'http'}://{max(where.names)}"
        )

    return call


@pytest.fixture(scope="session")
def client(visit: Callable[..., Visitor], weighed: Path) -> Visitor:
    """A client over the run with a null."""
    return visit(weighed)


@pytest.fixture(scope="session")
def run_path(client: Visitor) -> str:
    """Address of that run."""
    text = client.get("/").text
    start = text.index('href="/runs/') + len('href="')
    return text[start : text.index('"', start)]
