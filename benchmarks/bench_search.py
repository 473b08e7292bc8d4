"""Which engine finds all pairs above a threshold, how fast, and in how much memory?

    python benchmarks/bench_search.py --embeddings FACES.npy --labels LABELS.npy --rows 500000
    python benchmarks/bench_search.py --drawn 1000 --threshold 0.75 --rows 100000

References: one real photo of each identity, and face-like strangers drawn from their mean and
covariance. Queries: other real photos (at most two of an identity), filled up with drawn strangers.
All engines answer in one process, taking turns; ratios are against faiss' IndexFlatIP of the same
round, so that a busy machine slows both sides. "Pairs found" is against the exact engine.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from facelike import draw_blocks, draw_to_file, effective_dim, fit_facelike
from threadpoolctl import threadpool_info, threadpool_limits

from indexes import Hits, VectorBatch, build_index
from indexes.compressed import CompressedEngine
from indexes.exact import ExactEngine, cores

PHOTOS_PER_IDENTITY_MAX = 2
SCHEMA = pa.schema([("identity", pa.string())])
HNSW_K = 100


@dataclass
class Result:
    """One engine's figures; seconds are of each round."""

    name: str
    bytes_per_vector: float
    build_s: float
    seconds: list[float] = field(default_factory=list)
    pairs_found: int = 0
    recall: float = 0.0
    queries_per_s: float = 0.0
    times_flat: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


