"""`scanner serve` as a process: the address it prints, TLS, and how it stops."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import shlex
import signal
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import pytest
from served_runs import ROOT, serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_answers_and_stops_when_told(weighed, number):
    with serving(str(weighed), "--port", "0") as (process, said):
        assert said["runs"] == 1
        with httpx.Client(follow_redirects=True) as client:
            page = client.get(said["url"])
            assert (page.status_code, "It is named." in page.text) == (200, True)
            assert "token" not in str(page.url)

        process.send_signal(number)
        out, talk = process.communicate(timeout=60)

    assert (process.returncode, out) == (0, "")
    lines = talk.splitlines()
    assert lines[0] == f"serving at {said['url']}"
    assert lines[2].startswith("GET / 303 ")
    assert lines[3].startswith("GET / 200 ")
    assert lines[-1] == "stopped."


def test_what_is_under_way_is_finished_when_it_stops(weighed):
    with serving(str(weighed), "--port", "0", "--quiet", "--no-token") as (process, said):
        with urllib.request.urlopen(said["url"]) as page:
            text = page.read().decode()
        run = text[text.index("/runs/") :].partition('"')[0]
        with urllib.request.urlopen(said["url"] + run[1:] + "/matches.csv") as answer:
            first = answer.read(100)
            process.send_signal(signal.SIGTERM)
            rest = answer.read()
        _, talk = process.communicate(timeout=60)

    assert (first + rest).count(b"\r\n") + (first + rest).count(b"\n") >= 401
    assert (process.returncode, talk) == (0, "")


def test_with_tls_it_speaks_only_tls(weighed, tmp_path):
    certificate, key = write_certificate(tmp_path)
    words = ("--port", "0", "--quiet", "--tls-cert", str(certificate), "--tls-key", str(key))
    with serving(str(weighed), *words, SCANNER_SERVE_TOKEN="t" * 24) as (_, said):
        assert said["url"].startswith("https://127.0.0.1:")
        with httpx.Client(verify=ssl.create_default_context(cafile=str(certificate)), follow_redirects=True) as client:
            page = client.get(said["url"])
            assert "It is named." in page.text
            assert page.headers["strict-transport-security"] == "max-age=31536000"
            assert all(cookie.secure for cookie in client.cookies.jar)
        with pytest.raises(httpx.HTTPError):
            httpx.get(said["url"].replace("https:", "http:"))


def test_what_cannot_be_served_is_said_before(weighed, tmp_path):
    def said(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "scanner", "serve", *words], capture_output=True, text=True, cwd=ROOT, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 2
        return done.stderr

    assert "pass --tls-cert and --tls-key" in said(str(weighed), "--host", "0.0.0.0")
    assert "No finished run is at or below" in said(str(tmp_path))


@pytest.mark.parametrize("number", [0, 1])
def test_the_commands_of_the_manual_serve(number, weighed, tmp_path):
    blocks = re.findall(
        r"<!-- run: serve -->\n```bash\n(.*?)\n```", (ROOT / "docs" / "serve.md").read_text(), re.DOTALL
    )
    scanner, serve, *words = shlex.split(blocks[number])
    for name in ("run", "nightly"):
        (tmp_path / name).symlink_to(weighed)
    write_certificate(tmp_path)
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("t" * 24)
    there = [str(tmp_path / word) if (tmp_path / word).exists() else word for word in words]

    with serving(*there, "--port", "0", "--quiet") as (_, said):
        assert said["runs"] == 1
        assert said["url"].startswith("https://audit.example.org:" if number else "http://127.0.0.1:")
    assert (scanner, serve, len(blocks)) == ("scanner", "serve", 2)


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths[1].touch(mode=0o600)
    paths[1].write_bytes(private)
    return paths
