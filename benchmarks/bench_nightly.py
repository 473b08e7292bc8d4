"""What does a whole scan take from pictures to report, in which stages, in how much memory, and was that foretold?

    python benchmarks/bench_nightly.py                                             # drawn faces: no outside data
    python benchmarks/bench_nightly.py --rows 10000000 --work FOLDER
    python benchmarks/bench_nightly.py --images PICTURES --embedder onnx:face.onnx --detector scrfd.onnx \\
        --embeddings FACES.npy --labels LABELS.npy --threshold 0.43

The machine is measured as `scanner doctor --bench` does it, an index is built of real vectors and face-like ones drawn like
them, and `scanner scan` runs once for each engine and round, in a process of its own.  Seconds are the process's, from its
start to its end; stages and predictions are those of its `costs.json`.  Its own memory is looked at from outside, twenty
times a second: pages of mapped files do not count, since the system takes them back whenever it needs room.  The engines'
tables must be the same bytes.

The limit beside it is what the networks and the products alone take on all cores, at the rates measured in this run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from bench_cost import reference_rows
from bench_search import embed_drawn, measure_product
from facelike import draw_blocks, fit_facelike
from machine import describe_machine

from indexes import Index, VectorBatch, build_index
from indexes.byte_products import bytes_gain
from scanner import artefacts, costs
from scanner.images import encode_png
from scanner.jobs.measuring.meter import COSTS_NAME
from scanner.jobs.measuring.profile import default_path, read_profile
from scanner.jobs.options import FaceOptions, OpenedRoad, cores, open_road
from scanner.world.draw import face_pixels

HERE = Path(__file__).resolve().parent
WORLD = 9
"""Of `bench_search.embed_drawn`: its people are the first references, and half of the drawn pictures show them again."""
TABLES = ("queries.parquet", "matches.parquet", "rejects.parquet")
LOOK_EVERY_S = 0.05


def draw_pictures(folder: Path, count: int, people: int) -> None:
    """Write `count` aligned pictures: new photos of people who are in the index, and as many of strangers."""
    folder.mkdir()
    for place in range(count):
        person = place // 2 % people if place % 2 else people + place // 2
        (folder / f"{place:06d}.png").write_bytes(encode_png(face_pixels(WORLD, person, 2 + place)))


def known_vectors(args: argparse.Namespace) -> npt.NDArray[np.float32]:
    """Return one vector of each person: float32 (n, d), unit rows."""
    if args.embeddings is None:
        vectors, labels = embed_drawn(args.people)
    else:
        vectors = np.load(args.embeddings).astype(np.float32)
        labels = np.load(args.labels) if args.labels else np.arange(len(vectors))
    return np.ascontiguousarray(vectors[np.unique(labels, return_index=True)[1]][: args.rows])


def blocks(known: npt.NDArray[np.float32], rows: int, seed: int) -> Iterator[tuple[VectorBatch, pa.Table]]:
    """Yield the references: those who are known, and strangers drawn like them, never more than a block in memory."""
    yield VectorBatch(known), reference_rows(0, len(known))
    first = len(known)
    for some in draw_blocks(fit_facelike(known), rows - first, seed=seed):
        yield VectorBatch(some), reference_rows(first, len(some))
        first += len(some)


def build(
    args: argparse.Namespace, path: Path, opened: OpenedRoad, known: npt.NDArray[np.float32]
) -> tuple[Index, float]:
    """Build the index; return it and the seconds."""
    dim = opened.road.embedder.dim
    if known.shape[1] != dim:
        raise SystemExit(f"{args.embeddings} has vectors of {known.shape[1]} numbers, {args.embedder} makes {dim}.")
    coded = any(engine != "exact" for engine in args.engines)
    needed = costs.index_bytes(
        args.rows,
        dim,
        value_bytes=np.dtype(args.dtype).itemsize,
        code_bytes=costs.code_bytes_of(dim) if coded else None,
    )
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise SystemExit(
            f"The index needs about {needed >> 30} GiB and {path.parent} has {free >> 30}. Ask for fewer --rows, or "
            "--dtype float16."
        )
    started = time.perf_counter()
    index = build_index(
        path, blocks(known, args.rows, args.seed), fingerprint=opened.fingerprint, dim=dim, schema=artefacts.REFERENCE_ROWS,
        dtype=args.dtype, codec="always" if coded else "none",
        embedder={**opened.description["embedder"], "faces": opened.description["faces"]}, seed=args.seed,
    )  # fmt: skip
    return index, time.perf_counter() - started


def measure_machine(args: argparse.Namespace, folder: Path, environment: dict[str, str]) -> None:
    """Let the scanner measure this machine with these networks and this disk, into a cache folder of its own."""
    words = ["doctor", "--bench", "--embedder", args.embedder, "--folder", str(folder)]
    run_scanner(words + (["--detector", str(args.detector)] if args.detector else []), environment)


def run_scanner(words: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a command of the scanner's in a process of its own; return its answer, seconds and the most of its own memory."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "scanner", *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    own_kib = 0
    while process.poll() is None:
        own_kib = max(own_kib, own_memory_kib(process.pid))
        time.sleep(LOOK_EVERY_S)
    seconds = time.perf_counter() - started
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"scanner {words[0]} stopped with code {process.returncode}; its words stand above.")
    return {"answer": json.loads(said.splitlines()[-1]), "seconds": seconds, "own_memory_mib": own_kib >> 10}


def own_memory_kib(pid: int) -> int:
    """Return a process's memory without pages of mapped files; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def scan(args: argparse.Namespace, folder: Path, engine: str, environment: dict[str, str]) -> dict[str, Any]:
    """Scan once; return what it took and the hashes of its tables."""
    out = folder / "run"
    words = [
        "scan", *args.images, "--against", str(folder / "references"), "--out", str(out), "--threshold", str(args.threshold),
        "--memory", args.memory, "--engine", engine, "--embedder", args.embedder, "--faces", args.faces, "--force",
    ]  # fmt: skip
    found = run_scanner(words + (["--detector", str(args.detector)] if args.detector else []), environment)
    taken = json.loads((out / COSTS_NAME).read_text())
    return {
        "seconds": found["seconds"],
        "own_memory_mib": found["own_memory_mib"],
        "peak_rss_mib": taken["peak_rss_bytes"] >> 20,
        "images": found["answer"]["counts"]["entries"],
        "faces": found["answer"]["counts"]["faces"],
        "matches": found["answer"]["matches"],
        "predicted_s": taken["predicted_s"],
        "predicted_stages_took_s": taken["predicted_stages_took_s"],
        "predicted_memory_mib": None
        if taken["predicted_memory_bytes"] is None
        else taken["predicted_memory_bytes"] >> 20,
        "stages": taken["stages"],
        "tables": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in TABLES},
    }


