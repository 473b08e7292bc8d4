"""The exact engine: every query against every reference, in one pass over the references.

A tiled float32 matrix product rules out almost every pair; what it cannot rule out is scored again
exactly. Memory-mapped references stream through, so a base of any size needs only the tiles.

    engine = ExactEngine(references, memory_bytes=1 << 30)
    hits = engine.search(queries, threshold=0.43)
"""

import threading

import numpy as np

from indexes.candidates import Candidates, Rough
from indexes.engine import HITS_MAX, check_question
from indexes.errors import MemoryTooSmall
from indexes.hits import Hits
from indexes.references import References, Tile
from indexes.tiled import TILES_WAITING, cores, one_blas_thread, search_tiles
from indexes.vectors import Float32Array, VectorBatch, product_margin

# Measured on two cores, 500 000 x 256: blocks of 1000 x 4096 reach the rate of a bare matrix
# product; 500 x 1024 loses a fifth to packing, 2000 x 8192 nothing but memory.
TILE_QUERIES = 1000
TILE_ROWS = 4096
_TILE_ROWS_MIN = 64
_RUN = 512


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
        error = product_margin(self.dim)

        def look(candidates: Candidates, block: slice, tile: Tile, scratch: threading.local) -> None:
            products = multiply(question.queries[block], tile.vectors, tile.dead, scratch)
            rough = Rough(products, 1.0, error, peaks_of(products))
            candidates.add(candidates.select(block.start, tile.row_start, rough))

        return search_tiles(
            question,
            self._references,
            self._references.tiles(self.tile_rows),
            look,
            block_queries=self.tile_queries,
            threads=self._threads,
            context=one_blas_thread(),
        )


def multiply(block: Float32Array, vectors: Float32Array, dead: np.ndarray, scratch: threading.local) -> Float32Array:
    """Return float32 products (block, tile), in memory that the thread's next call uses again; -inf for dead rows."""
    shape = (block.shape[0], vectors.shape[0])
    if not hasattr(scratch, "products") or scratch.products.size < shape[0] * shape[1]:
        scratch.products = np.empty(shape[0] * shape[1], np.float32)
    products: Float32Array = scratch.products[: shape[0] * shape[1]].reshape(shape)
    np.matmul(block, vectors.T, out=products)
    products[:, dead] = -np.inf
    return products


def peaks_of(products: Float32Array) -> Float32Array:
    """Return the maxima of runs of neighbouring columns: float32 (block, runs)."""
    n, columns = products.shape
    runs = columns // _RUN if columns % _RUN == 0 else 1
    peaks: Float32Array = products.reshape(n, runs, -1).max(axis=2)
    return peaks


def tile_shape(dim: int, *, memory_bytes: int, threads: int) -> tuple[int, int]:
    """Return (queries, rows) of a tile so that all threads together stay within `memory_bytes`."""
    if memory_bytes < 1 << 20:
        raise MemoryTooSmall(f"an allowance of {memory_bytes} bytes holds no tile. Allow at least 1 MiB.")
    queries, rows = TILE_QUERIES, TILE_ROWS
    tiles_alive = threads * (TILES_WAITING + 1)

    def need() -> int:
        return threads * queries * rows * 4 + tiles_alive * rows * dim * 4

    while need() > memory_bytes and (rows > _TILE_ROWS_MIN or queries > 1):
        if rows > _TILE_ROWS_MIN:
            rows //= 2
        else:
            queries //= 2
    return queries, rows