def make_data(args: argparse.Namespace, folder: Path) -> tuple[npt.NDArray[np.float32], Any, dict[str, Any]]:
    """Return queries, references (memory-mapped) and a description of both."""
    if args.drawn:
        real, labels = embed_drawn(args.drawn)
    else:
        real = np.load(args.embeddings).astype(np.float32)
        labels = np.load(args.labels) if args.labels else np.arange(len(real))
    _, first, person = np.unique(labels, return_index=True, return_inverse=True)
    taken: dict[int, int] = {}
    others = []
    for row in np.setdiff1d(np.arange(len(real)), first):
        taken[person[row]] = taken.get(person[row], 0) + 1
        if taken[person[row]] <= PHOTOS_PER_IDENTITY_MAX:
            others.append(row)
    rng = np.random.default_rng(args.seed)
    others = rng.permutation(others)[: args.queries // 2].astype(np.int64)
    known = real[first][: args.rows]
    model = fit_facelike(known)
    strangers = np.concatenate(list(draw_blocks(model, args.queries - len(others), seed=args.seed + 1)))
    queries = np.ascontiguousarray(np.concatenate([real[others], strangers]))
    drawn = draw_to_file(model, args.rows - len(known), folder / "drawn.npy", seed=args.seed + 2)
    references = np.lib.format.open_memmap(
        folder / "all.npy", mode="w+", dtype=np.float32, shape=(args.rows, known.shape[1])
    )
    references[: len(known)] = known
    references[len(known) :] = drawn
    described = {
        "dim": int(known.shape[1]),
        "effective_dim": round(effective_dim(known), 1),
        "references_real": len(known),
        "references_drawn": args.rows - len(known),
        "queries_real": len(others),
        "queries_drawn": len(strangers),
    }
    return queries, references, described


def embed_drawn(people: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return vectors and labels of drawn people, two photos each, by the drawn world's recogniser."""
    from scanner.embedders import open_embedder
    from scanner.sessions import choose_device
    from scanner.world.draw import face_pixels

    embedder = open_embedder("drawn", choose_device("cpu")).embedder
    vectors = [embedder.embed(np.stack([face_pixels(9, n, photo) for photo in range(2)])) for n in range(people)]
    return np.concatenate(vectors), np.repeat(np.arange(people), 2)


def blocks(references: npt.NDArray[np.float32]) -> Iterator[tuple[VectorBatch, pa.Table]]:
    """Yield the references as an index is built from."""
    for start in range(0, len(references), 16_384):
        some = np.ascontiguousarray(references[start : start + 16_384])
        yield VectorBatch(some), pa.table({"identity": [None] * len(some)}, schema=SCHEMA)


def measure_product(queries: npt.NDArray[np.float32], references: npt.NDArray[np.float32]) -> float:
    """Return the GFLOP/s of a bare float32 product of the exact engine's tile shape, all cores."""
    left, right = queries[:1000], np.ascontiguousarray(references[:4096]).T
    out = np.empty((left.shape[0], 4096), np.float32)
    best = 0.0
    with threadpool_limits(cores()):
        for _ in range(30):
            start = time.perf_counter()
            np.matmul(left, right, out=out)
            best = max(best, 2 * out.size * left.shape[1] / (time.perf_counter() - start) / 1e9)
    return best


def describe_machine() -> dict[str, Any]:
    """Return what a reader must know of the machine; no names and no paths."""
    import faiss

    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    libraries = [
        {key: entry.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        for entry in threadpool_info()
    ]
    return {
        "cpu": model,
        "cores": cores(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "faiss": faiss.__version__,
        "thread_libraries": libraries,
    }


def run_rounds(args: argparse.Namespace, engines: list[tuple[Result, Callable[[], Any]]]) -> dict[str, Any]:
    """Let the engines take turns; return each one's last answer by name."""
    answers: dict[str, Any] = {}
    for number in range(args.rounds):
        for result, search in engines:
            start = time.perf_counter()
            answers[result.name] = search()
            result.seconds.append(time.perf_counter() - start)
            print(
                f"round {number + 1} {result.name}: {args.queries / result.seconds[-1]:.0f} queries/s", file=sys.stderr
            )
    return answers


def compare(args: argparse.Namespace, references: Any, queries: Any, folder: Path) -> dict[str, Any]:
    """Build every engine, run the rounds and return the results."""
    import faiss

    dim = queries.shape[1]
    started = time.perf_counter()
    index = build_index(
        folder / "index", blocks(references), fingerprint="bench", dim=dim, schema=SCHEMA, codec="always"
    )
    index_s = time.perf_counter() - started
    rows = index.references()
    exact = ExactEngine(rows)
    started = time.perf_counter()
    compressed = CompressedEngine(rows, index.codec)
    open_s = time.perf_counter() - started
    started = time.perf_counter()
    flat = faiss.IndexFlatIP(dim)
    flat.add(references)
    flat_s = time.perf_counter() - started

    results = {
        "exact": Result("exact", 4 * dim, index_s),
        "compressed": Result("compressed", index.codec.code_bytes + 8, index_s + open_s),
        "flat": Result("flat", 4 * dim, flat_s),
    }

    def search_flat() -> int:
        return int(flat.range_search(queries, args.threshold)[0][-1])

    engines: list[tuple[Result, Callable[[], Any]]] = [
        (results["flat"], search_flat),
        (results["exact"], lambda: exact.search(queries, threshold=args.threshold)),
        (results["compressed"], lambda: compressed.search(queries, threshold=args.threshold)),
    ]
    if args.hnsw:
        started = time.perf_counter()
        graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        graph.add(references)
        results["hnsw"] = Result("hnsw", 4 * dim + 32 * 2 * 4 + 16, time.perf_counter() - started)

        def search_graph() -> int:
            scores, _ = graph.search(queries, HNSW_K)
            return int(np.count_nonzero(scores >= args.threshold))

        engines.append((results["hnsw"], search_graph))
    answers = run_rounds(args, engines)
    oracle: Hits = answers["exact"]
    for name, result in results.items():
        answer = answers[name]
        result.pairs_found = answer if isinstance(answer, int) else len(answer)
        result.recall = result.pairs_found / max(len(oracle), 1)
        result.queries_per_s = args.queries / float(np.median(result.seconds))
        ratios = np.array(results["flat"].seconds) / np.array(result.seconds)
        result.times_flat = float(np.median(ratios))
    results["compressed"].notes = {
        "code_bytes": index.codec.code_bytes,
        "kept_axes": index.codec.kept,
        "error_sd_at_0.4": index.codec.error.sd[5],
        "stats": asdict(compressed.stats),
        "same_hits_as_exact": bool(answers["compressed"] == oracle),
    }
    return {name: asdict(result) for name, result in results.items()}


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    asked, machine = report["asked"], report["machine"]
    lines = [
        "# Threshold join",
        "",
        f"{asked['queries']} queries against {asked['rows']} references of {report['data']['dim']} components "
        f"({report['data']['references_real']} real, the rest drawn like them), score >= {asked['threshold']}: "
        f"{report['results']['exact']['pairs_found']} pairs.",
        f"{machine['cpu']}, {machine['cores']} cores, load {report['load_start']} at the start and "
        f"{report['load_end']} at the end, numpy {machine['numpy']}, faiss {machine['faiss']}.",
        f"{asked['rounds']} rounds; queries/s from the median round, ratio = median of the rounds' ratios.",
        f"A bare float32 product of this shape reached {report['product_gflops']:.0f} GFLOP/s, "
        f"which bounds the exact engines to {report['product_queries_per_s']:.0f} queries/s.",
        f"OPENBLAS_CORETYPE={report['openblas_coretype'] or 'unset'}.",
        "",
        "| engine | queries/s | x flat | pairs found | bytes/vector | build s |",
        "|---|---|---|---|---|---|",
    ]
    lines.extend(
        f"| {name} | {r['queries_per_s']:.0f} | {r['times_flat']:.2f} | {100 * r['recall']:.2f} % "
        f"| {r['bytes_per_vector']:.0f} | {r['build_s']:.0f} |"
        for name, r in report["results"].items()
    )
    lines += ["", f"Peak resident memory of the whole process: {report['peak_rss_mib']} MiB.", ""]
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--embeddings", type=Path, help="unit vectors of real faces, .npy")
    source.add_argument("--drawn", type=int, metavar="PEOPLE", help="draw people instead: no outside data")
    parser.add_argument("--labels", type=Path, help="their identities, .npy")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--threshold", type=float, default=0.43)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hnsw", action=argparse.BooleanOptionalAction, default=True, help="compare with a graph")
    parser.add_argument("--name", default="bench_search", help="of the result files")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and write its two result files."""
    args = parse_arguments()
    load_start = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        queries, references, data = make_data(args, folder)
        gflops = measure_product(queries, references)
        results = compare(args, references, queries, folder)
    report = {
        "asked": {key: getattr(args, key) for key in ("rows", "queries", "threshold", "rounds", "seed")},
        "data": data,
        "machine": describe_machine(),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
        "load_start": load_start,
        "load_end": round(os.getloadavg()[0], 2),
        "product_gflops": round(gflops, 1),
        "product_queries_per_s": gflops * 1e9 / (2 * args.rows * data["dim"]),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "results": results,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    page = to_markdown(report)
    (args.out / f"{args.name}.md").write_text(page)
    print(page, file=sys.stderr)
    print(json.dumps({engine: round(r["times_flat"], 2) for engine, r in results.items()}))


if __name__ == "__main__":
    main()
