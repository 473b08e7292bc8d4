"""What the pages say, over a run made by hand."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import stat
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run_folder import POINT, evidence, match, weighed, write_run
from served_runs import AWKWARD, LEVEL, PEOPLE, q_of, rows_of, write_weighed

from scanner.report.acknowledged import Acknowledgement, Finding, read_acknowledged

NAMED = sum(q_of(p) <= LEVEL for p in range(PEOPLE))


def words(page: str) -> str:
    """Return a page as one line of text."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page))).replace("\N{THIN SPACE}", " ")


def table(page: str) -> list[list[str]]:
    """Return the rows of the first table."""
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    return [
        [words(cell).strip() for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)]
        for row in body.split("</tr>")[:-1]
    ]


def scores(page: str) -> list[str]:
    return [row[0] for row in table(page)]


def form_of(page: str) -> dict[str, str]:
    """Return the hidden fields of the form that acknowledges."""
    part = page[page.index('<form class="acknowledge"') :]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', part[: part.index("</form>")])
    return {name: html.unescape(value) for name, value in found}


def test_the_overview_lists_runs_with_their_verdict(client):
    page = client.get("/").text

    ((name, says, new, named, matches, faces, _),) = table(page)
    assert (name, new, named, matches, faces) == ("weighed", str(NAMED), str(NAMED), "400", "60")
    assert says == "● named It is named."


@pytest.mark.parametrize(
    ("state", "counts"), [("none", ["0", "0"]), ("undecided", ["–", "–"]), ("inconclusive", ["–", "–"])]
)
def test_nobody_is_counted_where_nobody_could_be_named(visit, tmp_path, state, counts):
    visitor = visit(write_weighed(tmp_path / "run", state=state))
    overview = visitor.get("/").text

    assert table(overview)[0][2:4] == counts
    page = visitor.get(re.search(r'href="(/runs/[^"]+)"', overview)[1]).text
    assert ("identities named" in page) == (state == "none")


def test_the_run_page_shows_the_best_matches(client, run_path):
    page = client.get(run_path).text

    best = sorted((np.float32(row["score"]) for row in rows_of()), reverse=True)[:50]
    assert scores(page) == [f"{score:.3f}" for score in best]
    assert "1 to 50 of 400" in words(page)
    assert re.search(r"<h1>It is named\.</h1>", page)


def test_a_filter_and_its_pages(client, run_path):
    wanted = sorted((np.float32(r["score"]) for r in rows_of() if r["index"] == "ffhq"), reverse=True)
    path, seen = run_path + "?index=ffhq&rows=25", []
    while path:
        page = client.get(path).text
        seen += scores(page)
        after = re.search(r'rel="next" href="([^"]+)"', page)
        path = html.unescape(after[1]) if after else None

    assert seen == [f"{score:.3f}" for score in wanted]


def test_what_is_empty_says_why(client, run_path, visit, tmp_path):
    assert "None of 400 matches passes these filters." in words(client.get(run_path + "?identity=nobody").text)
    visitor = visit(write_run(tmp_path / "none", []))
    page = visitor.get(re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]).text
    assert "No scanned face comes as close to a reference as the threshold (0.430)." in words(page)
    assert "how small a leak" not in page


