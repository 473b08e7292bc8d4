"""One engine in a process of its own, so that its memory is its own: builds, then searches whenever it is told to.

    python contestant.py NAME SETTINGS.json

It answers every line on stdin with a line of JSON: first what building took, then of each search the seconds and the
pairs found.  Peers need what they are made of (faiss, usearch, hnswlib) and numpy; ours need the repository.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Search = Callable[[], Any]
GRAPH_K = 100
"""Neighbours asked of engines that have no search by threshold: many times what a query has above it."""


def ours(engine: str, asked: dict[str, Any], queries: Any) -> tuple[Search, dict[str, Any]]:
    """Open the index folder as the scanner does, within its memory budget."""
    from indexes import open_index

    opened, reason = open_index(Path(asked["index"])).engine(asked["memory_bytes"], engine)
    return lambda: opened.search(queries, threshold=asked["threshold"]), {"reason": reason}


def flat(asked: dict[str, Any], queries: Any) -> tuple[Search, dict[str, Any]]:
    """Faiss IndexFlatIP, range search."""
    import faiss

    index = faiss.IndexFlatIP(queries.shape[1])
    index.add(np.load(asked["references"], mmap_mode="r"))
    return lambda: index.range_search(queries, asked["threshold"])[1], {"faiss": faiss.__version__}


def hnsw(asked: dict[str, Any], queries: Any) -> tuple[Search, dict[str, Any]]:
    """Faiss HNSW32 as it comes, which autofaiss prefers where memory allows it."""
    import faiss

    index = faiss.IndexHNSWFlat(queries.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(np.load(asked["references"], mmap_mode="r"))
    return lambda: _above(index.search(queries, GRAPH_K)[0], asked), {"k": GRAPH_K}


def ivf(asked: dict[str, Any], queries: Any) -> tuple[Search, dict[str, Any]]:
    """Faiss IVF1024, with as many cells as it takes to find what we find, by doubling."""
    import faiss

    references = np.load(asked["references"], mmap_mode="r")
    cells = 1024
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(queries.shape[1]), queries.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(references[:: max(1, len(references) // 100_000)]))
    index.add(references)
    index.nprobe = 64
    while index.nprobe < cells and len(index.range_search(queries, asked["threshold"])[1]) < 0.9999 * asked["pairs"]:
        index.nprobe *= 2
    return lambda: index.range_search(queries, asked["threshold"])[1], {"nprobe": index.nprobe, "cells": cells}


def usearch(asked: dict[str, Any], queries: Any) -> tuple[Search, dict[str, Any]]:
    """Exact search of usearch, the best neighbours of each query: it has no search by threshold."""
    from usearch.index import MetricKind, search

    references = np.load(asked["references"], mmap_mode="r")

    def look() -> Any:
        found = search(np.asarray(references), queries, GRAPH_K, MetricKind.IP, exact=True, threads=asked["threads"])
        return _above(1 - np.concatenate([found[row].distances for row in range(len(queries))]), asked)

    return look, {"k": GRAPH_K}


def hnswlib(asked: dict[str, Any], queries: Any) -> tuple[Search, dict[str, Any]]:
    """The graph of hnswlib at its usual settings (M 16, ef_construction 200), ef 100."""
    import hnswlib as library

    references = np.load(asked["references"], mmap_mode="r")
    index = library.Index(space="ip", dim=queries.shape[1])
    index.init_index(max_elements=len(references), ef_construction=200, M=16)
    index.add_items(np.asarray(references), num_threads=asked["threads"])
    index.set_ef(GRAPH_K)
    return lambda: _above(1 - index.knn_query(queries, GRAPH_K, num_threads=asked["threads"])[1], asked), {"k": GRAPH_K}


def _above(scores: Any, asked: dict[str, Any]) -> Any:
    return scores[scores >= asked["threshold"]]


PEERS: dict[str, Callable[[dict[str, Any], Any], tuple[Search, dict[str, Any]]]] = {
    "flat": flat, "hnsw": hnsw, "ivf": ivf, "usearch": usearch, "hnswlib": hnswlib,
}  # fmt: skip
OURS = ("exact", "compressed")


def main() -> None:
    """Build, then search once a line."""
    name, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    queries = np.load(asked["queries"])
    watch = MemoryWatch()
    started = time.perf_counter()
    search, notes = ours(name, asked, queries) if name in OURS else PEERS[name](asked, queries)
    _say({"build_s": time.perf_counter() - started, "notes": notes, "own_memory_mib": watch.peak_mib()})
    for _ in sys.stdin:
        started = time.perf_counter()
        found = search()
        _say({"seconds": time.perf_counter() - started, "pairs": len(found), "own_memory_mib": watch.peak_mib()})


class MemoryWatch:
    """Looks twenty times a second at the memory that is the process's own.

    Pages of mapped files do not count: the system takes them back whenever it needs room.
    """

    def __init__(self) -> None:
        self._peak_kib = 0
        threading.Thread(target=self._look, daemon=True).start()

    def peak_mib(self) -> int:
        """Return the most that was seen so far."""
        self._peak_kib = max(self._peak_kib, self._now())
        return self._peak_kib // 1024

    def _look(self) -> None:
        while True:
            self._peak_kib = max(self._peak_kib, self._now())
            time.sleep(0.05)

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
