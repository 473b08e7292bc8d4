"""Answers of a database, written out: CSV, JSON or Parquet, batch by batch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scanner.report.database import Stream

FORMATS: Final = ("csv", "json", "parquet")


def write_answer(answer: Stream, file: BinaryIO, form: str) -> int:
    """Write an answer to a file that is open for bytes; return its rows.

    Args:
        answer: goes through its batches, one in memory at a time.
        file: stays open.
        form: `csv` (a header, then rows; lists and structs as JSON, an empty cell where there is no value), `json` (one
            array with one object a row, each on a line of its own; NaN and infinities are null) or `parquet`.

    Raises:
        QueryError: as of `Database.stream`.
    """
    return {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}[form](answer, file)


def plain_rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a batch as plain values: float32 with no more digits than it has, whole decimals as int."""
    return zip(*(_plain_column(column) for column in batch.columns), strict=True)


def _plain_column(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if pa.types.is_float32(column.type):
        return [None if value is None else float(str(np.float32(value))) for value in values]
    if pa.types.is_decimal(column.type):  # sums of whole numbers come as decimal128(38, 0)
        return [None if value is None else _number(value) for value in values]
    return values


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _write_csv(answer: Stream, file: BinaryIO) -> int:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.schema.names)
    rows = 0
    for batch in answer.batches:
        writer.writerows([_cell(value) for value in row] for row in plain_rows(batch))
        rows += batch.num_rows
    text.detach()
    return rows


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return _json(value) if isinstance(value, list | dict) else value


def _write_json(answer: Stream, file: BinaryIO) -> int:
    rows = 0
    for batch in answer.batches:
        for row in plain_rows(batch):
            line = _json(dict(zip(answer.schema.names, map(_finite, row), strict=True)))
            file.write(f"{',' if rows else '['}\n{line}".encode())
            rows += 1
    file.write(b"\n]\n" if rows else b"[]\n")
    return rows


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _write_parquet(answer: Stream, file: BinaryIO) -> int:
    rows = 0
    with pq.ParquetWriter(file, answer.schema, compression="zstd") as writer:
        for batch in answer.batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows
