"""What was recorded against what was worked out again."""

import pyarrow as pa

from scanner.jobs.scanning.compare import SHOWN_MAX, column_differences, differences_of, table_differences


def test_equal_values_do_not_differ():
    one = {"a": [1, 2.0, {"b": None}], "c": "x", "d": True, "e": float("nan")}

    assert (
        list(differences_of("f", one, {"a": [1.0, 2.0 + 1e-12, {"b": None}], "c": "x", "d": True, "e": float("nan")}))
        == []
    )


def test_every_key_that_differs_is_named():
    recorded = {"a": {"b": 1, "gone": 2}, "list": [1, 2], "flag": True, "p": 0.01}
    found = {"a": {"b": 2, "new": 3}, "list": [1, 2, 3], "flag": 1, "p": 0.010001}

    assert list(differences_of("f", recorded, found)) == [
        "f: a: b: recorded 1, worked out 2",
        "f: a: gone: recorded 2, worked out 'nothing'",
        "f: a: new: recorded 'nothing', worked out 3",
        "f: flag: recorded True, worked out 1",
        "f: list: recorded [1, 2], worked out [1, 2, 3]",
        "f: p: recorded 0.01, worked out 0.010001",
    ]


def test_columns_name_their_rows_and_do_not_flood():
    assert list(column_differences("c", [1, None, "x"], [1, 2, "x"])) == ["c: row 1: recorded None, worked out 2"]
    assert list(column_differences("c", [1], [1, 2])) == ["c: 1 rows recorded, 2 worked out"]
    many = list(column_differences("c", [0] * 100, [1] * 100))
    assert len(many) == SHOWN_MAX + 1
    assert many[-1] == "c: and 80 rows more"


def test_tables_are_compared_by_column():
    one, two = pa.table({"a": [1], "b": [[1.0]]}), pa.table({"a": [1], "c": [[1.0]]})

    assert list(table_differences("t", one, one)) == []
    assert list(table_differences("t", one, two)) == ["t: columns: 1: recorded 'b', worked out 'c'"]
