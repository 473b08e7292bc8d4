from __future__ import annotations

import socket
from pathlib import Path

import pytest

from scanner.errors import UsageError
from scanner.serve.address import Secrets, address_of, is_loopback, listen


@pytest.fixture
def pem(tmp_path: Path) -> tuple[str, str]:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


def test_it_is_this_machine_alone_unless_told_otherwise():
    address = address_of(environment={})

    assert (address.host, address.names) == ("127.0.0.1", {"127.0.0.1", "localhost", "::1"})
    assert address.token is not None
    assert len(address.token) == 43
    assert address_of(environment={}).token != address.token
    assert address.url(8642) == f"http://127.0.0.1:8642/?token={address.token}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("LOCALHOST", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.example.org", False), ("127.0.0.1.example.org", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host, loopback):
    assert is_loopback(host) is loopback


def test_open_to_others_needs_tls_and_a_token(pem):
    certificate, key = pem
    with pytest.raises(UsageError, match="pass --tls-cert and --tls-key"):
        address_of(host="10.0.0.1")
    with pytest.raises(UsageError, match="--no-token is for this machine alone"):
        address_of(host="10.0.0.1", certificate=certificate, key=key, with_token=False)
    with pytest.raises(UsageError, match="needs both"):
        address_of(host="10.0.0.1", certificate=certificate)
    with pytest.raises(UsageError, match="say with --name"):
        address_of(host="0.0.0.0", certificate=certificate, key=key)

    address = address_of(host="0.0.0.0", certificate=certificate, key=key, names=["Audit.example.org"], environment={})

    assert (address.secure, address.names) == (True, {"audit.example.org"})
    assert address.url(443).startswith("https://audit.example.org:443/?token=")


def test_a_key_or_token_that_others_can_read_is_refused(pem, tmp_path):
    certificate, key = pem
    Path(key).chmod(0o640)
    with pytest.raises(UsageError, match=r"can be read by others \(mode 640\). Do: chmod 600"):
        address_of(host="10.0.0.1", certificate=certificate, key=key)
    token = tmp_path / "token"
    token.write_text("long-enough-to-be-a-token\n")
    token.chmod(0o604)
    with pytest.raises(UsageError, match="mode 604"):
        address_of(token_file=str(token))

    token.chmod(0o600)

    assert address_of(token_file=str(token)).token == "long-enough-to-be-a-token"


@pytest.mark.parametrize("token", ["short", "with a space in the middle of it", "ümlaut-is-no-token-letter"])
def test_a_weak_token_is_refused(token):
    with pytest.raises(UsageError, match=r"The token of \$SCANNER_SERVE_TOKEN must have at least 20"):
        address_of(environment={"SCANNER_SERVE_TOKEN": token})


def test_names_are_names():
    with pytest.raises(UsageError, match="is no host name"):
        address_of(names=["example.org:80"])


def test_a_port_that_is_taken_is_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="Choose another --port"):
            listen(address_of(port=taken.getsockname()[1], environment={}))


def test_secrets_follow_from_the_token_and_do_not_tell_it():
    one, other = Secrets.of("token-one"), Secrets.of("token-two")

    assert one == Secrets.of("token-one")
    assert len({one.session, one.form, other.session, other.form}) == 4
    assert "token-one" not in one.session + one.form
    assert Secrets.of(None) != Secrets.of(None)
