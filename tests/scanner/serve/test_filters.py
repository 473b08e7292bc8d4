"""Filters against pyarrow, and against those who mean harm."""

from __future__ import annotations

import re
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_runs import AWKWARD, LEVEL, PEOPLE, name_of, rows_of

from scanner.errors import UsageError
from scanner.report.acknowledged import Finding
from scanner.serve.filters import IdentityFilter, Known, MatchFilter, query_string, read_filter
from scanner.serve.tables import RunTables

KNOWN = Known(
    LEVEL,
    (Finding("ffhq", "person-03"), Finding("celeba", uri="celeba/0.jpg"), Finding("ffhq", "person-02")),
    joint=True,
)
AGREEMENT = {name_of(p): p % 3 for p in range(PEOPLE)}


def looked_at(row):
    if row["identity"] is None:
        return (row["index"], row["reference_uri"]) == ("celeba", "celeba/0.jpg")
    return (row["index"], row["identity"]) == ("ffhq", "person-03")


CASES = {
    "verdict=named": lambda r: r["q_value"] is not None and r["q_value"] <= LEVEL,
    "verdict=not_named": lambda r: r["q_value"] is None or r["q_value"] > LEVEL,
    "score_min=0.6": lambda r: np.float32(r["score"]) >= np.float32(0.6),
    "score_max=0.6": lambda r: np.float32(r["score"]) <= np.float32(0.6),
    "score_min=0.5&score_max=0.5": lambda r: np.float32(r["score"]) == np.float32(0.5),
    "q_max=0.129": lambda r: r["q_value"] is not None and r["q_value"] <= 0.129,
    "identity=PERSON-1": lambda r: "person-1" in (r["identity"] or ""),
    "identity=" + quote(AWKWARD): lambda r: r["identity"] == AWKWARD,
    "identity=%22person-12%22": lambda r: r["identity"] == "person-12",
    "identity=%25": lambda r: "%" in (r["identity"] or ""),
    "query=model-2/": lambda r: r["query_uri"].startswith("model-2/"),
    "index=ffhq": lambda r: r["index"] == "ffhq",
    "flag=hub": lambda r: "hub" in r["flags"],
    "flag=none": lambda r: r["flags"] == [],
    "acknowledged=yes": looked_at,
    "acknowledged=no": lambda r: not looked_at(r),
    "agreement=2": lambda r: AGREEMENT.get(r["identity"], 0) >= 2 and r["identity"] is not None,
    "index=celeba&flag=near_copy&score_min=0.55&verdict=named": lambda r: (
        r["index"] == "celeba" and "near_copy" in r["flags"] and np.float32(r["score"]) >= np.float32(0.55)
        and r["q_value"] is not None and r["q_value"] <= LEVEL
    ),
}  # fmt: skip


def parsed(query):
    from urllib.parse import parse_qsl

    return read_filter(MatchFilter, parse_qsl(query, keep_blank_values=True))[0]


@pytest.fixture(scope="module")
def tables(weighed):
    return RunTables(weighed)


@pytest.mark.parametrize("query", CASES)
def test_a_filter_keeps_what_python_keeps(tables, query):
    wanted = [n for n, row in enumerate(rows_of()) if CASES[query](row)]
    condition = parsed(query).condition(KNOWN)

    rows = tables.ask(f"SELECT row_id FROM matches WHERE {condition.sql} ORDER BY row_id", condition.values)

    assert 0 < len(wanted) < 400
    assert [row["row_id"] for row in rows] == wanted


def test_in_a_run_that_names_nobody_nobody_is_named(tables):
    for verdict, kept in (("named", 0), ("not_named", 400)):
        condition = MatchFilter(verdict=verdict).condition(Known(None))
        assert tables.ask(f"SELECT count(*) AS n FROM matches WHERE {condition.sql}", condition.values) == [{"n": kept}]


def test_identities_are_filtered_as_pyarrow_filters_them(tables, weighed):
    rows = pq.read_table(weighed / "identities.parquet").to_pylist()
    chosen = IdentityFilter(verdict="named", index="ffhq", acknowledged="no")
    condition = chosen.condition(KNOWN)

    found = tables.ask(f"SELECT identity FROM identities WHERE {condition.sql} ORDER BY row_id", condition.values)

    wanted = [
        r["identity"] for r in rows if r["q_value"] <= LEVEL and r["index"] == "ffhq" and r["identity"] != "person-03"
    ]
    assert [row["identity"] for row in found] == wanted == ["person-01"]


