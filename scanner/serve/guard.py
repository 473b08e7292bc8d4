"""What is asked of every request before any page sees it, and what every answer carries.

A guard around the application (ASGI): method, lengths, Host, token, and for what writes also the origin.  It answers
refusals itself, in plain text, without repeating anything that the visitor sent.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from secrets import token_urlsafe
from urllib.parse import parse_qs, urlencode

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scanner.serve.address import Address, Secrets

PATH_BYTES_MAX, QUERY_BYTES_MAX, BODY_BYTES_MAX = 512, 4096, 16_384
SESSION_S = 12 * 3600
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), browsing-topics=()",
    "x-robots-tag": "noindex, nofollow",
}
"""On every answer.  Referrers stay on this site: without any, browsers send `Origin: null` with our own forms."""
_PUBLIC = "/static/"
"""Style and script, equal for all: they need no token."""


@dataclass(frozen=True, slots=True)
class Served:
    """One line of the access log.  The query string is left out: it may name people."""

    method: str
    path: str
    status: int
    seconds: float


class Guard:
    """Wraps an application; see the module."""

    def __init__(self, app: ASGIApp, address: Address, secrets: Secrets, log: Callable[[Served], None]) -> None:
        self._app, self._address, self._secrets, self._log = app, address, secrets, log
        self._invitation: str | None = None

    def invite(self) -> str:
        """Return what a browser may show once in place of the token: command lines are seen by everybody on a machine."""
        self._invitation = token_urlsafe(32)
        return self._invitation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one request."""
        if scope["type"] != "http":
            return  # no websockets here; uvicorn closes them
        started, status = time.perf_counter(), 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": self._dress(message["headers"])}
            await send(message)

        answer = self._refusal(scope)
        try:
            await (self._app if answer is None else answer)(scope, receive, dressed)
        finally:
            path = scope["path"][:PATH_BYTES_MAX].encode("unicode_escape").decode()  # nothing that a terminal obeys
            self._log(Served(scope["method"][:8], path, status, time.perf_counter() - started))

    def cookie_name(self) -> str:
        """Return the cookie's name; browsers hold `__Host-` cookies to TLS and this very host."""
        return "__Host-scanner" if self._address.secure else "scanner"

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer that ends the request here; None lets it pass."""
        headers = _single(scope)
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            return _says(405, "This site answers GET, HEAD and POST.")
        if (
            len(scope.get("raw_path") or scope["path"].encode()) > PATH_BYTES_MAX
            or len(scope["query_string"]) > QUERY_BYTES_MAX
        ):
            return _says(
                414, f"The address is too long: {PATH_BYTES_MAX} bytes of path, {QUERY_BYTES_MAX} of query at most."
            )
        if headers is None:
            return _says(400, "A header that may stand once stands twice.")
        if _host_of(headers.get(b"host", b"")) not in self._address.names:
            return _says(421, "This server does not answer under that host name (scanner serve --name NAME adds one).")
        if scope["path"].startswith(_PUBLIC):
            return None
        return self._without_token(scope, headers) or self._foreign_post(scope, headers)

    def _without_token(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        token = self._address.token
        if token is None:
            return None
        try:
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=64)
        except ValueError:
            return _says(400, "These are too many parameters.")
        if "token" in query and scope["method"] == "GET":
            given = query.pop("token")[0]
            invited = self._invitation is not None and _equal(given, self._invitation)
            if invited:
                self._invitation = None
            elif not _equal(given, token):
                return _says(401, "That token is not the one of this server.")
            rest = urlencode(query, doseq=True)
            here = "/" + scope["path"].lstrip("/\\")  # //name would be another host
            answer = RedirectResponse(here + ("?" + rest if rest else ""), 303)
            answer.set_cookie(
                self.cookie_name(), self._secrets.session, max_age=SESSION_S, path="/", secure=self._address.secure,
                httponly=True, samesite="strict",
            )  # fmt: skip
            return answer
        scheme, _, bearer = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and _equal(bearer.strip(), token):
            return None
        if _equal(_cookie(headers, self.cookie_name()), self._secrets.session):
            return None
        return _says(401, "This server asks for its token: open the address that `scanner serve` printed.")

    def _foreign_post(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """Refuse what another site makes a visitor's browser send; the form's own secret is compared by its page."""
        if scope["method"] != "POST":
            return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            return _says(413, f"A form of at most {BODY_BYTES_MAX} bytes is expected, with its length.")
        if headers.get(b"content-type", b"").partition(b";")[0].strip() != b"application/x-www-form-urlencoded":
            return _says(415, "A form is expected.")
        origin = headers.get(b"origin")
        here = (b"https://" if self._address.secure else b"http://") + headers[b"host"]
        if (origin is not None and origin != here) or headers.get(b"sec-fetch-site", b"none") not in {
            b"same-origin",
            b"none",
        }:
            return _says(403, "Forms of other sites are not taken.")
        return None

    def _dress(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in headers}
        extra = dict(HEADERS)
        if b"cache-control" not in given:
            extra["cache-control"] = "no-store"
        if self._address.secure:
            extra["strict-transport-security"] = "max-age=31536000"
        return [*headers, *((name.encode(), value.encode()) for name, value in extra.items())]


def _says(status: int, sentence: str) -> Response:
    return PlainTextResponse(sentence + "\n", status)


def _single(scope: Scope) -> dict[bytes, bytes] | None:
    """Return the headers by name; None where one that must be single is repeated."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in found and name in {b"host", b"origin", b"authorization", b"content-length", b"content-type"}:
            return None
        found[name] = value if name not in found else found[name] + b"; " + value
    return found


def _host_of(value: bytes) -> str:
    """Return the name of a Host header in lower case, without its port; "" where it is none."""
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        name, closed, port = text[1:].partition("]")
        port = port.removeprefix(":") if closed else "x"
    else:
        name, _, port = text.partition(":")
    return name.removesuffix(".") if not port or port.isdigit() else ""


def _cookie(headers: Mapping[bytes, bytes], name: str) -> str:
    try:
        jar = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