def turns(args: argparse.Namespace, folder: Path, environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Let the engines take turns; return of each the run with the median of seconds, and all seconds."""
    runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in args.engines}
    for number in range(args.rounds):
        for engine in args.engines:
            runs[engine].append(scan(args, folder, engine, environment))
            took = f"{runs[engine][-1]['seconds']:.1f} s, {runs[engine][-1]['own_memory_mib']} MiB of its own"
            print(f"round {number + 1} {engine}: {took}", file=sys.stderr)
    if len({json.dumps(run["tables"]) for some in runs.values() for run in some}) > 1:
        raise SystemExit("Two runs wrote different tables: engines and rounds must not change a result.")
    chosen = {}
    for engine, some in runs.items():
        median = sorted(some, key=lambda run: float(run["seconds"]))[(len(some) - 1) // 2]
        chosen[engine] = {**median, "all_seconds": [round(run["seconds"], 2) for run in some]}
    return chosen


def limits(index: Index, opened: OpenedRoad, args: argparse.Namespace, results: dict[str, Any]) -> dict[str, Any]:
    """Return rates measured here, and for each engine the seconds that networks and products alone would take."""
    detector = args.detector.name if args.detector else None
    networks = read_profile(default_path()).networks_of(opened.fingerprint, detector)
    assert networks is not None
    gflops, gain = measure_product(np.ones((1000, index.dim), np.float32)), bytes_gain()
    network_ms = networks.embed_ms + (networks.detect_320_ms or 0.0)
    found: dict[str, Any] = {"network_ms": network_ms, "product_gflops": round(gflops, 1), "bytes_gain": round(gain, 2)}
    for engine, run in results.items():
        operations = 2.0 * run["faces"] * index.rows
        seconds = operations * index.dim / gflops * 1e-9
        if engine == "compressed":
            assert index.codec is not None
            seconds = operations * index.codec.code_bytes / (gflops * gain) * 1e-9
        found[engine] = run["images"] * network_ms * 1e-3 / cores() + seconds
    return found


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    asked, machine, results, limit = (report[name] for name in ("asked", "machine", "results", "limits"))
    first = next(iter(results.values()))
    lines = [
        "# A whole scan",
        "",
        f"{first['images']} pictures ({report['pictures']}, {first['faces']} faces) against {asked['rows']} references of "
        f"{report['dim']} components ({asked['dtype']}, {report['known']} of real vectors, the rest drawn like them), by "
        f"`scanner scan --threshold {asked['threshold']} --memory {asked['memory']}`: {first['matches']} matches, the same "
        "tables by every engine.",
        f"{machine['cpu']}, {machine['cores']} cores, load {report['load_start']} at the start and {report['load_end']} at the "
        f"end; {asked['rounds']} rounds in turns, the one with the median of seconds is shown.  Before it the index was built "
        f"in {report['build_s']:.0f} s, so what of its files fits into memory may still be there.",
        f"Limit: the networks alone take {limit['network_ms']:.1f} ms of one core a picture (one look at 320 pixels where "
        f"faces are looked for), float32 products reach {limit['product_gflops']:.0f} GFLOP/s, and bytes are multiplied "
        f"{limit['bytes_gain']:.1f} times as fast.",
        "Memory: the most of the process's own, and with pages of mapped files, which are predicted whole and stay while "
        "there is room.  Predicted seconds: by the machine's rates as measured just before, of the stages that are predicted, "
        "beside what these took.",
        "",
        "| engine | images/s | seconds | of the limit | own memory MiB | with mapped files | predicted MiB | predicted s | took s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for engine, run in results.items():
        lines.append(
            f"| {engine} | {run['images'] / run['seconds']:.1f} | {run['seconds']:.1f} | {limit[engine] / run['seconds']:.0%} "
            f"| {run['own_memory_mib']} | {run['peak_rss_mib']} | {run['predicted_memory_mib']} | {_s(run['predicted_s'])} | {_s(run['predicted_stages_took_s'])} |"
        )
    lines += [
        "",
        "| engine | stage | items | seconds | share | processor s | predicted s |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine, run in results.items():
        rest = run["seconds"] - sum(stage["actual_s"] for stage in run["stages"])
        start = {"name": "start and end of the process", "unit": "", "items": 0, "actual_s": rest, "cpu_s": None}
        for stage in [*run["stages"], start]:
            items = f"{stage['items']} {stage['unit']}" if stage["items"] else ""
            lines.append(
                f"| {engine} | {stage['name']} | {items} | {stage['actual_s']:.2f} | {stage['actual_s'] / run['seconds']:.0%} "
                f"| {_s(stage['cpu_s'])} | {_s(stage.get('predicted_s'))} |"
            )
    return "\n".join([*lines, ""])


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", nargs="+", help="sources of pictures, as `scanner scan` takes them; drawn if not given"
    )
    parser.add_argument("--count", type=int, default=400, help="pictures that are drawn")
    parser.add_argument(
        "--people", type=int, default=1000, help="drawn people whose vectors the references are drawn like"
    )
    parser.add_argument("--embedder", default="drawn")
    parser.add_argument("--detector", type=Path, help="SCRFD file; without it pictures are aligned crops")
    parser.add_argument("--embeddings", type=Path, help="real unit vectors of this embedder, .npy")
    parser.add_argument("--labels", type=Path, help="their identities, .npy: one vector each is used")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--threshold", type=float, default=0.75)
    parser.add_argument("--memory", default="4GiB")
    parser.add_argument("--engines", nargs="+", choices=["exact", "compressed"], default=["exact", "compressed"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where index and runs are written; a temporary folder if not given")
    parser.add_argument("--name", default="bench_nightly", help="of the result files")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    if args.embedder != "drawn" and not (args.images and args.embeddings):
        parser.error(f"--embedder {args.embedder} needs --images, and --embeddings that it made")
    args.faces = "detect" if args.detector else "aligned"
    return args


def main() -> None:
    """Run the benchmark and write its two result files."""
    args = parse_arguments()
    machine, load_start = describe_machine(), round(os.getloadavg()[0], 2)
    pictures = "given" if args.images else "drawn, 112 pixels"
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        if not args.images:
            draw_pictures(folder / "pictures", args.count, args.people)
            args.images = [str(folder / "pictures")]
        opened = open_road(
            FaceOptions(
                embedder=args.embedder, faces=args.faces, detector=str(args.detector) if args.detector else None
            )
        )
        measure_machine(args, folder, environment)
        known = known_vectors(args)
        index, build_s = build(args, folder / "references", opened, known)
        results = turns(args, folder, environment)
        report = {
            "asked": {key: getattr(args, key) for key in ("rows", "dtype", "threshold", "memory", "rounds", "seed")},
            "machine": machine,
            "pictures": pictures,
            "known": len(known),
            "dim": index.dim,
            "build_s": round(build_s, 1),
            "limits": limits(index, opened, args, results),
            "results": results,
            "load_start": load_start,
            "load_end": round(os.getloadavg()[0], 2),
        }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    page = to_markdown(report)
    (args.out / f"{args.name}.md").write_text(page)
    print(page, file=sys.stderr)
    print(json.dumps({engine: round(run["images"] / run["seconds"], 2) for engine, run in results.items()}))


if __name__ == "__main__":
    main()
