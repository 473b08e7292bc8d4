"""Listens until it is told to stop: what is being answered is finished, then it goes."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from scanner.serve.address import Address

STOP_S = 5
"""Time that answers under way get when the server is told to stop."""
TOGETHER_MAX = 64
"""Connections at once; a further one is answered 503."""


class _Server(uvicorn.Server):
    """Takes SIGINT and SIGTERM as the wish to stop, and does not pass them on afterwards: stopping is how it ends well."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install handlers while the server runs."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.force_exit = self.should_exit  # asked a second time: at once
        self.should_exit = True


def serve(app: ASGIApp, address: Address, listener: socket.socket, *, ready: Callable[[], None]) -> None:
    """Answer requests on a bound socket until SIGINT or SIGTERM.

    Args:
        app: the guarded application.
        address: with its TLS files, if any.
        listener: from `address.listen`.
        ready: called once when requests are answered.
    """
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none",
        http="h11", loop="asyncio", limit_concurrency=TOGETHER_MAX, timeout_keep_alive=15, backlog=128,
        timeout_graceful_shutdown=STOP_S, h11_max_incomplete_event_size=16_384,
        ssl_certfile=address.certificate, ssl_keyfile=address.key,
    )  # fmt: skip
    asyncio.run(_Server(config, ready).serve([listener]))
