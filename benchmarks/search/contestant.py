"""One engine in a process of its own, so that its memory is its own: builds, then searches whenever it is told to.

    python contestant.py NAME SETTINGS.json

It says first what building took, then answers every line on stdin ("all" queries, or "few" of them) with a line of JSON:
the seconds and the pairs found.  Peers need what they are made of (faiss, usearch, hnswlib, autofaiss) and numpy; ours need
the repository.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Search = Callable[[Any], Any]
"""Queries (n, d) to scores above the threshold."""
GRAPH_K = 100
"""Neighbours asked of engines that have no search by threshold: many times what a query has above it."""
WIDTHS = (64, 256, 1024, 4096)
"""Of a graph's search: how many neighbours are kept on the way; faiss keeps 16, whatever k is."""


def ours(engine: str, asked: dict[str, Any]) -> tuple[Search, dict[str, Any]]:
    """Open the index folder as the scanner does, within its memory budget."""
    from indexes import open_index

    opened, reason = open_index(Path(asked["index"])).engine(asked["memory_bytes"], engine)
    return lambda some: opened.search(some, threshold=asked["threshold"]), {"reason": reason}


def flat(asked: dict[str, Any]) -> tuple[Search, dict[str, Any]]:
    """Faiss IndexFlatIP, range search."""
    import faiss

    index = faiss.IndexFlatIP(asked["dim"])
    index.add(np.load(asked["references"], mmap_mode="r"))
    return lambda some: index.range_search(some, asked["threshold"])[1], {"faiss": faiss.__version__}


def hnsw(asked: dict[str, Any]) -> tuple[Search, dict[str, Any]]:
    """Faiss HNSW32 as it comes; what wider searches of it find of the few queries stands in the notes."""
    import faiss

    index = faiss.IndexHNSWFlat(asked["dim"], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(np.load(asked["references"], mmap_mode="r"))
    notes: dict[str, Any] = {"k": GRAPH_K}
    few, usual = few_of(asked), index.hnsw.efSearch
    for width in WIDTHS:
        index.hnsw.efSearch = width
        started = time.perf_counter()
        share = len(_above(index.search(few, GRAPH_K)[0], asked)) / max(asked["pairs_few"], 1)
        notes[f"efSearch {width}"] = (
            f"{share:.2%} of the pairs at {len(few) / (time.perf_counter() - started):.0f} queries/s"
        )
    index.hnsw.efSearch = usual
    return lambda some: _above(index.search(some, GRAPH_K)[0], asked), notes


def autofaiss(asked: dict[str, Any]) -> tuple[Search, dict[str, Any]]:
    """What autofaiss picks and tunes within our memory, for the 10 ms a query that it aims at if it is told nothing."""
    import autofaiss as library

    with contextlib.redirect_stdout(sys.stderr):
        index, found = library.build_index(
            np.load(asked["references"], mmap_mode="r"), save_on_disk=False, metric_type="ip",
            max_index_memory_usage=f"{asked['memory_bytes'] >> 20}M", nb_cores=asked["threads"],
            min_nearest_neighbors_to_retrieve=GRAPH_K,
        )  # fmt: skip
    notes = {
        "picked": found["index_key"], "tuned to": found["index_param"], "k": GRAPH_K,
        "bytes_per_vector": round(found["size in bytes"] / found["nb vectors"]),
    }  # fmt: skip
    return lambda some: _above(index.search(some, GRAPH_K)[0], asked), notes


def ivf(asked: dict[str, Any]) -> tuple[Search, dict[str, Any]]:
    """Faiss IVF1024, with as many cells as it takes to find what we find of the few queries, by doubling."""
    import faiss

    references = np.load(asked["references"], mmap_mode="r")
    cells = 1024
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(asked["dim"]), asked["dim"], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(references[:: max(1, len(references) // 100_000)]))
    index.add(references)
    index.nprobe = 64
    few = few_of(asked)
    while index.nprobe < cells and len(index.range_search(few, asked["threshold"])[1]) < 0.9999 * asked["pairs_few"]:
        index.nprobe *= 2
    return lambda some: index.range_search(some, asked["threshold"])[1], {"nprobe": index.nprobe, "cells": cells}


def usearch(asked: dict[str, Any]) -> tuple[Search, dict[str, Any]]:
    """Exact search of usearch, the best neighbours of each query: it has no search by threshold."""
    from usearch.index import MetricKind, search

    references = np.load(asked["references"], mmap_mode="r")

    def look(some: Any) -> Any:
        found = search(np.asarray(references), some, GRAPH_K, MetricKind.IP, exact=True, threads=asked["threads"])
        return _above(1 - np.concatenate([found[row].distances for row in range(len(some))]), asked)

    return look, {"k": GRAPH_K}


def hnswlib(asked: dict[str, Any]) -> tuple[Search, dict[str, Any]]:
    """The graph of hnswlib at its usual settings (M 16, ef_construction 200), ef 100."""
    import hnswlib as library

    references = np.load(asked["references"], mmap_mode="r")
    index = library.Index(space="ip", dim=asked["dim"])
    index.init_index(max_elements=len(references), ef_construction=200, M=16)
    index.add_items(np.asarray(references), num_threads=asked["threads"])
    index.set_ef(GRAPH_K)
    return lambda some: _above(1 - index.knn_query(some, GRAPH_K, num_threads=asked["threads"])[1], asked), {
        "k": GRAPH_K
    }


def few_of(asked: dict[str, Any]) -> Any:
    """Return some of the queries, evenly over real and drawn ones."""
    return np.ascontiguousarray(np.load(asked["queries"])[:: asked["few_step"]])


def _above(scores: Any, asked: dict[str, Any]) -> Any:
    return scores[scores >= asked["threshold"]]


PEERS: dict[str, Callable[[dict[str, Any]], tuple[Search, dict[str, Any]]]] = {
    "flat": flat, "hnsw": hnsw, "autofaiss": autofaiss, "ivf": ivf, "usearch": usearch, "hnswlib": hnswlib,
}  # fmt: skip
OURS = ("exact", "compressed")


def main() -> None:
    """Build, then search once a line."""
    name, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    some = {"all": np.load(asked["queries"]), "few": few_of(asked)}
    watch = MemoryWatch()
    started = time.perf_counter()
    search, notes = ours(name, asked) if name in OURS else PEERS[name](asked)
    _say({"build_s": time.perf_counter() - started, "notes": notes, "own_memory_mib": watch.peak_mib()})
    for line in sys.stdin:
        wanted = some[line.strip()]
        started = time.perf_counter()
        found = search(wanted)
        _say({
            "seconds": time.perf_counter() - started, "queries": len(wanted), "pairs": len(found),
            "own_memory_mib": watch.peak_mib(),
        })  # fmt: skip


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
