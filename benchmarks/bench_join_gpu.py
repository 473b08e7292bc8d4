"""How fast is the cuda engine, and how near to what the device can multiply?

    PYTHONPATH=. python benchmarks/bench_join_gpu.py --out gpu-results/bench_join_gpu
    PYTHONPATH=. python benchmarks/bench_join_gpu.py --device cpu --rows 20000 --queries 64     # tries the program itself

References are drawn unit vectors whose spectrum is like that of face embeddings (about 110 effective dimensions of 256),
half of the queries are noisy copies of references.  The limits are the device's own rates of large products in bfloat16
and in bytes, measured in the same run.  Hits are compared with the exact engine's, bit for bit.  Needs torch and numpy.
"""

# ruff: noqa: E402 - threads are said before the libraries that read it are imported

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# The engines have threads of their own, and threadpoolctl may be missing here.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.dci.speeds import describe_device, seconds_of
from indexes import Hits, References
from indexes.codec import BLOCK_ROWS, TRAIN_ROWS, Codec, Codes, fit_codec
from indexes.compressed import CompressedEngine
from indexes.device import DeviceEngine, cuda_count
from indexes.device_products import BYTES, Products
from indexes.exact import ExactEngine
from indexes.references import Part

DIM = 256
THRESHOLD = 0.6
SEED = 20
SIDE = {"cpu": 512, "cuda": 8192}
ROWS = {"cpu": 20_000, "cuda": 10_000_000}
QUERIES = {"cpu": 64, "cuda": 4096}
DRAWN_AT_ONCE = 1 << 17
CHECKED_QUERIES = 64
PART_ROWS, PART_QUERIES = 262_144, 1024
SLAB_BLOCKS = 256
QUESTIONS: dict[str, dict[str, Any]] = {
    "pairs": {"threshold": THRESHOLD},
    "scan": {"threshold": THRESHOLD, "k": 1},
}


def draw(rows: int, device: torch.device) -> np.ndarray[Any, Any]:
    """Return float16 (rows, 256) unit vectors."""
    generator = torch.Generator(device).manual_seed(SEED)
    place = torch.arange(DIM, device=device)
    scale = (1 / (1 + torch.exp((place - 110) / 6))).sqrt()
    out = np.empty((rows, DIM), np.float16)
    for start in range(0, rows, DRAWN_AT_ONCE):
        count = min(DRAWN_AT_ONCE, rows - start)
        drawn = torch.randn(count, DIM, generator=generator, device=device) * scale
        out[start : start + count] = torch.nn.functional.normalize(drawn).half().cpu().numpy()
    return out


