"""Does the cost model say what runs take, and what would a scan cost on hardware that nobody has here?

    python benchmarks/bench_cost.py                                  # drawn vectors: no outside data
    python benchmarks/bench_cost.py --embeddings FACES.npy

Measures this machine as `scanner doctor --bench` does, then builds an index and joins queries with it at three sizes by the
real code, rounds taking turns over the sizes.  Compared are seconds on the clock (the best round; other work on the machine
makes it longer), processor seconds (a join's are its seconds times the cores, a build's are those without the disk), peak
memory and disk.
Then the model alone: a table for 10^8 to 10^10 candidates on named machines.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from bench_search import embed_drawn
from facelike import draw_blocks, fit_facelike, save_rows
from machine import describe_machine

from indexes import VectorBatch, build_index, open_index
from scanner import artefacts, costs
from scanner.jobs.measuring.bench_machine import measure_machine
from scanner.jobs.measuring.bench_networks import measure_networks
from scanner.jobs.measuring.meter import peak_rss_bytes
from scanner.jobs.options import FaceOptions
from scanner.progress import Silent
from scanner.quantities import bytes_words, time_words
from scanner.rates import Machine

DIM = 256
TABLE_QUERIES = 10**6
TABLE_ROWS = (10**8, 10**9, 10**10)
NVME_MB_S = 7000.0
"""Sequential read of one PCIe 4 x4 solid-state disk, data sheet."""
NETWORK_GB_S = 3.125
"""25 Gbit/s."""
NIGHT_S = 10 * 3600.0


def main() -> None:
    """Measure, compare, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path, help=".npy of real unit vectors to fit the drawn ones on")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 60_000, 200_000])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--engines", nargs="+", default=["exact"], choices=["exact", "compressed"])
    parser.add_argument("--codec", default="none", choices=["none", "always"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--name", default="bench_cost")
    args = parser.parse_args()
    if "compressed" in args.engines:
        args.codec = "always"
    drawn = measure_networks(FaceOptions(embedder="drawn"), progress=Silent())[0].rates()
    machine = Machine(**measure_machine(drawn=drawn, progress=Silent()).model_dump())
    rows = compare(args, machine)
    document = {
        "machine": describe_machine(),
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "rates": asdict(machine),
        "compared": rows,
        "table": table(machine),
    }
    results = Path(__file__).parent / "results"
    (results / f"{args.name}.json").write_text(json.dumps(document, indent=2) + "\n")
    (results / f"{args.name}.md").write_text(page(document))
    sys.stderr.write(page(document))
    print(json.dumps(rows))


def compare(args: argparse.Namespace, machine: Machine) -> list[dict[str, Any]]:
    """Build and join at every size; the best of some rounds, each in a process of its own for its peak memory."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = np.load(args.embeddings).astype(np.float32)[:, :DIM] if args.embeddings else wide_drawn()
        model = fit_facelike(real)
        queries = np.concatenate(list(draw_blocks(model, args.queries, seed=1)))
        rows = max(args.sizes)
        save_rows(folder / "references.npy", draw_blocks(model, rows, seed=2), (rows, real.shape[1]))
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for number in range(args.rounds):
            for size in args.sizes:
                build_args = (folder, size, args.codec)
                found.setdefault(("build", size), []).append(in_child(build_once, *build_args))
                for engine in args.engines:
                    join_args = (folder, size, engine, queries, args.threshold)
                    found.setdefault((engine, size), []).append(in_child(join_once, *join_args))
            sys.stderr.write(f"round {number + 1} of {args.rounds}\n")
        codec = open_index(folder / f"{rows}.idx").codec  # the bytes a row of these data, not those of usual ones
        code_bytes = None if codec is None else codec.code_bytes
    return [account(machine, work, size, args.queries, code_bytes, rounds) for (work, size), rounds in found.items()]


def wide_drawn() -> npt.NDArray[np.float32]:
    """Return vectors of drawn people in 256 components: the recogniser's 128, and 128 directions of their products."""
    vectors, _ = embed_drawn(400)
    mixed = np.concatenate([vectors, vectors * np.roll(vectors, 1, axis=1) * np.sqrt(vectors.shape[1])], axis=1)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.ascontiguousarray(mixed, np.float32)


def blocks(path: Path, size: int) -> Iterator[tuple[VectorBatch, pa.Table]]:
    """Yield the first `size` references with the names that an index keeps beside them.

    Read, not mapped: a mapped file's pages would count as the build's memory.
    """
    shape = np.load(path, mmap_mode="r")
    for start in range(0, size, 4096):
        rows, dim = min(4096, size - start), shape.shape[1]
        some = np.fromfile(path, np.float32, rows * dim, offset=shape.offset + start * dim * 4).reshape(rows, dim)
        yield VectorBatch(some), reference_rows(start, len(some))


def reference_rows(first: int, count: int) -> pa.Table:
    """Return the names of `count` references from number `first` on: what an index keeps beside their vectors."""
    ids = [f"{number:032x}:0" for number in range(first, first + count)]
    nothing: dict[str, Any] = {field.name: [None] * count for field in artefacts.REFERENCE_ROWS if field.nullable}
    columns = {
        **nothing, "face_id": ids, "item_id": [one[:32] for one in ids], "uri": [f"photos/{one}.jpg" for one in ids],
        "other_uris": [[]] * count, "face": [0] * count,
    }  # fmt: skip
    return artefacts.table_of(artefacts.REFERENCE_ROWS, columns)


def build_once(folder: Path, size: int, codec: Any) -> dict[str, float]:
    """Build an index of `size` references; return what it took."""
    path = folder / f"{size}.idx"
    if path.exists():
        for file in sorted(path.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
    took = Taken()
    build_index(
        path,
        blocks(folder / "references.npy", size),
        fingerprint="bench",
        dim=DIM,
        schema=artefacts.REFERENCE_ROWS,
        codec=codec,
    )
    return took.until_now(disk_bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))


def join_once(
    folder: Path, size: int, engine: str, queries: npt.NDArray[np.float32], threshold: float
) -> dict[str, float]:
    """Join all queries with the index of `size`; return what it took."""
    chosen, _ = open_index(folder / f"{size}.idx").engine(memory_bytes=4 << 30, want=engine)
    chosen.search(queries[:8], threshold=threshold, k=1)  # threads and libraries come up, as with a scan's canaries
    took = Taken()
    for start in range(0, len(queries), costs.QUERIES_PER_PASS):
        chosen.search(queries[start : start + costs.QUERIES_PER_PASS], threshold=threshold, k=1)
    return took.until_now()


class Taken:
    """Clock and processor time from now on."""

    def __init__(self) -> None:
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def until_now(self, **more: float) -> dict[str, float]:
        """Return the seconds since, and the most memory that the process has held."""
        return {
            "seconds": time.perf_counter() - self._clock,
            "cpu_s": time.process_time() - self._cpu,
            "rss_bytes": peak_rss_bytes(),
            "load": os.getloadavg()[0],
            **more,
        }


def in_child(work: Any, *args: Any) -> dict[str, float]:
    """Run `work` in a fresh process, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, float] = pool.apply(work, args)
    return found


def account(
    machine: Machine,
    work: str,
    size: int,
    queries: int,
    code_bytes: int | None,
    rounds: list[dict[str, float]],
) -> dict[str, Any]:
    """Return one row: predicted, actual (the best round), and their ratios, predicted / actual."""
    machine = replace(machine, disk_read_mb_s=1e3 * machine.memory_gb_s)  # just built: its files are in memory
    if work == "build":
        cost = costs.build(machine, size, DIM, code_bytes=code_bytes)
        no_disk = replace(machine, disk_write_mb_s=1e12)  # waiting for the disk takes no processor
        cpu = costs.build(no_disk, size, DIM, code_bytes=code_bytes).seconds
    elif work == "exact":
        cost = costs.exact_join(machine, queries, size, DIM)
        cpu = cost.seconds * machine.cores
    else:
        cost = costs.compressed_join(machine, queries, size, DIM, code_bytes=code_bytes or 0)
        cpu = cost.seconds * machine.cores
    clock_s, cpu_s = (min(one[name] for one in rounds) for name in ("seconds", "cpu_s"))
    rss = max(one["rss_bytes"] for one in rounds)
    disk = rounds[0].get("disk_bytes")
    memory = cost.memory_bytes + cost.mapped_bytes
    return {
        "work": work,
        "rows": size,
        "predicted_s": cost.seconds,
        "clock_s": clock_s,
        "clock_ratio": cost.seconds / clock_s,
        "cpu_s": cpu_s,
        "predicted_cpu_s": cpu,
        "cpu_ratio": cpu / cpu_s,
        "predicted_memory_bytes": memory,
        "rss_bytes": rss,
        "memory_ratio": memory / rss,
        "predicted_disk_bytes": cost.disk_bytes if disk else None,
        "disk_bytes": disk,
        "disk_ratio": cost.disk_bytes / disk if disk else None,
        "load": max(one["load"] for one in rounds),
    }


def named_hardware(here: Machine) -> list[tuple[str, str, Machine, int]]:
    """Return (name, where its rates come from, rates, queries of one pass)."""
    server = replace(
        here, cores=64, ram_bytes=512 << 30, product_gflop_s=0.7 * 64 * 1.9 * 64, int8_gop_s=0.7 * 64 * 1.9 * 256,
        products_gb_s=0.6 * 358.0, disk_read_mb_s=NVME_MB_S, query_us=here.query_us * here.cores / 64,
        coded_query_us=here.coded_query_us * here.cores / 64,
    )  # fmt: skip
    gpu = replace(
        here, cores=16, ram_bytes=80 * 10**9, product_gflop_s=0.6 * 989_000.0, int8_gop_s=0.6 * 1_979_000.0,
        products_gb_s=None, disk_read_mb_s=NVME_MB_S, query_us=here.query_us * here.cores / 16,
        coded_query_us=here.coded_query_us * here.cores / 16,
    )  # fmt: skip
    return [
        ("this machine", f"measured: {here.cores} cores", here, costs.QUERIES_PER_PASS),
        (
            "64 cores, AVX-512 VNNI (Xeon Platinum 8592+)",
            "data sheet x a stated efficiency, not measured: 64 cores x 1.9 GHz (base) x 64 flop (float32) or 256 operations "
            "(int8) a cycle, 70 %; 8 channels DDR5-5600 = 358 GB/s, 60 %",
            server,
            costs.QUERIES_PER_PASS,
        ),
        (
            "one H100 SXM",
            "data sheet x a stated efficiency, not measured: dense bf16 989 TFLOP/s in place of float32, dense int8 1 979 "
            "TOP/s, 60 %; maxima fused into the product; all queries in its memory, one pass",
            gpu,
            TABLE_QUERIES,
        ),
    ]


def table(here: Machine) -> list[dict[str, Any]]:
    """Return what the join of a million queries would take, by machine and number of candidates."""
    codes, found = costs.code_bytes_of(DIM), []
    for name, origin, machine, per_pass in named_hardware(here):
        for rows in TABLE_ROWS:
            exact = costs.exact_join(machine, TABLE_QUERIES, rows, DIM, queries_per_pass=per_pass)
            compressed = None
            if machine.int8_gop_s is not None:
                compressed = costs.compressed_join(
                    machine, TABLE_QUERIES, rows, DIM, code_bytes=codes, queries_per_pass=per_pass
                ).seconds
            found.append(
                {
                    "machine": name,
                    "origin": origin,
                    "rows": rows,
                    "exact_s": exact.seconds,
                    "compressed_s": compressed,
                    "memory_bytes": exact.memory_bytes,
                    "index_bytes": costs.index_bytes(rows, DIM, code_bytes=codes),
                    "machines_for_a_night": machines_for_a_night(machine, rows, per_pass),
                }
            )
    return found


def machines_for_a_night(machine: Machine, rows: int, per_pass: int) -> int:
    """Return how many such machines finish the exact join in a night, each with its share of the candidates."""
    for machines in count(1):
        share = costs.spread_join(
            machine, machines, TABLE_QUERIES, rows, DIM, network_gb_s=NETWORK_GB_S, queries_per_pass=per_pass
        )
        if share.seconds <= NIGHT_S:
            return machines
    raise AssertionError("counting does not end")


def page(document: dict[str, Any]) -> str:
    """Return the results for people."""
    here = document["machine"]
    lines = [
        "# bench_cost",
        "",
        f"{here['cpu']}, {here['cores']} cores, load {here['load_1min']} at the end (other work ran beside it).",
        f"{document['options']['queries']} queries, best of {document['options']['rounds']} rounds; ratios are predicted / actual.",
        "",
        "| work | rows | predicted | clock | ratio | processor s | ratio | peak memory, ratio | disk, ratio | load |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in document["compared"]:
        disk = "" if row["disk_bytes"] is None else f"{bytes_words(row['disk_bytes'])}, {row['disk_ratio']:.2f}"
        lines.append(
            f"| {row['work']} | {row['rows']} | {row['predicted_s']:.2f} s | {row['clock_s']:.2f} s | {row['clock_ratio']:.2f} | "
            f"{row['cpu_s']:.2f} | {row['cpu_ratio']:.2f} | {bytes_words(row['rss_bytes'])}, {row['memory_ratio']:.2f} | {disk} | "
            f"{row['load']:.1f} |"
        )
    lines += ["", "Rates:", "", *(f"- {name}: {value}" for name, value in document["rates"].items())]
    lines += ["", f"## {TABLE_QUERIES:,} queries x N candidates, {DIM} components", "", *table_lines(document["table"])]
    return "\n".join(lines) + "\n"


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of `table` in Markdown, and where each machine's rates come from."""
    lines = [
        "| machine | candidates | index on disk | memory | exact | compressed | machines for a night (10 h), exact |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['machine']} | 10^{len(str(row['rows'])) - 1} | {bytes_words(row['index_bytes'])} | "
        f"{bytes_words(row['memory_bytes'])} | {time_words(row['exact_s'])} | {time_words(row['compressed_s'])} | "
        f"{row['machines_for_a_night']} |"
        for row in rows
    ]
    origins = {row["machine"]: row["origin"] for row in rows}
    return [*lines, "", *(f"- {name}: {origin}." for name, origin in origins.items())]


if __name__ == "__main__":
    main()