def test_names_of_others_are_text_everywhere(client, run_path):
    person = quote(AWKWARD)
    row = next(n for n, row in enumerate(rows_of()) if row["identity"] == AWKWARD)

    for path in (run_path + f"?identity={person}", run_path + "/identities?rows=200", run_path + f"/matches/{row}"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert html.escape(AWKWARD, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page


def test_identities_are_listed_with_their_values(client, run_path):
    page = client.get(run_path + "/identities?verdict=named&rows=25").text

    assert [row[0].split()[0] for row in table(page)] == [f"person-{p:02d}" for p in range(NAMED)]
    assert table(page)[1][1] == "0.890"


def test_the_evidence_page_shows_guards_and_rejects(client, run_path):
    page = words(client.get(run_path + "/evidence").text)

    assert "! hubs speaks against it" in page
    assert "✓ null fits is content" in page
    assert "no face was seen no_face item 1" in page


def test_the_match_page_gives_reasons(client, run_path):
    row = next(n for n, row in enumerate(rows_of()) if row["identity"] == "person-01" and "hub" in row["flags"])
    score = rows_of()[row]["score"]
    page = client.get(run_path + f"/matches/{row}").text
    text = words(page)

    assert "person-01 is named: closer to the scanned faces than people known not to be in training." in text
    assert f"The cosine of the scanned face and the reference is {score:.4f}" in text
    assert "It was given by hand, so nobody knows how many pairs would match by chance." in text
    null = pq.read_table(client_folder(client) / "photos.parquet").to_pylist()
    reached = sum(p["side"] == "null" and p["best_score"] >= np.float32(score) for p in null)
    assert f"Of 500 photos of people known not to be in training, {reached or 'none'} come" in text
    assert f"(q = {q_of(1):.2g}; under any dependence" in text
    assert "1 of 2 counted embedders name this identity alone" in text
    assert "This photo lies close to everything that was scanned" in text
    assert f"this match {score:.3f}" in page


def client_folder(client):
    shelf = client._app._app.state.site.shelf
    return shelf.folder(shelf.ids()[0])


def test_neighbours_are_all_other_matches(client, run_path):
    rows = rows_of()
    here = rows[5]
    of_query = sum(row["query_id"] == here["query_id"] for row in rows) - 1
    of_reference = sum((row["index"], row["reference_id"]) == (here["index"], here["reference_id"]) for row in rows) - 1

    text = words(client.get(run_path + "/matches/5").text)

    assert f"What else this scanned face matches {of_query}" in text
    assert f"What else matches this reference {of_reference}" in text


def test_crops_only_where_the_run_kept_them(client, run_path, visit, tmp_path):
    crop = client.get(run_path + "/matches/0/query.png")
    assert (crop.status_code, crop.headers["content-type"], crop.headers["cache-control"]) == (
        200,
        "image/png",
        "no-store",
    )
    kept = {(row["query_id"], row["index"], row["reference_id"]): row["crop_png"] for row in
            pq.read_table(client_folder(client) / "crops.parquet").to_pylist()}  # fmt: skip
    first = rows_of()[0]
    assert crop.content == kept[first["query_id"], None, None]
    assert (
        client.get(run_path + "/matches/0/reference.png").content == kept[None, first["index"], first["reference_id"]]
    )
    other = next(n for n, row in enumerate(rows_of()) if (row["query_id"], None, None) not in kept)
    assert client.get(f"{run_path}/matches/{other}/query.png").status_code == 404
    without = visit(write_run(tmp_path / "plain", [match(1, 2, 0.5)]))
    path = re.search(r'href="(/runs/[^"]+)"', without.get("/").text)[1]
    assert without.get(path + "/matches/0/query.png").status_code == 404
    assert "no crops in this run" in without.get(path + "/matches/0").text


def test_a_match_without_a_null_claims_nothing_about_chance(visit, tmp_path):
    threshold = {"value": 0.43, "origin": "calibrated", "point": POINT, "calibrated_on": "people"}
    visitor = visit(write_run(tmp_path / "plain", [match(1, 2, 0.5, rank=3)], threshold=threshold))
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]

    text = words(visitor.get(path + "/matches/0").text)

    assert "person-2 matches; how unusual that is, nobody measured (the run has no null)." in text
    assert "2 references are closer to it" in text
    assert "of 1 000 000 pairs of different people 99 reach it, a false match rate of 9.9e-05" in text
    assert visitor.get(path + "/identities").status_code == 404


@pytest.mark.parametrize(
    ("state", "says"),
    [("none", "matches but is not named: people"), ("inconclusive", "and the run is inconclusive: its null cannot be compared"),
     ("undecided", "and the run is undecided: its null is too small")],
)  # fmt: skip
def test_the_headline_says_no_more_than_the_run(visit, tmp_path, state, says):
    visitor = visit(write_weighed(tmp_path / "run", state=state))
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]
    row = next(n for n, row in enumerate(rows_of()) if row["identity"] == "person-01")

    text = words(visitor.get(f"{path}/matches/{row}").text)

    assert f"person-01 matches{' ' if state == 'none' else ', '}{says.removeprefix('matches ')}" in text
    assert "● named" not in text


def test_next_and_previous_follow_the_filtered_table(client, run_path):
    rows = rows_of()
    wanted = sorted(
        (n for n, r in enumerate(rows) if "hub" in r["flags"]), key=lambda n: (-np.float32(rows[n]["score"]), n)
    )
    query = "?flag=hub"
    at, seen = wanted[0], [wanted[0]]
    for _ in wanted[1:]:
        where = client.get(f"{run_path}/matches/{at}/next{query}").headers["location"]
        at = int(re.fullmatch(re.escape(run_path) + r"/matches/(\d+)\?flag=hub", where)[1])
        seen.append(at)

    assert seen == wanted
    assert client.get(f"{run_path}/matches/{at}/next{query}").headers["location"] == run_path + query
    assert (
        client.get(f"{run_path}/matches/{wanted[1]}/previous{query}").headers["location"]
        == f"{run_path}/matches/{wanted[0]}{query}"
    )


