"""Every ready question, asked of runs small enough to answer by hand."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from null_run import add_null, evidence, identity
from run_folder import match, reject, write_run

from scanner import open_runs
from scanner.errors import QueryError, UsageError
from scanner.report.questions import question, questions

NAMES = [
    "busy-references", "by-generator", "by-night", "close-calls", "named", "near-copies", "new-since", "rejects-by-reason",
    "top-identities", "verdicts",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of one generator, and a run of another one with a null."""
    folder = tmp_path_factory.mktemp("questions")
    nights = folder / "job" / "nights"
    first = [match(0, 1, 0.6), match(2, 1, 0.65), match(2, 2, 0.5)]
    write_run(
        nights / "000001" / "gan", first, rejects=[reject("g/1.png"), reject("g/0.png"), reject("g/2.png", "truncated")]
    )
    second = [match(2, 1, 0.7), match(1, 3, 0.5, identity=None), match(2, 9, 0.99, flags=["same_bytes"])]
    write_run(nights / "000002" / "gan", second, scores=[0.41, 0.5, 0.99, 0.425, 0.36])
    other = [match(0, 2, 0.8, q_value=0.02, flags=["hub"]), match(1, 2, 0.95, q_value=0.02, flags=["hub", "near_copy"])]
    write_run(folder / "other", other, scores=[0.8, 0.95], queries=["vae/"])
    add_null(folder / "other", [identity(2, 0.02, clusters=2), identity(3, 0.04), identity(4, 0.2)])
    matched = {"000001/gan": [1, 0, 2], "000002/gan": [0, 1, 2, 0, 0], "other": [1, 1]}
    for path in (nights / "000001" / "gan", nights / "000002" / "gan", folder / "other"):
        _count(path, matched["other" if path.name == "other" else f"{path.parent.name}/gan"])
    return folder


