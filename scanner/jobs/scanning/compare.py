"""Two accounts of one thing, compared value by value: what was recorded, and what was worked out again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

TOLERANCE = 1e-9
"""Numbers may differ by this share: another machine adds in another order."""
SHOWN_MAX = 20
"""Rows of one column that are listed."""


def table_differences(what: str, recorded: pa.Table, found: pa.Table) -> Iterator[str]:
    """Compare two tables column by column."""
    yield from differences_of(f"{what}: columns", recorded.column_names, found.column_names)
    for name in found.column_names:
        if name in recorded.column_names:
            yield from column_differences(f"{what}: {name}", recorded[name].to_pylist(), found[name].to_pylist())


def column_differences(what: str, recorded: Sequence[Any], found: Sequence[Any]) -> Iterator[str]:
    """Compare two columns row by row; at most `SHOWN_MAX` rows are listed."""
    if len(recorded) != len(found):
        yield f"{what}: {len(recorded)} rows recorded, {len(found)} worked out"
        return
    rows = [row for row, (a, b) in enumerate(zip(recorded, found, strict=True)) if not _equal(a, b)]
    for row in rows[:SHOWN_MAX]:
        yield f"{what}: row {row}: recorded {recorded[row]!r}, worked out {found[row]!r}"
    if len(rows) > SHOWN_MAX:
        yield f"{what}: and {len(rows) - SHOWN_MAX} rows more"


def differences_of(what: str, recorded: Any, found: Any) -> Iterator[str]:
    """Compare two JSON values all the way down, and name each key that differs."""
    if isinstance(recorded, Mapping) and isinstance(found, Mapping):
        for name in sorted({*recorded, *found}):
            yield from differences_of(f"{what}: {name}", recorded.get(name, "nothing"), found.get(name, "nothing"))
    elif isinstance(recorded, list | tuple) and isinstance(found, list | tuple) and len(recorded) == len(found):
        for place, (left, right) in enumerate(zip(recorded, found, strict=True)):
            yield from differences_of(f"{what}: {place}", left, right)
    elif not _equal(recorded, found):
        yield f"{what}: recorded {recorded!r}, worked out {found!r}"


def _equal(left: Any, right: Any) -> bool:
    numbers = (int, float)
    if (
        isinstance(left, bool)
        or isinstance(right, bool)
        or not (isinstance(left, numbers) and isinstance(right, numbers))
    ):
        return bool(left == right) and type(left) is type(right)
    return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=1e-15) or (math.isnan(left) and math.isnan(right))
