"""What a visitor may ask of a table: every parameter is named here, with its kind and its limits; all others are refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from scanner.errors import UsageError
from scanner.report.acknowledged import Finding
from scanner.serve.keyset import Condition, Order, Place

TEXT_MAX: Final = 1002
"""A label has at most 1 000 letters, and two quotes make it the whole one (see `exactly`)."""
PAGE_ROWS: Final = 50
ROWS_MAX: Final = (25, 50, 100, 200)
"""Sizes that a page may have."""
ROWS_BOUND: Final = 1 << 62
"""No table has a row of this number."""
FLAGS: Final = ("same_bytes", "near_copy", "hub", "low_quality")
_NO_Q: Final = "2.0"
"""Sorts what has no p or q behind what has one."""

MATCH_ORDERS: Final[Mapping[str, tuple[str, Order]]] = {
    "score": ("highest score", Order("score", "FLOAT", descending=True)),
    "score_up": ("lowest score", Order("score", "FLOAT", descending=False)),
    "q": ("smallest q-value", Order(f"coalesce(q_value, {_NO_Q})", "DOUBLE", descending=False)),
    "identity": ("identity", Order("coalesce(identity, '')", "VARCHAR", descending=False)),
    "query": ("scanned face", Order("query_uri", "VARCHAR", descending=False)),
    "rank": ("rank", Order("rank", "INTEGER", descending=False)),
    "file": ("order of the run", Order("row_id", "BIGINT", descending=False)),
}
IDENTITY_ORDERS: Final[Mapping[str, tuple[str, Order]]] = {
    "file": ("most unusual", Order("row_id", "BIGINT", descending=False)),
    "score": ("best score", Order("best_score", "FLOAT", descending=True)),
    "photos": ("photos", Order("photos", "INTEGER", descending=True)),
    "clusters": ("clusters", Order("clusters", "INTEGER", descending=True)),
    "identity": ("identity", Order("identity", "VARCHAR", descending=False)),
}

F = TypeVar("F", bound="MatchFilter | IdentityFilter")


@dataclass(frozen=True, slots=True)
class Known:
    """What a filter may need of a run besides its own columns.

    Attributes:
        level: q-value up to which identities are named; None where the run names nobody.
        acknowledged: findings that somebody has looked at.
        joint: whether several embedders were asked.
    """

    level: float | None
    acknowledged: Sequence[Finding] = ()
    joint: bool = False


@dataclass(frozen=True, slots=True)
class MatchFilter:
    """Which matches, how sorted; None and "" ask for nothing."""

    verdict: str = field(default="", metadata={"of": ("named", "not_named")})
    score_min: float | None = field(default=None, metadata={"range": (-1.0, 1.0)})
    score_max: float | None = field(default=None, metadata={"range": (-1.0, 1.0)})
    q_max: float | None = field(default=None, metadata={"range": (0.0, 1.0)})
    identity: str = ""
    query: str = ""
    index: str = ""
    flag: str = field(default="", metadata={"of": (*FLAGS, "none")})
    acknowledged: str = field(default="", metadata={"of": ("yes", "no")})
    agreement: int | None = field(default=None, metadata={"range": (0, 99)})
    sort: str = field(default="score", metadata={"of": tuple(MATCH_ORDERS)})
    rows: int = field(default=PAGE_ROWS, metadata={"range": ROWS_MAX})

    @property
    def order(self) -> Order:
        """How the table is sorted."""
        return MATCH_ORDERS[self.sort][1]

    def condition(self, known: Known) -> Condition:
        """Return the condition on the view `matches`."""
        where = _texts(_bounds(Condition(), self), ("identity", self.identity), ("query_uri", self.query))
        if self.verdict:
            named = (
                Condition("false") if known.level is None else Condition("coalesce(q_value, 2.0) <= ?", (known.level,))
            )
            where = where.and_(named.sql if self.verdict == "named" else f"NOT ({named.sql})", *named.values)
        if self.index:
            where = where.and_('"index" = ?', self.index)
        if self.flag:
            where = (
                where.and_("len(flags) = 0")
                if self.flag == "none"
                else where.and_("list_contains(flags, ?)", self.flag)
            )
        if self.acknowledged:
            looked = _acknowledged(known.acknowledged, "reference_uri")
            where = where.and_(looked.sql if self.acknowledged == "yes" else f"NOT ({looked.sql})", *looked.values)
        if self.agreement is not None:
            inside = "identity IN (SELECT identity FROM joint WHERE agreement >= ?)"
            where = where.and_(inside, self.agreement) if known.joint else where.and_("false")
        return where


@dataclass(frozen=True, slots=True)
class IdentityFilter:
    """Which identities, how sorted."""

    verdict: str = field(default="", metadata={"of": ("named", "not_named")})
    q_max: float | None = field(default=None, metadata={"range": (0.0, 1.0)})
    identity: str = ""
    index: str = ""
    acknowledged: str = field(default="", metadata={"of": ("yes", "no")})
    sort: str = field(default="file", metadata={"of": tuple(IDENTITY_ORDERS)})
    rows: int = field(default=PAGE_ROWS, metadata={"range": ROWS_MAX})

    @property
    def order(self) -> Order:
        """How the table is sorted."""
        return IDENTITY_ORDERS[self.sort][1]

    def condition(self, known: Known) -> Condition:
        """Return the condition on the view `identities`."""
        where = _texts(Condition(), ("identity", self.identity))
        if self.q_max is not None:
            where = where.and_("q_value <= ?", self.q_max)
        if self.verdict:
            named = Condition("false") if known.level is None else Condition("q_value <= ?", (known.level,))
            where = where.and_(named.sql if self.verdict == "named" else f"NOT ({named.sql})", *named.values)
        if self.index:
            where = where.and_('"index" = ?', self.index)
        if self.acknowledged:
            looked = _acknowledged(known.acknowledged, None)
            where = where.and_(looked.sql if self.acknowledged == "yes" else f"NOT ({looked.sql})", *looked.values)
        return where


def read_filter(kind: type[F], given: Sequence[tuple[str, str]]) -> tuple[F, Place | None]:
    """Return the filter and the place in the table that a query string asks for.

    Args:
        kind: the filter's class.
        given: its parameters in order, decoded.

    Raises:
        UsageError: a parameter that is not known, stands twice, or has a value that it cannot have; all of them at once.
    """
    found: dict[str, Any] = {}
    problems: list[str] = []
    known = {one.name: one for one in fields(kind)}
    for name, text in given:
        if name in found:
            problems.append(f"{_short(name)} is given twice.")
        elif name in {"after", "before"}:
            found[name] = _read(problems, name, text.strip(), _row_number)
        elif name not in known:
            problems.append(f"{_short(name)} is no parameter of this page.")
        else:
            found[name] = _value(problems, name, text.strip(), known[name])
    if "after" in found and "before" in found:
        problems.append("after and before exclude each other.")
    if problems:
        raise UsageError(" ".join(problems))
    after, before = found.pop("after", None), found.pop("before", None)
    place = Place(after) if after is not None else Place(before, forward=False) if before is not None else None
    return kind(**{name: value for name, value in found.items() if value is not None}), place


def query_string(chosen: MatchFilter | IdentityFilter, **more: Any) -> str:
    """Return the parameters that make `chosen`, without those that ask for nothing; `more` come on top of them."""
    values = {one.name: getattr(chosen, one.name) for one in fields(chosen) if getattr(chosen, one.name) != one.default}
    return urlencode({name: value for name, value in {**values, **more}.items() if value is not None})


def exactly(text: str) -> str:
    """Return what is asked for where a text is to be the whole one, not a part of it."""
    return f'"{text}"'


def filtered(chosen: MatchFilter | IdentityFilter) -> bool:
    """Return whether anything is asked for beside order and length."""
    return any(getattr(chosen, one.name) != one.default for one in fields(chosen) if one.name not in {"sort", "rows"})


def _value(problems: list[str], name: str, text: str, known: Any) -> Any:
    """Return the value of one parameter; None where it is left empty."""
    if not text:
        return None
    one_of, bounds = known.metadata.get("of"), known.metadata.get("range")
    if one_of is not None:
        if text not in one_of:
            problems.append(f"{name} is one of {', '.join(one_of)}.")
        return text
    if bounds is None:
        if len(text) > TEXT_MAX or not text.isprintable():
            problems.append(f"{name} has at most {TEXT_MAX} printable letters.")
        return text
    whole = isinstance(bounds[0], int)
    value = _read(problems, name, text, int if whole else float)
    if value is not None and (not math.isfinite(value) or not bounds[0] <= value <= bounds[-1]):
        problems.append(f"{name} lies between {bounds[0]} and {bounds[-1]}.")
    return value


def _read(problems: list[str], name: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        # int() and float() take underscores and other scripts' digits; a number here is plain.
        return kind(text) if text.isascii() and "_" not in text and len(text) <= 32 else kind("none")  # noqa: PLR2004
    except ValueError:
        problems.append(f"{name} is a {'whole ' if kind is not float else ''}number.")
        return None


def _row_number(text: str) -> int:
    row = int(text)
    if not 0 <= row < ROWS_BOUND:
        raise ValueError(text)
    return row


def _short(name: str) -> str:
    return repr(name[:40]) if name.isprintable() else "A parameter"


def _bounds(where: Condition, chosen: MatchFilter) -> Condition:
    # Compared as float32, as they are stored: 0.43 then means the score that prints as 0.43.
    for sql, value in (("score >= ?::FLOAT", chosen.score_min), ("score <= ?::FLOAT", chosen.score_max), ("q_value <= ?", chosen.q_max)):  # fmt: skip
        if value is not None:
            where = where.and_(sql, value)
    return where


def _texts(where: Condition, *wanted: tuple[str, str]) -> Condition:
    for column, text in wanted:
        if column == "identity" and text == exactly(text[1:-1]):
            where = where.and_("identity = ?", text[1:-1])
        elif text:
            where = where.and_(f"contains(lower({column}), lower(?))", text)
    return where


def _acknowledged(findings: Sequence[Finding], uri_column: str | None) -> Condition:
    """Return the condition for rows of findings that somebody has looked at; never null."""
    people = [one for one in findings if one.identity is not None]
    photos = [one for one in findings if one.identity is None]
    sql = 'coalesce(("index", identity) IN (SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[])), false)'
    values: list[Any] = [[one.index for one in people], [one.identity for one in people]]
    if uri_column is None:
        return Condition(sql, tuple(values))
    sql += f' OR (identity IS NULL AND ("index", {uri_column}) IN (SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[])))'
    return Condition(f"({sql})", (*values, [one.index for one in photos], [one.uri for one in photos]))
