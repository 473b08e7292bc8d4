"""Hostile requests: what comes from another site, another name, without token, too long, or in another shape."""

from __future__ import annotations

import re

import pytest
from served_runs import TOKEN

from scanner.serve.address import Secrets, address_of
from scanner.serve.guard import POLICY


@pytest.fixture
def guarded(visit, weighed):
    return visit(weighed, address=address_of(environment={"SCANNER_SERVE_TOKEN": TOKEN}))


@pytest.mark.parametrize(
    "path", ["/", "/compare", "/runs/x", "/runs/x/matches/0/query.png", "/acknowledge", "/nothing"]
)
def test_without_the_token_nothing_is_shown(guarded, path):
    answer = guarded.get(path)

    assert answer.status_code == 401
    assert answer.text == "This server asks for its token: open the address that `scanner serve` printed.\n"


def test_the_token_becomes_a_cookie_and_leaves_the_address(guarded):
    answer = guarded.get(f"/compare?token={TOKEN}&base=a")

    assert (answer.status_code, answer.headers["location"]) == (303, "/compare?base=a")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/", "max-age="))
    assert TOKEN not in cookie
    assert guarded.get("/").status_code == 200


def test_an_invitation_opens_once(visit, weighed):
    address = address_of(environment={"SCANNER_SERVE_TOKEN": TOKEN})
    first, second = visit(weighed, address=address), visit(weighed, address=address)
    second._app = first._app
    invitation = first._app.invite()

    assert address.url(8642, invitation=invitation) == f"http://127.0.0.1:8642/?token={invitation}"
    assert first.get(f"/?token={invitation}").status_code == 303
    assert first.get("/").status_code == 200
    assert second.get(f"/?token={invitation}").status_code == 401
    assert second.get("/").status_code == 401


def test_the_token_may_come_as_a_bearer(guarded):
    assert guarded.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/", headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
    assert guarded.get("/", headers={"authorization": f"Basic {TOKEN}"}).status_code == 401


@pytest.mark.parametrize("cookie", ["", "x", Secrets.of("another-token-of-another-day").session])
def test_a_wrong_token_or_cookie_is_refused(guarded, cookie):
    assert guarded.get("/?token=wrong").text == "That token is not the one of this server.\n"
    assert guarded.get("/", headers={"cookie": f"scanner={cookie}"}).status_code == 401


def test_with_tls_the_cookie_is_bound_to_it(visit, weighed, tmp_path):
    for name in ("c", "k"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o600)
    address = address_of(
        host="10.0.0.1", certificate=str(tmp_path / "c"), key=str(tmp_path / "k"),
        environment={"SCANNER_SERVE_TOKEN": TOKEN},
    )  # fmt: skip

    answer = visit(weighed, address=address).get(f"/?token={TOKEN}")

    assert answer.headers["set-cookie"].startswith("__Host-scanner=")
    assert "secure" in answer.headers["set-cookie"].lower()
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "host",
    ["evil.example.org", "127.0.0.1.evil.example.org", "localhost.evil.org:8642", "", "localhost:8642@evil", "[::1", "[::1]x",
     "localhost:80:80", "127.0.0.1 ", "0.0.0.0"],
)  # fmt: skip
def test_another_host_name_is_refused(client, host):
    answer = client.get("/", headers={"host": host})

    assert answer.status_code == 421
    assert host == "" or host not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "LOCALHOST:8642", "127.0.0.1:8642", "[::1]:8642", "localhost."]
)
def test_the_names_of_this_machine_are_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_a_header_that_stands_twice_is_refused(client):
    assert client.get("/", headers=[("host", "localhost"), ("host", "evil.org")]).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(client, method):
    assert client.request(method, "/").status_code == 405


def test_what_is_too_long_is_refused(client, run_path):
    assert client.get("/" + "a" * 600).status_code == 414
    assert client.get(run_path + "?identity=" + "a" * 5000).status_code == 414
    assert client.get(run_path + "?identity=" + "a" * 1003).status_code == 400


def test_every_answer_carries_the_policy(client, run_path):
    paths = ["/", run_path, run_path + "/matches/0", run_path + "/matches.csv", "/static/site.css", "/nothing"]
    answers = [client.get(path) for path in paths]
    answers += [client.get("/", headers={"host": "evil.org"}), client.request("PUT", "/")]

    for answer in answers:
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == ("max-age=300" if "site.css" in str(answer.url) else "no-store")
        assert "server" not in answer.headers
    assert POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in POLICY


def test_no_page_needs_what_the_policy_forbids(client, run_path):
    for path in (
        "/",
        run_path,
        run_path + "/identities",
        run_path + "/evidence",
        run_path + "/matches/1",
        "/compare",
        "/no",
    ):
        page = client.get(path).text
        assert not re.search(r"<script(?![^>]* src=\"/static/)[^>]*>", page)
        assert not re.search(r"\s(style|on[a-z]+)=\"", page)
        assert not re.search(r"(src|href)=\"(https?:)?//", page)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.org"}, 403), ({"origin": "null"}, 403), ({"origin": "https://localhost"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415), ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, 403),  # and no secret in the form
    ],
)  # fmt: skip
def test_forms_of_other_sites_are_refused(client, run_path, headers, status, weighed):
    form = "run=" + run_path.removeprefix("/runs/") + "&index=celeba&identity=person-00&what=acknowledge&reason=x"
    given = {"host": "localhost", "content-type": "application/x-www-form-urlencoded", **headers}

    assert client.post("/acknowledge", content=form, headers=given).status_code == status
    assert not (weighed.parent / "acknowledged.json").exists()


async def unending():
    yield b"a=b"


def test_a_long_form_is_refused(client):
    headers = {"content-type": "application/x-www-form-urlencoded"}

    assert client.post("/acknowledge", content="a=" + "b" * 20_000, headers=headers).status_code == 413
    assert client.post("/acknowledge", content=unending(), headers=headers).status_code == 413


def test_the_token_leads_to_no_other_host(guarded):
    for path in ("//evil.org/", "/\\evil.org/", "///evil.org"):
        where = guarded.request("GET", f"http://localhost{path}?token={TOKEN}").headers["location"]
        assert re.match(r"/[^/\\]", where)


def test_many_parameters_are_refused_before_the_token(guarded):
    assert guarded.get("/?" + "&".join(["a=1"] * 70)).status_code == 400


def test_the_log_has_nothing_that_a_terminal_obeys(visit, weighed):
    lines = []
    visit(weighed, log=lines.append).get("/a%0d%0aGET%20/%1b[31m%c3%a9")

    assert [line.path for line in lines] == ["/a\\r\\nGET /\\x1b[31m\\xe9"]


def test_the_log_has_no_query_string(visit, weighed):
    lines = []
    client = visit(weighed, log=lines.append)

    client.get("/runs/nobody?identity=somebody-by-name")

    assert [(line.method, line.path, line.status) for line in lines] == [("GET", "/runs/nobody", 404)]
