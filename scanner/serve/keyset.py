"""One page of a table of any length: sorted by a column and then by row, found by where the last page ended.

A page that starts at row 5 000 000 costs what the first one costs, because nothing before it is counted off (no OFFSET):
the address carries the number of the row at which to go on, and the database compares with that row's own value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]
Ask = Callable[[str, Sequence[Any]], Rows]
"""Runs one parameterised statement and returns its rows."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a table is filtered by: SQL with a ? for every value, and the values.  No value ever stands in the SQL."""

    sql: str = "true"
    values: tuple[Any, ...] = ()

    def and_(self, sql: str, *values: Any) -> Condition:
        """Return the condition narrowed by one more."""
        return Condition(f"{self.sql} AND {sql}" if self.sql != "true" else sql, (*self.values, *values))


@dataclass(frozen=True, slots=True)
class Order:
    """How a table is sorted.

    Attributes:
        expression: SQL of the key, never null.
        kind: its SQL type, so that a value is compared as what it is (a float32 as one, not as the double it prints as).
        descending: largest first; equal keys stay in the order of rows.
    """

    expression: str
    kind: str
    descending: bool

    def beyond(self, *, forward: bool) -> str:
        """Return the condition, of three values (key, key, row), for rows after the given one, or before it."""
        lower = self.descending is forward
        key, row = f"{self.expression} {'<' if lower else '>'}", "row_id >" if forward else "row_id <"
        return f"({key}= ?::{self.kind} AND ({key} ?::{self.kind} OR {row} ?))"

    def by(self, *, forward: bool) -> str:
        """Return what follows ORDER BY."""
        down = self.descending is forward
        return f"{self.expression} {'DESC' if down else 'ASC'}, row_id {'ASC' if forward else 'DESC'}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page starts: after a row, or before it; the row's own number is how the address names it."""

    row: int
    forward: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a table, and how to go on.

    Attributes:
        rows: with their number under `row_id`.
        total: rows that the condition keeps.
        before: how many of them come before this page.
    """

    rows: Rows
    total: int
    before: int

    @property
    def last(self) -> int:
        """Number of the last shown row, counted from 1; 0 for none."""
        return self.before + len(self.rows)

    @property
    def earlier(self) -> int | None:
        """Row before which the page before this one ends; None on the first page."""
        return self.rows[0]["row_id"] if self.rows and self.before > 0 else None

    @property
    def later(self) -> int | None:
        """Row after which the next page starts; None on the last page."""
        return self.rows[-1]["row_id"] if self.rows and self.last < self.total else None


def read_page(
    ask: Ask, view: str, condition: Condition, order: Order, *, size: int, total: int, place: Place | None = None
) -> Page:
    """Read one page and count what comes before it.

    Args:
        ask: the database.
        view: name of a view of ours with a column `row_id`, its rows' numbers.
        condition: which rows.
        order: how they are sorted.
        size: rows of a page.
        total: how many rows the condition keeps.
        place: None for the first page; a row that is not there gives the first page too.
    """
    limits = condition if place is None else _beyond(ask, view, condition, order, place)
    rows = _read(ask, view, limits, order, size=size, forward=place is None or place.forward)
    before = 0
    if place is not None and limits is not condition:
        beyond = ask(f"SELECT count(*) AS n FROM {view} WHERE {limits.sql}", limits.values)[0]["n"]  # noqa: S608
        before = total - beyond if place.forward else beyond - len(rows)
    return Page(rows, total, before)


def read_rows(ask: Ask, view: str, condition: Condition, order: Order, *, size: int, place: Place) -> Rows:
    """Read the rows of one page and count nothing; arguments as of `read_page`."""
    limits = _beyond(ask, view, condition, order, place)
    return _read(ask, view, limits, order, size=size, forward=place.forward)


def _read(ask: Ask, view: str, limits: Condition, order: Order, *, size: int, forward: bool) -> Rows:
    rows = ask(
        f"SELECT * FROM {view} WHERE {limits.sql} ORDER BY {order.by(forward=forward)} LIMIT {size:d}",  # noqa: S608
        limits.values,
    )
    return rows if forward else rows[::-1]


def _beyond(ask: Ask, view: str, condition: Condition, order: Order, place: Place) -> Condition:
    """Narrow a condition to what comes after a row, or before it."""
    found = ask(f"SELECT {order.expression} AS key FROM {view} WHERE row_id = ?", [place.row])  # noqa: S608
    if not found:
        return condition
    return condition.and_(order.beyond(forward=place.forward), found[0]["key"], found[0]["key"], place.row)