def test_a_filter_and_its_query_string_are_one():
    chosen = MatchFilter(
        verdict="named", score_min=0.5, identity="a&b=c#d", flag="hub", sort="q", rows=100, agreement=0
    )

    assert parsed(query_string(chosen)) == chosen
    assert query_string(MatchFilter()) == ""


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sort=score;drop", "sort is one of score, score_up"), ("sort=row", "sort is one of"), ("sort=score desc", "sort is one of"),
        ("rows=1000000", "rows lies between 25 and 200."), ("rows=-1", "rows lies between"), ("rows=5e1", "rows is a whole number."),
        ("score_min=nan", "score_min lies between -1.0 and 1.0."), ("score_min=inf", "score_min lies"), ("score_min=x", "score_min is a number."),
        ("score_min=0_1", "score_min is a number."), ("q_max=2", "q_max lies between"), ("agreement=1.5", "agreement is a whole number."),
        ("agreement=٣", "agreement is a whole number."), ("after=-1", "after is a whole number."), ("after=" + "9" * 30, "after is a whole number."),
        ("after=1&before=2", "after and before exclude each other."), ("identity=a&identity=b", "'identity' is given twice."),
        ("nothing=1", "'nothing' is no parameter of this page."), ("identity=a%00b", "identity has at most 1002 printable letters."),
        ("verdict=named' OR 1=1", "verdict is one of named, not_named."), ("flag=hub') OR (1=1", "flag is one of"),
        ("rows=x&sort=y", "rows is a whole number. sort is one of"),
    ],
)  # fmt: skip
def test_what_a_parameter_cannot_be_is_refused_in_words(query, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        parsed(query)


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "'; DROP VIEW matches; --", '" OR ""="', "%' OR '1'='1", "\\", "$1", "?", "){}[]*"]
)
@pytest.mark.parametrize("name", ["identity", "query", "index"])
def test_a_text_is_a_text_and_never_sql(tables, name, text):
    condition = parsed(f"{name}={quote(text)}").condition(KNOWN)

    alike = '"harmless"' if name == "identity" and text[0] == text[-1] == '"' else "harmless"
    assert condition.sql == parsed(f"{name}={alike}").condition(KNOWN).sql
    found = tables.ask(f"SELECT count(*) AS n FROM matches WHERE {condition.sql}", condition.values)
    assert found == [{"n": 0}]
    assert tables.ask("SELECT count(*) AS n FROM matches") == [{"n": 400}]


NAMES = [
    "verdict",
    "score_min",
    "q_max",
    "identity",
    "query",
    "index",
    "flag",
    "acknowledged",
    "agreement",
    "sort",
    "rows",
    "after",
]
LETTERS = "personmdel0123-/.O'N\"<>()%_ ?$\\;ÿ日"
VALUES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["named", "0.5", "nan", "-1", "25", "hub", "yes", "q", "1e308", "0x1", "", " 7 "]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6))
def test_whatever_is_asked_is_refused_in_words_or_becomes_sql_of_ours(pairs):
    try:
        chosen, _ = read_filter(MatchFilter, pairs)
    except UsageError:
        return
    condition = chosen.condition(KNOWN)

    assert condition.sql.count("?") == len(condition.values)
    assert re.fullmatch(r"[A-Za-z_0-9 \"'.,?:<>=()\[\]]*", condition.sql)
    literals = set(re.findall(r"'([^']*)'", condition.sql))
    assert literals <= {""}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["identity", "query", "index"]),
    st.text(alphabet=LETTERS, min_size=1, max_size=30).filter(lambda text: text.isprintable() and text.strip()),
)
def test_any_text_is_answered_as_python_answers_it(tables, name, text):
    wanted = text.strip()
    column = {"identity": "identity", "query": "query_uri", "index": "index"}[name]
    values = [row[column] or "" for row in rows_of()]
    whole = name == "index" or (name == "identity" and len(wanted) > 1 and wanted[0] == wanted[-1] == '"')
    exact = wanted if name == "index" else wanted[1:-1]
    kept = [n for n, value in enumerate(values) if (value == exact if whole else wanted.lower() in value.lower())]
    condition = read_filter(MatchFilter, [(name, text)])[0].condition(KNOWN)

    found = tables.ask(f"SELECT row_id FROM matches WHERE {condition.sql} ORDER BY row_id", condition.values)

    assert [row["row_id"] for row in found] == kept
