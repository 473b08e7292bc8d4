"""Reading the Parquet files of an index, so that whatever is wrong with one is a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from indexes.errors import FormatError, IndexesError
from indexes.sealed import parquet_source


@contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Within the block, what pyarrow says of a damaged file is a FormatError that names it."""
    try:
        yield
    except IndexesError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        raise FormatError(
            f"'{path}' cannot be read ({type(error).__name__}). The index is damaged: restore it from a copy or build it again."
        ) from error


def read_ids(path: Path, column: str) -> npt.NDArray[np.int64]:
    """Return a column of ids: int64 (n,).

    Raises:
        FormatError: no such file or column, damaged, or no whole numbers.
    """
    with damage_explained(path):
        values = pq.read_table(parquet_source(path), columns=[column]).column(column)
        if values.type != pa.int64() or values.null_count:
            raise TypeError(values.type)
        ids: npt.NDArray[np.int64] = values.to_numpy()
        return ids
