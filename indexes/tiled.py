"""The loop of the exhaustive engines: every tile of references against every block of queries.

What a tile is and how its rough scores come about is a kernel's business; this keeps the cores busy and the memory
bounded.  Rough scores rule out almost every pair, and what they cannot rule out is scored again exactly.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

from indexes.candidates import Candidates, Rough
from indexes.engine import Question
from indexes.hits import Hits
from indexes.references import References

TILES_WAITING = 2
"""Tiles queued for each thread."""


class AnyTile(Protocol):
    """Some neighbouring references."""

    @property
    def row_start(self) -> int:
        """Row of the references that the tile begins with."""
        ...


T = TypeVar("T", bound=AnyTile)


def search_tiles(
    question: Question,
    references: References,
    tiles: Iterable[T],
    score: Callable[[slice, T, threading.local], Rough],
    *,
    block_queries: int,
    threads: int,
    context: AbstractContextManager[Any],
) -> Hits:
    """Search.

    Args:
        question: what is asked.
        references: where rows point, for ids and for exact scores.
        tiles: all of them, in any order.
        score: rough scores of a slice of the queries with a tile; called by many threads, each with its own scratch.
        block_queries: queries of one call.
        threads: that call it.
        context: entered around the work, to keep each product on the thread that calls it: a library with threads of its
            own would leave all but the product, the search for maxima above all, to a single core.
    """
    candidates = Candidates(question, references)
    scratch = threading.local()

    def look(block: slice, tile: T) -> Any:
        return candidates.select(block.start, tile.row_start, score(block, tile, scratch))

    with context, ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for tile in tiles:
                for start in range(0, question.queries.shape[0], block_queries):
                    if len(waiting) >= threads * TILES_WAITING:
                        candidates.add(waiting.popleft().result())
                    waiting.append(pool.submit(look, slice(start, start + block_queries), tile))
            while waiting:
                candidates.add(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()
    return candidates.hits()


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
