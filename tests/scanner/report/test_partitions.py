"""Rows cut into parts on disk: all are there, equal keys together, in the order in which they came."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from scanner.report import partitions
from scanner.report.partitions import Partitions, parts_for

SCHEMA = pa.schema([("name", pa.string()), ("place", pa.string()), ("number", pa.int64())])
rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ü", "", None]), st.sampled_from(["x", "y", None]), st.integers(0, 5)),
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(rows, rows, st.integers(1, 5))
def test_equal_keys_lie_in_one_part_in_their_order(first, second, parts):
    with (
        tempfile.TemporaryDirectory() as folder,
        Partitions(Path(folder), SCHEMA, keys=["name", "place"], parts=parts) as cut,
    ):
        for block in (first, second):
            columns = [list(column) for column in zip(*block, strict=True)] or [[], [], []]
            cut.add(pa.table(columns, schema=SCHEMA))
        found = [[tuple(row.values()) for row in cut.read(part).to_pylist()] for part in range(parts)]

    places, expected, got = defaultdict(set), defaultdict(list), defaultdict(list)
    for row in (*first, *second):
        expected[row[:2]].append(row)
    for part, of_part in enumerate(found):
        for row in of_part:
            places[row[:2]].add(part)
            got[row[:2]].append(row)
    assert got == expected
    assert all(len(of_key) == 1 for of_key in places.values())


def test_many_keys_fill_all_parts(tmp_path):
    table = pa.table(
        {"name": [str(n) for n in range(4000)], "place": ["x"] * 4000, "number": range(4000)}, schema=SCHEMA
    )
    with Partitions(tmp_path, SCHEMA, keys=["name"], parts=4) as cut:
        cut.add(table)
        sizes = [cut.read(part).num_rows for part in range(4)]

    assert sum(sizes) == 4000
    assert min(sizes) > 800


@pytest.mark.parametrize(("rows", "parts"), [(0, 1), (9, 1), (10, 2), (35, 4), (10_000, 8)])
def test_parts_grow_with_the_rows_until_there_are_enough(rows, parts, monkeypatch):
    monkeypatch.setattr(partitions, "PART_ROWS", 10)
    monkeypatch.setattr(partitions, "PARTS_MAX", 8)

    assert parts_for(rows) == parts