@pytest.mark.parametrize("query", ["", "?flag=near_copy&sort=q", "?sort=file", "?identity=nobody"])
def test_exports_are_the_filtered_table_in_its_order(client, run_path, query):
    rows = rows_of()
    kept = [n for n, r in enumerate(rows) if ("near_copy" in r["flags"] if "near" in query else "nobody" not in query)]
    key = {"?sort=file": lambda n: n, "?flag=near_copy&sort=q": lambda n: (rows[n]["q_value"] or 2.0, n)}
    kept.sort(key=key.get(query, lambda n: (-np.float32(rows[n]["score"]), n)))

    parquet = client.get(run_path + "/matches.parquet" + query)
    text = client.get(run_path + "/matches.csv" + query)

    found = pq.read_table(pa.BufferReader(parquet.content)).to_pylist()
    assert [(r["query_id"], r["reference_id"], r["score"]) for r in found] == [
        (rows[n]["query_id"], rows[n]["reference_id"], np.float32(rows[n]["score"])) for n in kept
    ]
    lines = list(csv.DictReader(io.StringIO(text.text)))
    assert [(r["query_id"], r["identity"], r["flags"]) for r in lines] == [
        (rows[n]["query_id"], rows[n]["identity"] or "", " ".join(rows[n]["flags"])) for n in kept
    ]
    assert re.fullmatch(
        r'attachment; filename="matches-weighed-[0-9a-f]{8}(-filtered)?\.csv"', text.headers["content-disposition"]
    )


def test_a_text_that_a_spreadsheet_would_run_stays_a_text(visit, tmp_path):
    visitor = visit(write_run(tmp_path / "run", [match(1, 2, 0.5, identity='=HYPERLINK("http://evil")')]))
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]

    (row,) = csv.DictReader(io.StringIO(visitor.get(path + "/matches.csv").text))

    assert row["identity"] == '\'=HYPERLINK("http://evil")'


def test_a_finding_is_acknowledged_and_taken_back(visit, tmp_path):
    folder = write_weighed(tmp_path / "run")
    visitor = visit(folder)
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]
    row = next(n for n, r in enumerate(rows_of()) if r["identity"] == "person-01")
    address = f"{path}/matches/{row}?flag=hub"
    form = form_of(visitor.get(address).text)

    done = visitor.post("/acknowledge", data={**form, "what": "acknowledge", "reason": "licensed, see contract 7"})

    assert (done.status_code, done.headers["location"]) == (303, address)
    file = tmp_path / "acknowledged.json"
    assert read_acknowledged(file) == {Finding("ffhq", "person-01"): Acknowledgement("licensed, see contract 7", "run")}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "licensed, see contract 7" in visitor.get(address).text
    assert table(visitor.get("/").text)[0][2] == str(NAMED - 1)
    assert words(visitor.get(path + "/identities?acknowledged=yes").text).count("✓ acknowledged") == 1

    visitor.post("/acknowledge", data={**form, "what": "withdraw"})

    assert read_acknowledged(file) == {}


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"form_secret": "wrong"}, 403, "reload the page"), ({"run": "../../etc"}, 404, "no run of that name"), ({"reason": " "}, 400, "A reason of 1 to"),
        ({"identity": "somebody-else"}, 400, "This run has no such finding."), ({"index": "' OR 1=1 --"}, 400, "no such finding"),
        ({"reason": "x" * 1001}, 400, "A reason of 1 to 1000"), ({"extra": "1"}, 400, "The form is not complete"),
        ({"uri": "celeba/1.jpg"}, 400, "give one of the two"),
    ],
)  # fmt: skip
def test_a_form_that_is_not_ours_or_wrong_changes_nothing(visit, tmp_path, change, status, says):
    visitor = visit(write_weighed(tmp_path / "run"))
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]
    row = next(n for n, r in enumerate(rows_of()) if r["identity"] == "person-01")
    form = {**form_of(visitor.get(f"{path}/matches/{row}").text), "what": "acknowledge", "reason": "fine", **change}

    answer = visitor.post("/acknowledge", data=form)

    assert (answer.status_code, says in words(answer.text)) == (status, True)
    assert not (tmp_path / "acknowledged.json").exists()


@pytest.mark.parametrize(
    "back", ["https://evil.org/", "//evil.org/", "/runs/x\r\nset-cookie: a=b", "javascript:alert(1)", "/runs/../../x"]
)
def test_a_form_leads_back_to_this_site_alone(visit, tmp_path, back):
    visitor = visit(write_weighed(tmp_path / "run"))
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]
    row = next(n for n, r in enumerate(rows_of()) if r["identity"] == "person-01")
    form = {**form_of(visitor.get(f"{path}/matches/{row}").text), "what": "acknowledge", "reason": "fine", "back": back}

    assert visitor.post("/acknowledge", data=form).headers["location"] == path


