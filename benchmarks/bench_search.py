"""Which engine finds all pairs above a threshold, how fast, and in how much memory?

    python benchmarks/bench_search.py --embeddings FACES.npy --labels LABELS.npy --rows 500000
    python benchmarks/bench_search.py --drawn 1000 --threshold 0.75 --rows 100000
    python benchmarks/bench_search.py --embeddings ONE.npy OTHER.npy --labels LABELS.npy --threshold 0.42
    python benchmarks/bench_search.py ... --peers flat hnsw ivf usearch hnswlib --peer-python peers/bin/python

References: one real photo of each identity, and face-like strangers drawn from their mean and
covariance. Queries: other real photos (at most two of an identity), filled up with drawn strangers.
Each engine lives in a process of its own and searches when it is its turn; ratios are against faiss'
IndexFlatIP of the same round, so that a busy machine slows both sides. "Pairs found" is against the
exact engine. Several files of embeddings are the same faces by several recognisers: their vectors are put side by side and
brought to unit length, so that a score is the mean of the recognisers' scores.

Peers that the repository does not need come from an environment of their own (`--peer-python`: numpy, faiss-cpu, usearch,
hnswlib; `--autofaiss-python`: autofaiss, which needs numpy < 2). The slow ones (ivf, usearch) search a part of the queries,
once; their rates are per query, and their pairs are counted against the exact engine's on the same part.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from facelike import draw_blocks, effective_dim, fit_facelike, save_rows
from machine import describe_machine
from threadpoolctl import threadpool_limits

from indexes import VectorBatch, build_index
from indexes.byte_products import bytes_gain
from indexes.tiled import cores

HERE = Path(__file__).resolve().parent
PHOTOS_PER_IDENTITY_MAX = 2
SCHEMA = pa.schema([("identity", pa.string())])
OURS = ("exact", "compressed")
SLOW = ("ivf", "usearch")
"""Peers that search few of the queries, in the first round alone: they take minutes for what others do in seconds."""


def make_data(
    args: argparse.Namespace,
) -> tuple[npt.NDArray[np.float32], Callable[[], Iterator[npt.NDArray[np.float32]]], dict[str, Any]]:
    """Return queries, a function that yields the references block by block, and a description of both."""
    if args.drawn:
        real, labels = embed_drawn(args.drawn)
    else:
        real = side_by_side(args.embeddings)
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

    def references() -> Iterator[npt.NDArray[np.float32]]:
        yield np.ascontiguousarray(known)
        yield from draw_blocks(model, args.rows - len(known), seed=args.seed + 2)

    described = {
        "dim": int(known.shape[1]),
        "recognisers": 1 if args.drawn else len(args.embeddings),
        "effective_dim": round(effective_dim(known), 1),
        "references_real": len(known),
        "references_drawn": args.rows - len(known),
        "queries_real": len(others),
        "queries_drawn": len(strangers),
    }
    return queries, references, described


def side_by_side(paths: list[Path]) -> npt.NDArray[np.float32]:
    """Return unit vectors (n, sum of d) of faces that several recognisers embedded, each into a file of (n, d) unit vectors."""
    parts = [np.load(path).astype(np.float32) for path in paths]
    if len({len(part) for part in parts}) > 1:
        counts = ", ".join(f"{path.name} {len(part)}" for path, part in zip(paths, parts, strict=True))
        raise SystemExit(f"The files must hold the same faces in the same order; they have {counts} rows.")
    joined = np.concatenate(parts, axis=1)
    return np.asarray(joined / np.linalg.norm(joined, axis=1, keepdims=True), np.float32)


def embed_drawn(people: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return vectors and labels of drawn people, two photos each, by the drawn world's recogniser."""
    from scanner.embedders import open_embedder
    from scanner.sessions import choose_device
    from scanner.world.draw import face_pixels

    embedder = open_embedder("drawn", choose_device("cpu")).embedder
    vectors = [embedder.embed(np.stack([face_pixels(9, n, photo) for photo in range(2)])) for n in range(people)]
    return np.concatenate(vectors), np.repeat(np.arange(people), 2)


def blocks(references: Iterator[npt.NDArray[np.float32]]) -> Iterator[tuple[VectorBatch, pa.Table]]:
    """Yield the references as an index is built from."""
    for some in references:
        yield VectorBatch(some), pa.table({"identity": [None] * len(some)}, schema=SCHEMA)


def measure_product(queries: npt.NDArray[np.float32], *, seconds: float = 1.0) -> float:
    """Return the GFLOP/s of bare float32 products of the exact engine's tile shape, all cores, held for some seconds.

    Held, since a processor's clock falls within the first tenths of a second of such work.
    """
    left, right = queries[:1000], np.resize(queries, (4096, queries.shape[1])).T
    out = np.empty((left.shape[0], 4096), np.float32)
    with threadpool_limits(cores()):
        np.matmul(left, right, out=out)
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            np.matmul(left, right, out=out)
            calls += 1
        took_s = time.perf_counter() - started
    return 2.0 * calls * out.size * left.shape[1] / took_s / 1e9


