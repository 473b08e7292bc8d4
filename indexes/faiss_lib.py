"""The only module that imports faiss: what this library asks of it, in arrays.

faiss is imported inside the functions, so that `import indexes` and exact searches do without it.
Its quirks stay here: strict range search, -1 padding, copies on conversion, its thread pools.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from indexes.errors import IndexesError
from indexes.vectors import Float32Array


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise IndexesError(
            "this needs faiss, which is not installed. Install it with: pip install faiss-cpu"
        ) from error
    return faiss


class FlatScan:
    """faiss's exhaustive search over float32 copies, numbered in order of adding.

    Args:
        dim: number of components.
        blocks: float32 (b, dim) each.
    """

    def __init__(self, dim: int, blocks: Iterable[Float32Array]) -> None:
        self._index = _faiss().IndexFlatIP(dim)
        for block in blocks:
            self._index.add(np.ascontiguousarray(block))

    def at_least(
        self, queries: Float32Array, score: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float32Array]:
        """Return (query_row, row, rough score) of all pairs with a rough score >= `score`."""
        # faiss's range search is strict: a pair that scores exactly the radius is left out.
        radius = float(np.nextafter(np.float32(score), np.float32(-np.inf)))
        limits, scores, rows = self._index.range_search(queries, radius)
        counts = np.diff(limits.astype(np.int64))
        return np.repeat(np.arange(queries.shape[0]), counts), rows, scores

    def best(self, queries: Float32Array, k: int) -> tuple[npt.NDArray[np.int64], Float32Array]:
        """Return (rows, rough scores) of each query's k best, best first; k <= rows."""
        scores, rows = self._index.search(queries, k)
        return rows, scores
