"""The compressed engine: every query against every reference as bytes, in one pass, complete by proof.

A product of bytes costs a quarter of a float product, and there are fewer columns than components. Every
block of rows comes with a bound of its error (`codec.score_error`), so what is ruled out is ruled out by an
inequality, as in the exact engine; what is left, a few rows a query, is scored exactly.

    engine = CompressedEngine(references, codec)
    hits = engine.search(queries, threshold=0.43)
"""

import threading
from contextlib import ExitStack
from typing import Any

import numpy as np

from indexes.byte_products import check_products, multiply_bytes, one_torch_thread
from indexes.candidates import Candidates, Rough
from indexes.codec import BLOCK_ROWS, Codec, score_error
from indexes.engine import HITS_MAX, check_question
from indexes.errors import IndexesError
from indexes.exact import multiply, peaks_of
from indexes.hits import Hits
from indexes.references import CodeTile, References
from indexes.tiled import cores, one_blas_thread, search_tiles
from indexes.vectors import Float32Array, VectorBatch, product_margin

TILE_QUERIES = 1000
LOOSE = 0.1
"""Residual from which a block is searched by its vectors: its codes would rule out too little."""


class CompressedEngine:
    """Search through codes.

    Args:
        references: rows that all carry codes. Codes and vectors may stay on disk: codes stream through, and
            of the vectors only what the codes cannot rule out is read.
        codec: that made the codes.
        threads: products side by side; None for the cores that this process may use.

    Memory: 20 MB a thread, and 68 bytes for each hit while they are collected.

    Raises:
        IndexesError: there are no codes, or this machine cannot multiply bytes without overflow.
    """

    name = "compressed"

    def __init__(self, references: References, codec: Codec, *, threads: int | None = None) -> None:
        if not references.has_codes:
            raise IndexesError(
                "the references carry no codes. Build the index with codec='always', or use the exact engine."
            )
        check_products()
        self._references = references
        self._codec = codec
        self._threads = threads or cores()

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
        coded = self._codec.encode_queries(question.queries)

        def look(candidates: Candidates, block: slice, tile: CodeTile, scratch: threading.local) -> None:
            scale, length, residual = tile.bounds.tolist()
            if residual > LOOSE:
                vectors = tile.vectors.astype(np.float32, copy=False)
                floats = multiply(question.queries[block], vectors, tile.dead, scratch)
                rough = Rough(floats, 1.0, product_margin(self.dim), peaks_of(floats))
            else:
                some = coded[block]
                products, peaks = multiply_bytes(some.codes, tile.codes, tile.dead, scratch)
                rough = Rough(products, some.scale * scale, score_error(some.rest, length, residual), peaks)
            candidates.add(candidates.select(block.start, tile.row_start, rough))

        return search_tiles(
            question,
            self._references,
            # Sealed codes are decrypted here, once for all blocks of queries.
            (tile._replace(codes=np.asarray(tile.codes)) for tile in self._references.code_tiles()),
            look,
            block_queries=TILE_QUERIES,
            threads=self._threads,
            context=_own_threads(),
        )


def need_bytes(threads: int, columns: int) -> int:
    """Return the memory of the tiles in work, in bytes."""
    return threads * (TILE_QUERIES * BLOCK_ROWS * 4 + 2 * BLOCK_ROWS * columns)


def _own_threads() -> Any:
    """Return a context in which products stay on the thread that calls them."""
    stack = ExitStack()
    stack.enter_context(one_blas_thread())
    stack.enter_context(one_torch_thread())
    return stack