def _count(run: Path, matches: list[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(run / "queries.parquet")
    place = table.schema.get_field_index("matches")
    pq.write_table(
        table.set_column(place, table.schema.field(place), pa.array(matches, pa.int32())), run / "queries.parquet"
    )


def ask(runs: Path, name: str, **values: Any) -> list[tuple[Any, ...]]:
    with open_runs([runs]) as reports:
        return [tuple(_short(value) for value in row.values()) for row in reports.ask(name, **values).to_pylist()]


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def test_there_are_ten_and_each_says_what_it_answers():
    assert list(questions()) == NAMES
    for one in questions().values():
        assert one.asks.endswith("?"), one.name
        assert one.rows.endswith("."), one.name
        assert {parameter.name for parameter in one.parameters} == set(re.findall(r"\$(\w+)", one.sql)), one.name


def test_top_identities(runs: Path):
    assert ask(runs, "top-identities", top=3) == [
        ("celeba", "person-9", 0.99, None, 1, 1),
        ("celeba", "person-2", 0.95, 0.02, 3, 2),
        ("celeba", "person-1", 0.7, None, 2, 2),
    ]
    assert ask(runs, "top-identities")[3:] == [("celeba", "reference 3", 0.5, None, 1, 1)]


def test_named(runs: Path):
    assert ask(runs, "named") == [
        ("other", "celeba", "person-2", 0.88, 2, 2, 0.002, 0.02, []),
        ("other", "celeba", "person-3", 0.86, 2, 1, 0.004, 0.04, []),
    ]
    assert [row[2] for row in ask(runs, "named", level=0.02)] == ["person-2"]
    assert [row[2] for row in ask(runs, "named", level=0.5)] == ["person-2", "person-3", "person-4"]


def test_who_is_not_named_by_the_verdict_is_not_named(tmp_path: Path):
    add_null(write_run(tmp_path / "run", []), [identity(2, 0.001)], evidence("inconclusive"))

    assert ask(tmp_path, "named") == []


def test_new_since(runs: Path):
    assert ask(runs, "new-since", run="000001/gan") == [
        ("celeba", "person-9", "000002/gan", 0.99, 1),
        ("celeba", "reference 3", "000002/gan", 0.5, 1),
    ]
    assert ask(runs, "new-since", run="other") == []
    with pytest.raises(QueryError, match="There is no run gan: see the column run of runs"):
        ask(runs, "new-since", run="gan")


def test_by_generator(runs: Path):
    assert ask(runs, "by-generator") == [
        ("vae/", 1, 2, 2, 1.0, 2, 1, 0.95),
        ("gan", 2, 8, 4, 0.5, 6, 4, 0.99),
    ]


def test_by_night(runs: Path):
    assert ask(runs, "by-night") == [
        ("job", 1, 6, 3, 2, 3, 2, []),
        ("job", 2, 8, 5, 2, 3, 2, []),
    ]


def test_verdicts(runs: Path):
    nothing = (None, None, None, None, None, None, None, "Scanned without a null: matches only.")
    assert ask(runs, "verdicts") == [
        ("000001/gan", *nothing),
        ("000002/gan", *nothing),
        ("other", "named", 1, 10, 0.05, 0.02, 0.125, ["hubs"], "The verdict is named."),
    ]


def test_rejects_by_reason(runs: Path):
    assert ask(runs, "rejects-by-reason") == [
        ("000001/gan", "item", "no_face", 2, 0.3333, "g/0.png"),
        ("000001/gan", "item", "truncated", 1, 0.1667, "g/2.png"),
    ]


def test_near_copies(runs: Path):
    assert ask(runs, "near-copies") == [
        ("000002/gan", "gen/2.png", "celeba", "celeba/9.jpg", "person-9", 0.99, None, ["same_bytes"]),
        ("other", "gen/1.png", "celeba", "celeba/2.jpg", "person-2", 0.95, None, ["hub", "near_copy"]),
    ]


def test_busy_references(runs: Path):
    assert ask(runs, "busy-references") == [
        ("other", "celeba", "celeba/2.jpg", "person-2", 2, 1.0, 0.95, True),
        ("000001/gan", "celeba", "celeba/1.jpg", "person-1", 2, 0.6667, 0.65, False),
    ]
    assert ask(runs, "busy-references", faces_min=3) == []


def test_close_calls(runs: Path):
    assert ask(runs, "close-calls") == [
        ("000002/gan", "gen/3.png", 0, "celeba", 0, 0.425, 0.005),
        ("000002/gan", "gen/0.png", 0, "celeba", 0, 0.41, 0.02),
    ]
    assert [row[1] for row in ask(runs, "close-calls", margin=0.1)] == ["gen/3.png", "gen/0.png", "gen/4.png"]
    assert [row[1] for row in ask(runs, "close-calls", margin=0.1, top=1)] == ["gen/3.png"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_found_nothing_has_an_answer(tmp_path: Path, name: str):
    write_run(tmp_path / "run", [], scores=[0.1])
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["results"]["matches"] == 0
    values = {"run": "run"} if name == "new-since" else {}

    found = ask(tmp_path / "run", name, **values)

    assert len(found) == (1 if name in ("by-generator", "verdicts") else 0)


def test_values_are_read_as_what_the_question_takes():
    assert question("close-calls").values({"margin": "0.5"}) == {"margin": 0.5, "top": 50}
    assert question("named").values({"level": "0.1"}) == {"level": 0.1}
    assert question("new-since").values({"run": "1"}) == {"run": "1"}


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("top-identities", {"top": "x"}, "top=x: a whole number is expected (rows)."),
        ("close-calls", {"margin": "x"}, "margin=x: a number is expected (how far below)."),
        ("close-calls", {"x": "1"}, "The question close-calls takes margin, top, not x."),
        ("verdicts", {"x": "1"}, "The question verdicts takes no parameters, not x."),
        (
            "new-since",
            {},
            "The question new-since needs run (a run, named as in that column of runs): add --set run=VALUE.",
        ),
    ],
)
def test_a_wrong_value_is_refused(name: str, given: dict[str, str], said: str):
    with pytest.raises(UsageError) as refused:
        question(name).values(given)

    assert str(refused.value) == said


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"^There is no question 'new-sinse'. Did you mean new-since\?$"):
        question("new-sinse")
    with pytest.raises(UsageError, match=r"^There is no question 'zzz'. There are busy-references, "):
        question("zzz")