def test_a_full_disk_is_said(visit, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr("scanner.serve.match_pages.acknowledge", full)
    visitor = visit(write_weighed(tmp_path / "run"))
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]
    form = form_of(visitor.get(f"{path}/matches/1").text)

    answer = visitor.post("/acknowledge", data={**form, "what": "acknowledge", "reason": "fine"})

    assert (
        answer.status_code,
        "The disk does not take or give it: No space left on device." in words(answer.text),
    ) == (500, True)
    assert str(tmp_path) not in answer.text


def test_exports_wait_for_each_other_and_then_say_so(visit, tmp_path, monkeypatch):
    from scanner.serve import tables

    visitor = visit(write_run(tmp_path / "run", [match(1, 2, 0.5)]))
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]
    monkeypatch.setattr(tables, "WAIT_S", 0.01)
    for _ in range(tables.EXPORTS):
        tables._exporting.acquire()
    try:
        answer = visitor.get(path + "/matches.csv")
    finally:
        for _ in range(tables.EXPORTS):
            tables._exporting.release()

    assert (answer.status_code, "2 exports are under way." in words(answer.text)) == (503, True)
    assert visitor.get(path + "/matches.csv").status_code == 200


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_who_asks_for_the_head_of_an_export_starts_none(client, run_path, kind, monkeypatch):
    from scanner.serve.tables import RunTables

    headers = client.get(f"{run_path}/matches.{kind}").headers
    monkeypatch.setattr(RunTables, "stream", None)

    answer = client.request("HEAD", f"{run_path}/matches.{kind}")

    assert answer.status_code == 200
    assert all(answer.headers[name] == headers[name] for name in ("content-type", "content-disposition"))


def test_comparisons_wait_for_each_other_and_then_say_so(visit, tmp_path, monkeypatch):
    from scanner.serve import pages

    visitor = visit(*(write_run(tmp_path / name, [match(1, 2, 0.5)]) for name in ("a", "b")))
    base, run = re.findall(r'<option value="([^"]+)"', visitor.get("/compare").text)[:2]
    monkeypatch.setattr(pages, "WAIT_S", 0.01)
    for _ in range(pages.COMPARISONS):
        pages._comparing.acquire()
    try:
        answer = visitor.get(f"/compare?base={base}&run={run}")
    finally:
        for _ in range(pages.COMPARISONS):
            pages._comparing.release()

    assert (answer.status_code, "2 comparisons are under way." in words(answer.text)) == (503, True)
    assert visitor.get(f"/compare?base={base}&run={run}").status_code == 200


def test_two_nights_are_compared(visit, tmp_path):
    for night, people in ((1, (1, 2)), (2, (2, 3))):
        found = [match(p, p, 0.5 + 0.01 * night, p_value=0.001, q_value=0.01) for p in people]
        folder = write_run(
            tmp_path / "state" / "nights" / f"{night:06d}" / "gen", found, evidence=evidence("named"),
            identities=[weighed(f"person-{p}", 0.01, 0.5) for p in people],
        )  # fmt: skip
        (folder / "evidence.json").write_text(
            json.dumps({**_plain_evidence(), "verdict": evidence("named")["verdict"]})
        )
    visitor = visit(tmp_path / "state")
    overview = visitor.get("/").text

    assert [row[:4] for row in table(overview)] == [
        ["000002/gen", "● named It is named.", "1", "2"], ["000001/gen", "● named It is named.", "2", "2"],
    ]  # fmt: skip
    link = html.unescape(re.search(r'href="(/compare\?[^"]+)"', overview)[1])
    page = visitor.get(link).text
    assert "1 new finding, 1 newly named; 1 still there, 1 gone." in words(page)
    assert table(page)[0][:3] == ["person-3 celeba", "–", "named"]


def _plain_evidence():
    return {
        "format": "identity-leak-evidence", "format_version": 1, "guards": [],
        "identities": {"level": 0.05, "below_level": 2, "identities": 2, "null_identities": 1000},
        "searches": {"searches": 3, "below_level": 0}, "clusters": {"clusters": 3}, "power": None,
        "population": {"share": 0.5, "share_interval": [0, 1], "p_value": 1.0, "leaking": 0.0, "leaking_interval": [0, 1]},
        "rates": {"fpir": {"value": 0.0, "low": 0.0, "high": 1.0, "extrapolated": False}},
    }  # fmt: skip