def queries_of(vectors: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return float32 (n, 256): half of `others` as they are, the other half as noise upon rows of `vectors`."""
    strangers, noise = np.array_split(others.astype(np.float32), 2)
    rows = np.random.default_rng(SEED + 1).integers(0, len(vectors), len(noise))
    both = np.concatenate([strangers, vectors[rows] + 0.6 * noise])
    return np.ascontiguousarray(both / np.linalg.norm(both, axis=1, keepdims=True), np.float32)


def encode(codec: Codec, vectors: np.ndarray[Any, Any]) -> Codes:
    """Return the codes, made by all cores."""
    step = 16 * BLOCK_ROWS
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = list(
            pool.map(
                lambda start: codec.encode(vectors[start : start + step].astype(np.float32)),
                range(0, len(vectors), step),
            )
        )
    return Codes(np.concatenate([codes.codes for codes in made]), np.concatenate([codes.bounds for codes in made]))


def product_rates(device: torch.device) -> dict[str, float]:
    """Return what the device does a second in large square products: 2 n³ operations each."""
    side = SIDE[device.type]
    floats = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    small = torch.randint(-127, 128, (side, side), device=device, dtype=torch.int8)
    works: dict[str, Callable[[], Any]] = {
        "bf16": lambda: floats @ floats.T,
        "int8": lambda: torch._int_mm(small, small.T),  # noqa: SLF001
    }
    return {name: 2 * side**3 / seconds_of(work, device, rounds=10) for name, work in works.items()}


def rate(pairs: float, seconds: float, columns: int, limits: dict[str, float]) -> dict[str, float]:
    """Return pairs a second, beside the device's limits.

    `of_int8`: operations on bytes that were done, of those that the device does.  `of_bf16`: what a bfloat16 product of
    the whole vectors would have had to do, of what the device does.
    """
    speed = pairs / seconds
    return {
        "seconds": seconds,
        "pairs_per_s": speed,
        "of_int8": 2 * columns * speed / limits["int8"],
        "of_bf16": 2 * DIM * speed / limits["bf16"],
    }


def fused(way: Products, codes: Codes, count: int, device: torch.device, limits: dict[str, float]) -> dict[str, float]:
    """Return the rate of the first pass alone: codes on the device in, maxima of runs out."""
    blocks = min(SLAB_BLOCKS, len(codes.codes) // BLOCK_ROWS)
    columns = codes.codes.shape[1]
    values = torch.from_numpy(codes.codes[: blocks * BLOCK_ROWS].reshape(blocks, BLOCK_ROWS, columns)).to(device)
    asked = torch.randint(-127, 128, (count // 32 * 32, columns), dtype=torch.int8, device=device)
    seconds = seconds_of(lambda: way.peaks(asked, values), device)
    return rate(len(asked) * blocks * BLOCK_ROWS, seconds, columns, limits)


def joined(engine: Any, queries: Any, columns: int, limits: dict[str, float], device: torch.device) -> dict[str, Any]:
    """Return the rates of whole searches, exact scores included."""
    found = {}
    for name, asked in QUESTIONS.items():
        hits = engine.search(queries, **asked)
        seconds = seconds_of(lambda asked=asked: engine.search(queries, **asked), device, rounds=3)  # type: ignore[misc]
        found[name] = rate(len(queries) * engine.rows, seconds, columns, limits) | {"hits": hits.rows}
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    device = torch.device("cuda:0" if args.device == "cuda" else "cpu")
    names = [f"cuda:{number}" for number in range(cuda_count())] if args.device == "cuda" else ["cpu"]
    machine = describe_device(device)
    limits = product_rates(device)
    started = time.perf_counter()
    drawn = draw(args.rows + args.queries, device)
    vectors, queries = drawn[: args.rows], queries_of(drawn[: args.rows], drawn[args.rows :])
    codec = fit_codec(vectors[:TRAIN_ROWS].astype(np.float32), seed=0)
    codes = encode(codec, vectors)
    talk(f"{args.rows} rows of {codec.code_bytes} bytes after {time.perf_counter() - started:.0f} s; {limits}")
    references = References([Part(vectors, np.arange(args.rows), None, codes)])
    columns, engine = codec.code_bytes, DeviceEngine(references, codec, devices=names[:1])
    way = engine._ways[device]  # noqa: SLF001
    document: dict[str, Any] = {
        "machine": machine, "rows": args.rows, "queries": len(queries), "dim": DIM, "columns": columns, "way": way.name,
        "limits": limits, "fused": {way.name: fused(way, codes, len(queries), device, limits)}, "join": {},
    }  # fmt: skip
    if way.name != BYTES.name:
        document["fused"][BYTES.name] = fused(BYTES, codes, len(queries), device, limits)
    checked = queries[:: max(1, len(queries) // CHECKED_QUERIES)]
    expected = [ExactEngine(references).search(checked, **asked) for asked in QUESTIONS.values()]
    engines = {"resident": engine, "streamed": DeviceEngine(references, codec, devices=names[:1], keep=False)}
    if len(names) > 1:
        engines[f"{len(names)} GPUs"] = DeviceEngine(references, codec, devices=names)
    for name, each in engines.items():
        document["join"][name] = joined(each, queries, columns, limits, device)
        document["join"][name]["equal"] = equal(each, checked, expected)
        talk(f"{name}: {document['join'][name]}")
    if device.type == "cuda":
        document["device_bytes_peak"] = torch.cuda.max_memory_allocated(device)
    part = References([Part(vectors[:PART_ROWS], np.arange(len(vectors[:PART_ROWS])), None, first_rows(codes))])
    few = queries[:: max(1, len(queries) // PART_QUERIES)]
    for name, cpu in (("exact", ExactEngine(part)), ("compressed", CompressedEngine(part, codec))):
        document["join"][f"CPU {name}, {part.rows} rows"] = joined(cpu, few, columns, limits, device)
    return document


def first_rows(codes: Codes) -> Codes:
    """Return the codes of the part that the CPU searches."""
    return Codes(codes.codes[:PART_ROWS], codes.bounds[: -(-PART_ROWS // BLOCK_ROWS)])


def equal(engine: DeviceEngine, queries: Any, expected: list[Hits]) -> bool:
    """Return whether the hits are the exact engine's."""
    return [engine.search(queries, **asked) for asked in QUESTIONS.values()] == expected


def talk(sentence: str) -> None:
    """Tell how far it is."""
    print(sentence, file=sys.stderr, flush=True)


def page(document: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    m, limits = document["machine"], document["limits"]
    rows = [(f"first pass alone, {way}", figures, "") for way, figures in document["fused"].items()]
    for engine, answers in document["join"].items():
        same = {True: "equal", False: "DIFFERENT", None: ""}[answers.get("equal")]
        rows += [(f"{engine}: {question}", answers[question], same) for question in QUESTIONS]
    lines = [
        "# The cuda engine",
        "",
        f"{m['device']}; {m['cpu']}, {m['cores']} cores, load {m['load_1min']} at the start; torch {m['torch']}. "
        f"{document['rows']} references of {document['dim']} components ({document['columns']} bytes), "
        f"{document['queries']} queries a search; products by {document['way']}.",
        f"Large products on this device: {limits['bf16'] / 1e12:.3g} T/s in bfloat16, {limits['int8'] / 1e12:.3g} T/s in bytes.",
        "",
        "| what | pairs/s | of the int8 rate | of the bf16 rate | seconds | hits and the exact engine's |",
        "|---|---|---|---|---|---|",
        *(
            f"| {what} | {f['pairs_per_s']:.3g} | {f['of_int8']:.0%} | {f['of_bf16']:.0%} | {f['seconds']:.4g} | {same} |"
            for what, f, same in rows
        ),
        "",
        f"`pairs`: all at {THRESHOLD} or above; `scan`: each query's best besides, which is what a scan asks. Searches include "
        "the exact scores on the host. Of the int8 rate: operations done. Of the bf16 rate: operations that a bfloat16 "
        "product of the whole vectors would need.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rows", type=int, help="references; 10 000 000 on a GPU, 20 000 otherwise")
    parser.add_argument("--queries", type=int, help="queries of a search; 4096 on a GPU, 64 otherwise")
    parser.add_argument("--out", type=Path, default=Path("bench_join_gpu"), help="results go to OUT.json and OUT.md")
    args = parser.parse_args()
    args.rows, args.queries = args.rows or ROWS[args.device], args.queries or QUERIES[args.device]
    document = measure(args)
    args.out.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(page(document))
    print(json.dumps(document))
    return 0 if all(answers.get("equal", True) for answers in document["join"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
