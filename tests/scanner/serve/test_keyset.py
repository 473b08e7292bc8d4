"""Pages against a plain sort in Python."""

from __future__ import annotations

import pytest
from served_runs import rows_of

from scanner.serve.filters import MATCH_ORDERS
from scanner.serve.keyset import Condition, Place, read_page
from scanner.serve.tables import RunTables

KEYS = {
    "score": lambda row: -row["score"], "score_up": lambda row: row["score"],
    "q": lambda row: 2.0 if row["q_value"] is None else row["q_value"], "identity": lambda row: row["identity"] or "",
    "query": lambda row: row["query_uri"], "rank": lambda row: row["rank"], "file": lambda _: 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(weighed):
    return RunTables(weighed)


@pytest.mark.parametrize("name", MATCH_ORDERS)
@pytest.mark.parametrize("kept", ["all", "some"])
def test_pages_forwards_and_backwards_are_the_sorted_table(tables, name, kept):
    rows = [{**row, "row_id": n} for n, row in enumerate(rows_of())]
    condition = Condition()
    if kept == "some":
        rows, condition = (
            [row for row in rows if "near_copy" in row["flags"]],
            Condition("list_contains(flags, ?)", ("near_copy",)),
        )
    wanted = [row["row_id"] for row in sorted(rows, key=lambda row: (KEYS[name](row), row["row_id"]))]
    order, total = MATCH_ORDERS[name][1], len(rows)

    def page(place):
        return read_page(tables.ask, "matches", condition, order, size=37, total=total, place=place)

    seen, befores, at = [], [], page(None)
    while True:
        seen += [row["row_id"] for row in at.rows]
        befores.append(at.before)
        if at.later is None:
            break
        at = page(Place(at.later))
    back = [row["row_id"] for row in at.rows]
    while at.earlier is not None:
        at = page(Place(at.earlier, forward=False))
        back = [row["row_id"] for row in at.rows] + back

    assert seen == wanted
    assert befores == list(range(0, total, 37))
    assert back == wanted


def test_a_row_that_is_not_there_gives_the_first_page(tables):
    order = MATCH_ORDERS["score"][1]

    page = read_page(tables.ask, "matches", Condition(), order, size=3, total=400, place=Place(10**9))

    assert page.rows == read_page(tables.ask, "matches", Condition(), order, size=3, total=400).rows
