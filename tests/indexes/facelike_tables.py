"""What indexes are built from: vectors in blocks, with metadata."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from indexes import VectorBatch

SCHEMA = pa.schema([("identity", pa.string()), ("ordinal", pa.int32())])


def table_of(rows: int, *, first: int = 0) -> pa.Table:
    return pa.table(
        {
            "identity": [f"p{(first + row) // 3}" for row in range(rows)],
            "ordinal": pa.array([(first + row) % 3 for row in range(rows)], pa.int32()),
        },
        schema=SCHEMA,
    )


def blocks_of(vectors: np.ndarray, *, rows_max: int = 100) -> Iterator[tuple[VectorBatch, pa.Table]]:
    for start in range(0, vectors.shape[0], rows_max):
        some = np.ascontiguousarray(vectors[start : start + rows_max])
        yield VectorBatch(some), table_of(some.shape[0], first=start)
