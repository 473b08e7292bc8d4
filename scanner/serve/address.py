"""Where the pages are served and who may ask for them: loopback unless told otherwise, and then only with TLS."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scanner.errors import UsageError

TOKEN_VARIABLE = "SCANNER_SERVE_TOKEN"  # noqa: S105 - the name of the variable, not its value
TOKEN_LETTERS_MIN = 20
_TOKEN = re.compile(r"[A-Za-z0-9_\-]+")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, to ask for a name


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens, under which names it answers, and what it asks of a visitor.

    Attributes:
        host: address to bind.
        port: 0 for any free one.
        names: values of the Host header (without port) that are answered; anything else is refused (DNS rebinding).
        token: what a visitor must know; None on loopback with `--no-token`.
        certificate: PEM file for TLS; None on loopback.
        key: its private key.
    """

    host: str
    port: int
    names: frozenset[str]
    token: str | None
    certificate: Path | None
    key: Path | None

    @property
    def secure(self) -> bool:
        """True where TLS is spoken."""
        return self.certificate is not None

    def url(self, port: int, *, invitation: str | None = None) -> str:
        """Return the address to open: it carries the token, or an invitation, once, and is answered with a cookie.

        Args:
            port: the one that it listens on.
            invitation: what stands in place of the token, where others may see the address.
        """
        name = self.host if self.host not in _ANY else min(self.names)
        shown = f"[{name}]" if ":" in name else name
        query = f"?token={invitation or self.token}" if self.token is not None else ""
        return f"{'https' if self.secure else 'http'}://{shown}:{port}/{query}"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Values that are worked out from the token (or drawn at the start), so that neither gives the token away.

    Attributes:
        session: value of the cookie of a visitor who has shown the token.
        form: what every form carries, so that no other site can post for a visitor (CSRF).
    """

    session: str
    form: str

    @classmethod
    def of(cls, token: str | None) -> Secrets:
        """Return those of a token; without one, new ones."""
        key = (token or secrets.token_urlsafe(32)).encode()
        return cls(*(hmac.new(key, what, hashlib.sha256).hexdigest() for what in (b"session", b"form")))


def address_of(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    names: Sequence[str] = (),
    certificate: str | None = None,
    key: str | None = None,
    token_file: str | None = None,
    with_token: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Address:
    """Check what was asked for and return the address.

    Args:
        host: name or address to bind.
        port: 0 to 65535.
        names: further names under which visitors reach it.
        certificate: PEM file; needs `key`.
        key: PEM file of the private key.
        token_file: file whose first line is the token; else the environment's `SCANNER_SERVE_TOKEN`, else a new one.
        with_token: False: none is asked for; on loopback alone.
        environment: where the variable is looked up; the process's own when None.

    Raises:
        UsageError: open to others without TLS or token, or a name, file or token that cannot be.
    """
    loopback = is_loopback(host)
    if (certificate is None) != (key is None):
        raise UsageError("TLS needs both --tls-cert and --tls-key; one of them is missing.")
    if not loopback and certificate is None:
        raise UsageError(
            f"--host {host} is open to other machines, and runs are about people: pass --tls-cert and --tls-key, or stay "
            "on this machine (no --host) and reach it through an SSH tunnel."
        )
    if not loopback and not with_token:
        raise UsageError(f"--host {host} is open to other machines: --no-token is for this machine alone.")
    if host in _ANY and not names:
        raise UsageError(f"--host {host} has no name of its own: say with --name under which name visitors come.")
    for name in names:
        if not _NAME.fullmatch(name) and not _is_ip(name):
            raise UsageError(f"--name {name!r} is no host name. Give it without port, as in audit.example.org.")
    for path in (certificate, key):
        if path is not None and not Path(path).is_file():
            raise UsageError(f"{path} is not there; --tls-cert and --tls-key name PEM files.")
    if key is not None:
        _check_private(Path(key), "private key")
    own = _LOOPBACK_NAMES if loopback else frozenset[str]()
    known = own | {name.lower() for name in (host, *names) if name not in _ANY}
    token = _token(token_file, environment) if with_token else None
    return Address(host, port, known, token, *(None if path is None else Path(path) for path in (certificate, key)))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    return ipaddress.ip_address(host).is_loopback if _is_ip(host) else host.lower() == "localhost"


def listen(address: Address) -> socket.socket:
    """Return a bound socket; UsageError where that cannot be."""
    listener = None
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise UsageError(
            f"Cannot listen on {address.host} port {address.port}: {error}. Choose another --port (0: any free one)."
        ) from error
    return listener


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _token(file: str | None, environment: Mapping[str, str] | None) -> str:
    if file is not None:
        path = Path(file)
        if not path.is_file():
            raise UsageError(f"--token-file {file} is not there. Write at least {TOKEN_LETTERS_MIN} letters into it.")
        _check_private(path, "token")
        token, where = path.read_text("utf-8", errors="replace").partition("\n")[0].strip(), f"--token-file {file}"
    else:
        token, where = (
            (os.environ if environment is None else environment).get(TOKEN_VARIABLE, ""),
            f"${TOKEN_VARIABLE}",
        )
        if not token:
            return secrets.token_urlsafe(32)
    if len(token) < TOKEN_LETTERS_MIN or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"The token of {where} must have at least {TOKEN_LETTERS_MIN} letters, digits, - or _. "
            'One is made by: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return token


def _check_private(path: Path, what: str) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"The {what} in {path} can be read by others (mode {mode & 0o777:o}). Do: chmod 600 {path}")
