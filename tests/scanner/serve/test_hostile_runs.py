"""Runs that are damaged, taken away, sealed, or made by somebody who means no good: what is said of them, and of the others."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run_folder import evidence, match, weighed, write_run
from served_runs import rows_of, write_weighed

from indexes.keys import FILE_VARIABLE, new_key, write_key_file
from scanner.serve.shelf import Shelf


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    monkeypatch.setattr("scanner.serve.shelf.LOOK_AGAIN_S", 0.0)


def words(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def paths(visitor) -> list[str]:
    return re.findall(r'<a class="open" href="(/runs/[^"]+)"', visitor.get("/").text)


def form_of(page: str) -> dict[str, str]:
    part = page[page.index('<form class="acknowledge"') :]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', part[: part.index("</form>")])
    return {name: html.unescape(value) for name, value in found}


def with_column(folder: Path, table: str, name: str, column: pa.Array) -> None:
    path = folder / f"{table}.parquet"
    rows = pq.read_table(path)
    changed = rows.set_column(rows.schema.get_field_index(name), name, column)
    pq.write_table(changed.replace_schema_metadata(rows.schema.metadata), path)


def test_a_run_that_is_taken_away_takes_no_other_along(visit, tmp_path):
    kept, gone = (write_run(tmp_path / name / "run", [match(1, 2, 0.5)]) for name in ("kept", "gone"))
    visitor = visit(kept, gone)
    assert len(paths(visitor)) == 2

    shutil.rmtree(gone)

    assert len(paths(visitor)) == 1
    assert visitor.get(paths(visitor)[0]).status_code == 200


def test_a_folder_that_cannot_be_named_takes_no_run_away(visit, tmp_path):
    run = write_run(tmp_path / "run", [match(1, 2, 0.5)])
    visitor = visit(tmp_path)
    odd = tmp_path / os.fsdecode(b"\xff")
    odd.mkdir()
    shutil.copy(run / "run.json", odd)

    assert len(paths(visitor)) == 1


@pytest.mark.parametrize("kind", ["deep", "pipe", "nowhere", "itself", "folder"])
def test_whatever_is_called_run_json_the_other_runs_are_shown(visit, tmp_path, kind):
    write_run(tmp_path / "good", [match(1, 2, 0.5)])
    (tmp_path / "odd").mkdir()
    odd = tmp_path / "odd" / "run.json"
    {
        "deep": lambda: odd.write_text("[" * 200_000), "pipe": lambda: os.mkfifo(odd), "folder": odd.mkdir,
        "nowhere": lambda: odd.symlink_to(tmp_path / "nowhere"), "itself": lambda: odd.symlink_to(odd),
    }[kind]()  # fmt: skip

    answer = visit(tmp_path).get("/")

    assert answer.status_code == 200
    assert re.findall(r'href="/runs/(\w+)-', answer.text) == ["good"]


@pytest.mark.parametrize(
    ("file", "place", "value"),
    [
        ("run.json", ("counts", "faces"), "many"), ("run.json", ("threshold", "value"), "high"), ("run.json", ("results", "matches"), [1]),
        ("run.json", ("results", "false_matches_expected"), "few"), ("run.json", ("indexes",), {"name": 1}),
        ("evidence.json", ("identities", "level"), "low"), ("evidence.json", ("identities", "below_level"), "two"),
        ("evidence.json", ("verdict",), "named"),
    ],
)  # fmt: skip
def test_a_document_that_says_something_else_is_damage_of_this_run(visit, tmp_path, file, place, value):
    write_run(tmp_path / "good", [match(1, 2, 0.5)])
    path = write_weighed(tmp_path / "odd") / file
    document = json.loads(path.read_text())
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path.write_text(json.dumps(document))

    answer = visit(tmp_path).get("/")

    assert answer.status_code == 200
    assert "! damaged odd does not say what a run says" in words(answer.text)
    assert re.findall(r'href="/runs/(\w+)-', answer.text) == ["good"]


@pytest.mark.parametrize("file", ["run.json", "evidence.json"])
@pytest.mark.parametrize("version", ["1", None, [1], 99])
def test_a_version_that_is_none_of_ours_is_a_sentence(visit, tmp_path, file, version):
    write_weighed(tmp_path / "odd")
    visitor = visit(tmp_path)
    path, page = tmp_path / "odd" / file, paths(visitor)[0]
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))
    os.utime(tmp_path / "odd" / "run.json", ns=(1, 1))

    answers = [visitor.get("/"), visitor.get(page), visitor.get(page + "/evidence")]

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    assert "Install" in words(answers[2].text)


def test_what_the_overview_reads_beside_may_be_broken_too(visit, tmp_path):
    write_run(tmp_path / "x" / "good", [match(1, 2, 0.5)])
    (write_weighed(tmp_path / "y" / "odd") / "identities.parquet").unlink()
    write_weighed(tmp_path / "z" / "known")
    (tmp_path / "z" / "acknowledged.json").write_text("{")

    answer = visit(tmp_path).get("/")

    assert answer.status_code == 200
    assert "odd/identities.parquet is not there" in words(answer.text)
    assert "acknowledged.json is no JSON" in words(answer.text)
    assert str(tmp_path) not in answer.text
    assert re.findall(r'href="/runs/(\w+)-', answer.text) == ["good"]


@pytest.mark.parametrize("table", ["matches", "queries", "rejects"])
def test_a_run_that_lost_a_table_does_not_say_that_nothing_was_found(visit, tmp_path, table):
    (write_run(tmp_path / "run", [match(1, 2, 0.5)]) / f"{table}.parquet").unlink()
    visitor = visit(tmp_path)

    answer = visitor.get(paths(visitor)[0])

    assert answer.status_code == 400
    assert f"run/{table}.parquet is not there." in words(answer.text)


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("score", pa.array(["high"]), "holds string as score, expected float"),
        ("identity", pa.array([b"\xff"]), "holds binary as identity, expected string"),
        ("flags", pa.array([[1]]), "holds list<element: int64> as flags, expected list<"),
    ],
)
def test_a_column_of_another_type_is_named(visit, tmp_path, name, column, says):
    with_column(write_run(tmp_path / "run", [match(1, 2, 0.5)]), "matches", name, column)
    visitor = visit(tmp_path)

    answers = [visitor.get(paths(visitor)[0] + page) for page in ("", "/matches/0", "/matches.csv")]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert all(f"run/matches.parquet {says}" in words(answer.text) for answer in answers)


def test_without_the_key_a_match_is_shown_and_its_faces_are_not(visit, tmp_path, monkeypatch):
    write_key_file(tmp_path / "key", [new_key()])
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "key"))
    visitor = visit(write_weighed(tmp_path / "runs" / "run"))
    page = paths(visitor)[0] + "/matches/0"
    assert visitor.get(page + "/query.png").status_code == 200

    monkeypatch.delenv(FILE_VARIABLE)

    shown = visitor.get(page)
    assert (shown.status_code, words(shown.text).count("encrypted, and the key is not at hand")) == (200, 2)
    assert f"{rows_of()[0]['score']:.4f}" in shown.text
    face = visitor.get(page + "/query.png")
    assert (face.status_code, "This face is encrypted" in words(face.text)) == (404, True)


def test_an_identity_leads_to_its_own_matches(visit, tmp_path):
    names = ["p-1", "p-10", "p-11", "L" * 1000]
    rows = [match(n, n, 0.5, identity=name, p_value=0.001, q_value=0.01) for n, name in enumerate(names)]
    people = [weighed(name, 0.01, 0.5) for name in names]
    folder = write_weighed(tmp_path / "run")
    write_run(folder, rows, identities=people, evidence=evidence("named"))
    visitor = visit(tmp_path)

    listed = visitor.get(paths(visitor)[0] + "/identities").text
    links = [html.unescape(link) for link in re.findall(r'<a class="open" href="([^"]+)"', listed)]

    assert len(links) == 4
    for name, link in zip(sorted(names, key=listed.index), links, strict=True):
        page = visitor.get(link).text
        assert re.findall(r'<td class="who">([^< ]+)', page) == [name]


def test_a_withdrawal_that_comes_twice_is_no_fault(visit, tmp_path):
    visitor = visit(write_run(tmp_path / "run", [match(1, 2, 0.5)]))
    form = form_of(visitor.get(paths(visitor)[0] + "/matches/0").text)
    visitor.post("/acknowledge", data={**form, "what": "acknowledge", "reason": "fine"})

    answers = [visitor.post("/acknowledge", data={**form, "what": "withdraw"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]


def test_a_reference_without_identity_is_not_said_to_lack_a_null(visit, tmp_path):
    visitor = visit(write_weighed(tmp_path / "run"))
    row = next(n for n, row in enumerate(rows_of()) if row["identity"] is None)

    text = words(visitor.get(f"{paths(visitor)[0]}/matches/{row}").text)

    assert "nobody weighed, since the reference has no identity." in text
    assert "has no null" not in text


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a"])
def test_no_beginning_of_a_formula_is_left(visit, tmp_path, text):
    visitor = visit(write_run(tmp_path / "run", [match(1, 2, 0.5, identity=text, flags=[text])]))

    answer = visitor.get(paths(visitor)[0] + "/matches.csv").text

    (row,) = csv.DictReader(io.StringIO(answer, newline=""))
    assert (row["identity"], row["flags"]) == (f"'{text}", f"'{text}")


def test_counts_are_remembered_by_short_keys(tmp_path):
    write_run(tmp_path / "run", [match(1, 2, 0.5)])
    shelf = Shelf([tmp_path])

    assert [shelf.remembered(("x" * 100_000, n % 2), lambda n=n: n) for n in range(4)] == [0, 1, 0, 1]
    assert sum(map(len, shelf._counts)) == 64