def test_runs_of_two_embedders_are_not_compared(visit, tmp_path):
    for name in ("a", "b"):
        road = {"embedder": {"name": name, "fingerprint": name * 16}, "faces": None}
        write_run(tmp_path / "x" / name, [match(1, 2, 0.5)], road={**road, "faces": {"mode": "whole"}})
    visitor = visit(tmp_path)
    asked = visitor.get("/compare").text
    base, run = re.findall(r'<option value="([^"]+)"', asked)[:2]
    assert re.findall(r'<option value="([^"]+)" selected', asked) == [base, run]

    page = words(visitor.get(f"/compare?base={base}&run={run}").text)

    assert "Scores of two embedders cannot be compared" in page
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    "path",
    ["/runs/..%2f..%2fetc%2fpasswd", "/runs/../../etc/passwd", "/static/..%2f..%2f__init__.py", "/static/../app.py", "/runs/%00",
     "/runs/x/matches/0/..%2fquery.png", "/static/site.css/..", "/runs/.", "//etc/passwd", "/runs/weighed", "/favicon.ico", "/static/templates"],
)  # fmt: skip
def test_no_path_of_an_address_reaches_the_file_system(client, path):
    answer = client.get(path)

    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("row", ["99999999999999999999999", str(2**62), "400", "-1", "1e3", "0x1", "٣", "1;2"])
def test_matches_that_are_not_there(client, run_path, row):
    assert client.get(f"{run_path}/matches/{row}").status_code == 404


@pytest.mark.parametrize(
    "query",
    ["x=1", "sort=score'--", "rows=99999", "after=1&after=2", "%ff=%ff", "identity=%ff", "&".join(["a=1"] * 60)],
)
@pytest.mark.parametrize(
    "page", ["", "/identities", "/matches.csv", "/matches/0", "/matches/0/next", "/evidence", "/matches/0/query.png"]
)
def test_parameters_that_no_page_takes_are_refused(client, run_path, page, query):
    answer = client.get(f"{run_path}{page}?{query}")

    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_a_damaged_run_is_told_and_the_others_are_shown(visit, tmp_path):
    write_run(tmp_path / "x" / "good", [match(1, 2, 0.5)])
    odd = write_run(tmp_path / "x" / "odd", [match(1, 2, 0.5)])
    (odd / "evidence.json").write_text("{}")
    (tmp_path / "x" / "worse").mkdir()
    (tmp_path / "x" / "worse" / "run.json").write_text("{")
    broken = write_run(tmp_path / "x" / "bad", [match(1, 2, 0.5)])
    (broken / "matches.parquet").write_bytes(b"no table")
    visitor = visit(tmp_path)

    overview = visitor.get("/")
    assert overview.status_code == 200
    rows = {row[0]: row for row in table(overview.text)}
    assert rows["good"][4] == "1"
    assert "damaged" in rows["worse"][1]
    assert rows["odd"][1] == "! damaged odd does not say what a run says (KeyError: 'verdict'). Make it again."
    paths = re.findall(r'<a class="open" href="(/runs/[^"]+)"', overview.text)
    answers = {path.split("/")[2].split("-")[0]: visitor.get(path) for path in paths}
    assert {name: answer.status_code for name, answer in answers.items()} == {"good": 200, "bad": 400}
    assert "is no readable Parquet file" in words(answers["bad"].text)
    assert str(tmp_path) not in overview.text + answers["bad"].text


def test_a_run_that_was_rewritten_is_read_anew(visit, tmp_path):
    folder = write_run(tmp_path / "x" / "run", [match(1, 2, 0.5), match(2, 3, 0.6)])
    visitor = visit(tmp_path)
    path = re.search(r'href="(/runs/[^"]+)"', visitor.get("/").text)[1]
    assert scores(visitor.get(path).text) == ["0.600", "0.500"]

    write_run(folder, [match(1, 2, 0.5)])

    page = visitor.get(path).text
    assert scores(page) == ["0.500"]
    assert "1 to 1 of 1" in words(page)


def test_a_new_run_shows_up_and_old_addresses_stay(visit, tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.serve.shelf.LOOK_AGAIN_S", 0.0)
    write_run(tmp_path / "x" / "a", [match(1, 2, 0.5)])
    visitor = visit(tmp_path)
    before = re.findall(r'<a class="open" href="([^"]+)"', visitor.get("/").text)

    write_run(tmp_path / "x" / "b", [match(1, 2, 0.5)])

    after = re.findall(r'<a class="open" href="([^"]+)"', visitor.get("/").text)
    assert len(after) == 2
    assert before[0] in after
