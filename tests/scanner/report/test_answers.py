import io
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.report.answers import plain_rows, write_answer
from scanner.report.database import Stream

TABLE = pa.table(
    {
        "name": ["a,b", 'q"', None],
        "score": pa.array([0.1, 0.25, float("nan")], pa.float32()),
        "flags": [["hub", "ü"], [], None],
        "best": [True, False, None],
        "sum": pa.array([Decimal(7), Decimal("2.5"), None], pa.decimal128(38, 1)),
    }
)


def written(table: pa.Table, form: str) -> tuple[int, bytes]:
    file = io.BytesIO()
    rows = write_answer(Stream(table.schema, iter(table.to_batches(max_chunksize=2))), file, form)
    return rows, file.getvalue()


def test_csv_has_a_header_and_an_empty_cell_where_nothing_is():
    rows, text = written(TABLE, "csv")

    assert rows == 3
    assert text.decode() == (
        'name,score,flags,best,sum\n"a,b",0.1,"[""hub"", ""ü""]",true,7\n"q""",0.25,[],false,2.5\n,nan,,,\n'
    )


def test_json_is_one_array_with_an_object_a_line():
    rows, text = written(TABLE, "json")

    assert rows == 3
    assert len(text.splitlines()) == 5
    assert json.loads(text) == [
        {"name": "a,b", "score": 0.1, "flags": ["hub", "ü"], "best": True, "sum": 7},
        {"name": 'q"', "score": 0.25, "flags": [], "best": False, "sum": 2.5},
        {"name": None, "score": None, "flags": None, "best": None, "sum": None},
    ]
    assert written(TABLE.slice(0, 0), "json") == (0, b"[]\n")


def test_parquet_is_the_table():
    rows, data = written(TABLE, "parquet")

    assert rows == 3
    # NaN is not equal to itself: bytes are compared.
    assert pq.read_table(io.BytesIO(data)).drop_columns(["score"]) == TABLE.drop_columns(["score"])
    assert pq.read_table(io.BytesIO(data))["score"].to_numpy().tobytes() == TABLE["score"].to_numpy().tobytes()


def test_a_float32_has_no_more_digits_than_it_has():
    score = np.float32(0.8886419534683228)
    (row,) = plain_rows(pa.record_batch({"score": pa.array([score], pa.float32())}))
    expected: Any = 0.88864195

    assert row == (expected,)
    assert np.float32(row[0]) == score
