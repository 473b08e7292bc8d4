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

CENTROIDS = 16
_BLOCK_ROWS = 1 << 17
_KMEANS_ROUNDS = 20


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise IndexesError(
            "this needs faiss, which is not installed. Install it with: pip install faiss-cpu"
        ) from error
    return faiss


def faiss_version() -> str:
    """Return faiss's version."""
    return str(_faiss().__version__)


def train_centroids(sample: Float32Array, *, seed: int) -> Float32Array:
    """Find 16 centroids for each pair of neighbouring columns, by k-means.

    Args:
        sample: float32 (n, 2m), C-contiguous, n >= 16.
        seed: of k-means.

    Returns:
        float32 (m, 16, 2).
    """
    faiss = _faiss()
    columns = sample.shape[1]
    quantiser = faiss.ProductQuantizer(columns, columns // 2, 4)
    quantiser.cp.seed = seed
    quantiser.cp.niter = _KMEANS_ROUNDS
    quantiser.cp.min_points_per_centroid = 1
    quantiser.cp.max_points_per_centroid = 1024
    # Thousands of tiny parallel loops: on a busy machine two threads mostly wait for each other, and
    # one thread gives the same bytes on every machine.
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        quantiser.train(np.ascontiguousarray(sample))
    finally:
        faiss.omp_set_num_threads(threads)
    centroids = faiss.vector_to_array(quantiser.centroids)
    return np.asarray(centroids, np.float32).reshape(columns // 2, CENTROIDS, 2)


def encode(centroids: Float32Array, turned: Float32Array) -> npt.NDArray[np.uint8]:
    """Return the nearest centroids' numbers, two to a byte: (n, 2m) -> uint8 (n, m / 2)."""
    return np.asarray(_quantiser(centroids).compute_codes(np.ascontiguousarray(turned)))


def decode(centroids: Float32Array, codes: npt.NDArray[np.uint8]) -> Float32Array:
    """Return what codes stand for: uint8 (n, m / 2) -> float32 (n, 2m)."""
    return np.asarray(_quantiser(centroids).decode(np.ascontiguousarray(codes)), np.float32)


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


class CompressedScan:
    """faiss's 4-bit fast scan over codes, numbered in order of adding.

    Args:
        centroids: float32 (m, 16, 2).
        blocks: uint8 (b, m / 2) each; copied into faiss's own layout, a block at a time.
    """

    def __init__(self, centroids: Float32Array, blocks: Iterable[npt.NDArray[np.uint8]]) -> None:
        self._faiss = _faiss()
        self._centroids = centroids
        self._index: Any = None
        self.rows = 0
        held = np.empty((0, centroids.shape[0] // 2), np.uint8)
        for block in blocks:
            held = np.concatenate([held, block])
            # The layout goes by groups of 32 rows, and only full groups can be joined.
            whole = held.shape[0] - held.shape[0] % 32
            for start in range(0, whole, _BLOCK_ROWS):
                self._append(held[start : min(start + _BLOCK_ROWS, whole)])
            held = held[whole:]
        self._append(held)

    def best(self, queries: Float32Array, k: int) -> tuple[npt.NDArray[np.int64], Float32Array]:
        """Return (rows, compressed scores) of each query's k best, best first; k <= rows.

        Args:
            queries: float32 (q, 2m), turned as the codes' vectors were.
            k: at least 1.
        """
        scores, rows = self._index.search(np.ascontiguousarray(queries), k)
        return rows, scores

    def _append(self, codes: npt.NDArray[np.uint8]) -> None:
        if not codes.shape[0]:
            return
        faiss = self._faiss
        columns = self._centroids.shape[0] * 2
        plain = faiss.IndexPQ(columns, columns // 2, 4, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(self._centroids.ravel(), plain.pq.centroids)
        plain.is_trained = True
        faiss.copy_array_to_vector(np.ascontiguousarray(codes).ravel(), plain.codes)
        plain.ntotal = codes.shape[0]
        packed = faiss.IndexPQFastScan(plain)
        self.rows += codes.shape[0]
        if self._index is None:
            self._index = packed
        else:
            self._index.merge_from(packed, 0)


def _quantiser(centroids: Float32Array) -> Any:
    faiss = _faiss()
    columns = centroids.shape[0] * 2
    quantiser = faiss.ProductQuantizer(columns, columns // 2, 4)
    faiss.copy_array_to_vector(np.ascontiguousarray(centroids).ravel(), quantiser.centroids)
    return quantiser
