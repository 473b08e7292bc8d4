"""Hits, and matrices of best ones, as Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from indexes import Hits
from scanner import artefacts


def read_pairs(path: Path) -> Hits:
    """Return the pairs of a file; `query_row` is the place of the query in its set."""
    table = artefacts.read_table(path, "pairs")
    columns = (table[name].to_numpy() for name in ("query", "reference_id", "score"))
    return Hits.from_pairs(*columns)


def write_pairs(path: Path, hits: Hits) -> None:
    """Write pairs."""
    write_columns(path, "pairs", {"query": hits.query_row, "reference_id": hits.reference_id, "score": hits.score})


def write_columns(path: Path, name: str, columns: dict[str, Any]) -> None:
    """Write columns as an artefact called `name`."""
    table = pa.table(columns)
    artefacts.write_tables(path, artefacts.stamped(table.schema, name), [table])


def lists_of(matrix: NDArray[Any]) -> pa.FixedSizeListArray:
    """Return a matrix (n, k) as n lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
