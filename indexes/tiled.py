"""The loop of the exhaustive engines: every tile of references against every block of queries.

What a tile is and how its rough scores come about is a kernel's business; this keeps the cores busy and the memory
bounded.  Rough scores rule out almost every pair, and what they cannot rule out is scored again exactly.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, TypeVar

from indexes.candidates import Candidates
from indexes.engine import Question
from indexes.hits import Hits
from indexes.references import References

TILES_WAITING = 2
"""Tiles queued for each thread."""

T = TypeVar("T")


def search_tiles(
    question: Question,
    references: References,
    tiles: Iterable[T],
    look: Callable[[Candidates, slice, T, threading.local], None],
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
        look: adds to the candidates what a tile holds for a slice of the queries; called by many threads, each with
            its own scratch.
        block_queries: queries of one call.
        threads: that call it.
        context: entered around the work, to keep each product on the thread that calls it: a library with threads of its
            own would leave all but the product, the search for maxima above all, to a single core.
    """
    candidates = Candidates(question, references)
    scratch = threading.local()

    with context, ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for tile in tiles:
                for start in range(0, question.queries.shape[0], block_queries):
                    if len(waiting) >= threads * TILES_WAITING:
                        waiting.popleft().result()
                    waiting.append(pool.submit(look, candidates, slice(start, start + block_queries), tile, scratch))
            while waiting:
                waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    return candidates.hits()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def one_blas_thread() -> Any:
    """Return a context in which each matrix product stays on the thread that calls it."""
    try:
        return _thread_pools().limit(limits=1, user_api="blas")
    except ModuleNotFoundError:  # a GPU machine may have torch and numpy alone
        return nullcontext()


@cache
def _thread_pools() -> Any:
    from threadpoolctl import ThreadpoolController

    # Looking for the loaded libraries takes milliseconds; numpy's is loaded by now.
    return ThreadpoolController()