class Contestant:
    """An engine in a process of its own; see `search/contestant.py`."""

    def __init__(self, name: str, asked: Path, python: str) -> None:
        self.name = name
        self.seconds: list[float] = []  # per query
        command = [python, str(HERE / "search" / "contestant.py"), name, str(asked)]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.built = self._answer()
        self.last: dict[str, Any] = {}
        print(f"{name}: ready after {self.built['build_s']:.1f} s", file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its stdin, at which it ends

    def search(self, queries: str = "all") -> dict[str, Any]:
        """Let it search once: "all" queries or "few" of them."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{queries}\n")
        self._process.stdin.flush()
        self.last = self._answer()
        self.seconds.append(self.last["seconds"] / self.last["queries"])
        return self.last

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} stopped with code {self._process.wait()}; its words stand above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(
    args: argparse.Namespace,
    folder: Path,
    references: Iterator[npt.NDArray[np.float32]],
    queries: npt.NDArray[np.float32],
    described: dict[str, Any],
) -> tuple[dict[str, Any], list[float]]:
    """Build the index, let every engine build, and run the rounds; return the results, and the GFLOP/s of bare products in each."""
    started = time.perf_counter()
    index = build_index(
        folder / "index", blocks(references), fingerprint="bench", dim=described["dim"], schema=SCHEMA, codec="always"
    )
    index_s = time.perf_counter() - started
    assert index.codec is not None
    described |= {
        "kept_axes": index.codec.kept,
        "code_bytes": index.codec.code_bytes,
        "index_build_s": round(index_s, 1),
    }
    asked: dict[str, Any] = {
        "index": str(folder / "index"), "references": str(folder / "all.npy"), "queries": str(folder / "queries.npy"),
        "threshold": args.threshold, "memory_bytes": args.memory_mib << 20, "threads": cores(),
        "dim": described["dim"], "few_step": max(1, args.queries // args.few),
    }  # fmt: skip
    settings = folder / "asked.json"
    settings.write_text(json.dumps(asked))
    with ExitStack() as stack:
        engines = [stack.enter_context(Contestant(name, settings, sys.executable)) for name in args.engines]
        truth = {some: engines[0].search(some)["pairs"] for some in ("few", "all")}
        engines[0].seconds.clear()
        settings.write_text(json.dumps({**asked, "pairs_few": truth["few"]}))
        pythons = {"autofaiss": args.autofaiss_python or args.peer_python}
        for name in args.peers:
            python = pythons.get(name, args.peer_python) or sys.executable
            engines.append(stack.enter_context(Contestant(name, settings, python)))
        gflops = []
        for number in range(args.rounds):
            gflops.append(measure_product(queries))
            for engine in engines:
                if number == 0 or engine.name not in SLOW:
                    engine.search("few" if engine.name in SLOW else "all")
                    print(f"round {number + 1} {engine.name}: {engine.last}", file=sys.stderr)
        code_bytes = index.codec.code_bytes
        results = {engine.name: summary(engine, engines, truth, described["dim"], code_bytes) for engine in engines}
    if "exact" in results:
        bounds = np.array(gflops) * 1e9 / (2 * args.rows * described["dim"])  # queries/s
        results["exact"]["of_product"] = float(np.median(1 / np.array(results["exact"]["seconds_per_query"]) / bounds))
    return results, gflops


def summary(
    engine: Contestant, all_of: list[Contestant], truth: dict[str, int], dim: int, code_bytes: int
) -> dict[str, Any]:
    """Return what is said of one engine."""
    base = next((other for other in all_of if other.name == "flat"), all_of[0])
    ratios = np.array(base.seconds[: len(engine.seconds)]) / np.array(engine.seconds)
    notes = dict(engine.built["notes"])
    graph = {"hnsw": 32 * 2 * 4 + 16, "hnswlib": 16 * 2 * 4 + 16}.get(engine.name, 0)
    vector_bytes = code_bytes if engine.name == "compressed" else notes.pop("bytes_per_vector", 4 * dim + graph)
    return {
        "queries": engine.last["queries"],
        "rounds": len(engine.seconds),
        "queries_per_s": 1 / float(np.median(engine.seconds)),
        "ratio": float(np.median(ratios)),
        "ratio_to": base.name,
        "pairs": engine.last["pairs"],
        "recall": engine.last["pairs"] / max(truth["few" if engine.name in SLOW else "all"], 1),
        "bytes_per_vector": vector_bytes,
        "own_memory_mib": engine.last["own_memory_mib"],
        "build_s": engine.built["build_s"],
        "notes": notes,
        "seconds_per_query": engine.seconds,
    }


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    asked, machine, data = report["asked"], report["machine"], report["data"]
    results = report["results"]
    first = next(iter(results.values()))
    slow = [name for name in SLOW if name in results]
    share = results.get("exact", {}).get("of_product")
    of_product = "" if share is None else f" (ours is at {100 * share:.0f} %)"
    recognisers = "" if data["recognisers"] == 1 else f", {data['recognisers']} recognisers side by side"
    lines = [
        "# Threshold join",
        "",
        f"{asked['queries']} queries against {asked['rows']} references of {data['dim']} components{recognisers} "
        f"({data['references_real']} real, the rest drawn like them), score >= {asked['threshold']}: {first['pairs']} pairs. "
        f"Our engines were allowed {asked['memory_mib']} MiB.",
        f"{machine['cpu']}, {machine['cores']} cores, load {report['load_start']} at the start and "
        f"{report['load_end']} at the end, numpy {machine['numpy']}, faiss {machine['faiss-cpu']}.",
        f"{asked['rounds']} rounds in turns, each engine in its own process; queries/s from the median round, ratio = median "
        "of the rounds' ratios.",
        *(
            f"{name}: one round of {results[name]['queries']} of the queries, with {results[name]['pairs']} pairs found."
            for name in slow
        ),
        f"Bare float32 products of this shape, a second of them in each round, made {report['product_gflops']:.0f} GFLOP/s, "
        f"which bounds exact engines to {report['product_queries_per_s']:.0f} queries/s{of_product}; bytes are multiplied "
        f"{report['bytes_gain']:.1f} times as fast, {data['code_bytes']} a vector, which bounds the compressed one to "
        f"{report['bytes_queries_per_s']:.0f}.",
        f"OPENBLAS_CORETYPE={report['openblas_coretype'] or 'unset'}. Building the index on disk, codes and checksums "
        f"included: {data['index_build_s']:.0f} s. Memory: the most of its own, mapped files not counted.",
        "",
        f"| engine | queries/s | x {first['ratio_to']} | pairs found | bytes/vector | memory MiB | ready after s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines.extend(
        f"| {name} | {r['queries_per_s']:.0f} | {r['ratio']:.2f} | {100 * r['recall']:.2f} % "
        f"| {r['bytes_per_vector']:.0f} | {r['own_memory_mib']} | {r['build_s']:.0f} |"
        for name, r in results.items()
    )
    notes = [f"{name}: {', '.join(f'{k} {v}' for k, v in r['notes'].items())}" for name, r in results.items()]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--embeddings",
        type=Path,
        nargs="+",
        help="unit vectors of real faces, .npy; of several recognisers: side by side",
    )
    source.add_argument("--drawn", type=int, metavar="PEOPLE", help="draw people instead: no outside data")
    parser.add_argument("--labels", type=Path, help="their identities, .npy")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--threshold", type=float, default=0.43)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-mib", type=int, default=4096, help="allowance of our engines")
    parser.add_argument(
        "--engines", nargs="+", choices=OURS, default=list(OURS), help="of ours; the first one is the truth"
    )
    parser.add_argument(
        "--peers", nargs="*", default=["flat", "hnsw"], help="flat, hnsw, autofaiss, ivf, usearch, hnswlib"
    )
    parser.add_argument("--few", type=int, default=400, help=f"queries that slow peers ({', '.join(SLOW)}) search")
    parser.add_argument("--peer-python", help="interpreter of an environment that has the peers")
    parser.add_argument("--autofaiss-python", help="interpreter of an environment that has autofaiss")
    parser.add_argument(
        "--work", type=Path, help="where vectors and the index are written; a temporary folder if not given"
    )
    parser.add_argument("--name", default="bench_search", help="of the result files")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and write its two result files."""
    args = parse_arguments()
    load_start = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        queries, references, data = make_data(args)
        np.save(folder / "queries.npy", queries)
        if args.peers:
            save_rows(folder / "all.npy", references(), (args.rows, data["dim"]))
        gain = bytes_gain()
        results, rounds_gflops = compare(args, folder, references(), queries, data)
    gflops = float(np.median(rounds_gflops))
    bound = gflops * 1e9 / (2 * args.rows * data["dim"])
    report = {
        "asked": {
            key: getattr(args, key) for key in ("rows", "queries", "few", "threshold", "rounds", "seed", "memory_mib")
        },
        "data": data,
        "machine": describe_machine(),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
        "load_start": load_start,
        "load_end": round(os.getloadavg()[0], 2),
        "product_gflops": round(gflops, 1),
        "product_queries_per_s": bound,
        "bytes_gain": round(gain, 2),
        "bytes_queries_per_s": bound * gain * data["dim"] / data["code_bytes"],
        "results": results,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    page = to_markdown(report)
    (args.out / f"{args.name}.md").write_text(page)
    print(page, file=sys.stderr)
    print(json.dumps({engine: round(r["ratio"], 2) for engine, r in results.items()}))


if __name__ == "__main__":
    main()
