"""The exact engine: every query against every reference, in one pass over the references.

A tiled float32 matrix product rules out almost every pair; what it cannot rule out is scored again
exactly. Memory-mapped references stream through, so a base of any size needs only the tiles.

    engine = ExactEngine(references, memory_bytes=1 << 30)
    hits = engine.search(queries, threshold=0.43)
"""

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from indexes.candidates import Candidates
from indexes.engine import HITS_MAX, check_question
from indexes.errors import MemoryTooSmall
from indexes.hits import Hits
from indexes.references import References, Tile
from indexes.vectors import Float32Array, VectorBatch

# Measured on two cores, 500 000 x 256: blocks of 1000 x 4096 reach the rate of a bare matrix
# product; 500 x 1024 loses a fifth to packing, 2000 x 8192 nothing but memory.
TILE_QUERIES = 1000
TILE_ROWS = 4096
_TILE_ROWS_MIN = 64
_QUEUE_PER_THREAD = 2


class ExactEngine:
    """Exhaustive search in bounded memory.

    Args:
        references: the rows to search; may be memory-mapped and larger than memory.
        memory_bytes: allowance for the tiles, at least 1 MiB: per thread one block of products, and
            one float32 copy of a tile for each float16 tile in work. Hits come on top, 60 bytes
            each while they are collected.
        threads: matrix products side by side; None for the cores that this process may use.

    Raises:
        MemoryTooSmall: the allowance is below 1 MiB.
    """

    name = "exact"

    def __init__(self, references: References, *, memory_bytes: int = 1 << 30, threads: int | None = None) -> None:
        self._references = references
        self._threads = threads or cores()
        self.tile_queries, self.tile_rows = tile_shape(references.dim, memory_bytes=memory_bytes, threads=self._threads)

    @property
    def rows(self) -> int:
        """Number of references that can be found."""
        return self._references.rows

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return self._references.dim

    def search(
        self,
        queries: VectorBatch | Float32Array,
        *,
        threshold: float | None = None,
        k: int = 0,
        hits_max: int = HITS_MAX,
    ) -> Hits:
        """Search as `Engine.search` promises."""
        question = check_question(queries, dim=self.dim, threshold=threshold, k=k, hits_max=hits_max)
        candidates = Candidates(question, self._references)
        scratch = threading.local()

        def look(start: int, tile: Tile) -> Any:
            block = question.queries[start : start + self.tile_queries]
            products = _multiply(block, tile, scratch, self.tile_queries * self.tile_rows)
            return candidates.select(start, tile.row_start, products)

        # The threads are ours, one tile each: a threaded BLAS would leave all but the product,
        # the search for maxima above all, to a single core.
        with one_blas_thread(), ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[Any]] = deque()
            try:
                for tile in self._references.tiles(self.tile_rows):
                    for start in range(0, question.queries.shape[0], self.tile_queries):
                        if len(waiting) >= self._threads * _QUEUE_PER_THREAD:
                            candidates.add(waiting.popleft().result())
                        waiting.append(pool.submit(look, start, tile))
                while waiting:
                    candidates.add(waiting.popleft().result())
            finally:
                for future in waiting:
                    future.cancel()
        return candidates.hits()


def _multiply(block: Float32Array, tile: Tile, scratch: threading.local, scratch_size: int) -> Float32Array:
    if not hasattr(scratch, "products"):
        scratch.products = np.empty(scratch_size, np.float32)
    shape = (block.shape[0], tile.vectors.shape[0])
    products: Float32Array = scratch.products[: shape[0] * shape[1]].reshape(shape)
    np.matmul(block, tile.vectors.T, out=products)
    if tile.dead.size:
        products[:, tile.dead] = -np.inf
    return products


def tile_shape(dim: int, *, memory_bytes: int, threads: int) -> tuple[int, int]:
    """Return (queries, rows) of a tile so that all threads together stay within `memory_bytes`."""
    if memory_bytes < 1 << 20:
        raise MemoryTooSmall(f"an allowance of {memory_bytes} bytes holds no tile. Allow at least 1 MiB.")
    queries, rows = TILE_QUERIES, TILE_ROWS
    tiles_alive = threads * (_QUEUE_PER_THREAD + 1)

    def need() -> int:
        return threads * queries * rows * 4 + tiles_alive * rows * dim * 4

    while need() > memory_bytes and (rows > _TILE_ROWS_MIN or queries > 1):
        if rows > _TILE_ROWS_MIN:
            rows //= 2
        else:
            queries //= 2
    return queries, rows


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def one_blas_thread() -> Any:
    """Return a context in which each matrix product stays on the thread that calls it."""
    return _thread_pools().limit(limits=1, user_api="blas")


@cache
def _thread_pools() -> Any:
    # Looking for the loaded libraries takes milliseconds; numpy's is loaded by now.
    return ThreadpoolController()
