"""docs/querying.md and the notebook, run on two small drawn scans: every command, and the answers that stand there."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scanner.images import encode_png
from scanner.report.database import Database
from scanner.report.questions import questions
from scanner.world.draw import face_pixels

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "querying.md").read_text("utf-8")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("querying"), pytest.mark.usefixtures("warm_scanner")]
CLOSE = 0.02
"""Pixels, and so scores, may differ a little on other processors."""


def run(command: str, folder: Path) -> str:
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def write_person(folder: Path, number: int, photos: range) -> None:
    person = folder / f"person-{number:05d}"
    person.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        (person / f"{photo}.png").write_bytes(encode_png(face_pixels(77, number, photo)))


@pytest.fixture(scope="module")
def world(warm_scanner: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the page speaks of, with its first commands run."""
    folder = tmp_path_factory.mktemp("querying")
    for number in range(12):
        write_person(folder / "photos", number, range(2))
    for number in range(30, 230):
        write_person(folder / "outsiders", number, range(1))
    for number, photos in {
        5: range(2, 5),
        7: range(2, 4),
        9: range(2, 3),
        **dict.fromkeys(range(300, 306), range(1)),
    }.items():
        write_person(folder / "monday", number, photos)
    for number, photos in {5: range(5, 6), 11: range(2, 4), **dict.fromkeys(range(306, 311), range(1))}.items():
        write_person(folder / "tuesday", number, photos)
    (folder / "monday" / "broken.png").write_bytes(b"no picture")
    (folder / "tuesday" / "empty.png").touch()
    shutil.copy(folder / "photos" / "person-00003" / "0.png", folder / "tuesday" / "copied.png")
    (block,) = re.findall(r"<!-- run: querying-runs -->\n```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines():
        run(line, folder)
    return folder


def answered() -> list[tuple[str, str]]:
    """Return every command of the page with the answer below it."""
    return re.findall(r"```bash\n(scanner report query runs .*?)\n```\n\n```text\n(.*?)\n```", PAGE, re.DOTALL)


def same(found: str, expected: str) -> bool:
    """Tell whether two cells agree: as text, or as numbers that are close."""
    try:
        return math.isclose(float(found), float(expected), abs_tol=CLOSE)
    except ValueError:
        return found == expected


def test_the_page_has_ten_questions():
    assert [int(number) for number in re.findall(r"^\*\*(\d+)\. .*\?\*\*", PAGE, re.MULTILINE)] == list(range(1, 11))
    assert len(answered()) == 10


@pytest.mark.parametrize("number", range(10))
def test_the_answers_of_the_page_are_those_that_are_given(world: Path, number: int):
    command, expected = answered()[number]

    found = list(csv.reader(io.StringIO(run(command, world))))

    wanted = list(csv.reader(io.StringIO(expected)))
    assert [len(row) for row in found] == [len(row) for row in wanted], found
    assert all(same(*cells) for rows in zip(found, wanted, strict=True) for cells in zip(*rows, strict=True)), found


def test_the_python_of_the_page_runs(world: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(world)
    (block,) = re.findall(r"<!-- run: querying-python -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}

    exec(block, names)

    assert names["rows"] == names["best"].num_rows == 20
    assert names["fresh"]["identity"].to_pylist() == ["person-00003", "person-00011"]
    assert names["named"].num_rows == 6


def test_the_sql_that_pages_runs(world: Path):
    (sql,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with Database([world / "runs"]) as database:
        whole = database.select("FROM matches ORDER BY score DESC, run, row_id").to_pylist()
        page = database.select(sql.replace("5000000", "3").replace("LIMIT 50", "LIMIT 5")).to_pylist()

    assert page == whole[3:8]


def test_the_tables_of_the_page_are_those_that_there_are(world: Path):
    with Database([world / "runs"]) as database:
        columns = {name: [one for one in database.columns(name).names if one != "run"] for name in database.tables}

    listed = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ((?:`\w+`(?:, )?)+) \|$", PAGE, re.MULTILINE))
    assert {name: re.findall(r"`(\w+)`", text) for name, text in listed.items()} == columns


def test_the_page_lists_every_ready_question_with_its_parameters():
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| [A-Z][^|]+\? \| (.*) ?\|$", PAGE, re.MULTILINE))

    assert {name: re.findall(r"`(\w+)`", text) for name, text in listed.items()} == {
        question.name: [parameter.name for parameter in question.parameters] for question in questions().values()
    }


def test_every_cell_of_the_notebook_runs(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    notebook = json.loads((ROOT / "examples" / "querying.ipynb").read_text("utf-8"))
    monkeypatch.chdir(world)
    names: dict[str, Any] = {}

    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            exec("".join(cell["source"]), names)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "person-00003    1.00  1 faces in 1 runs"
    assert lines[-1] == "threshold 0.58"
    assert [row["verdict"] for row in names["said"].to_pylist()] == ["named", "named"]
    assert names["fresh"]["identity"].to_pylist() == ["person-00003", "person-00011"]
    assert sum(names["histogram"]["faces"].to_pylist()) == 9
    assert names["pairs"] == 20
