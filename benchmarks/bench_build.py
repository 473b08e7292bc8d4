"""How fast is an index built, opened, added to and erased from, and what of it is touched?

    python benchmarks/bench_build.py --rows 1000000
    python benchmarks/bench_build.py --rows 10000000 --peer-rows 1000000 --work FOLDER

Vectors are drawn (uniform on the sphere of a subspace: what they are like changes nothing here), held in memory and used
again for every block, so that building is timed and not drawing.  Ours writes vectors, metadata, codes and checksums, all
forced to the disk; faiss writes its index with `write_index`.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from machine import describe_machine

from indexes import Index, VectorBatch, build_index, open_index

SCHEMA = pa.schema([("identity", pa.string()), ("uri", pa.string())])
BLOCK = 16_384
PHOTOS = 4


def draw(dim: int) -> npt.NDArray[np.float32]:
    """Return a block of unit vectors."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((BLOCK, dim)) * np.linspace(1.0, 0.2, dim)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def blocks(vectors: npt.NDArray[np.float32], first: int, rows: int) -> Iterator[tuple[VectorBatch, pa.Table]]:
    """Yield `rows` rows with four photos a person, people numbered on from row `first`."""
    for start in range(first, first + rows, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, first + rows))
        columns = {"identity": [f"p{n // PHOTOS}" for n in numbers], "uri": [f"photos/{n:09d}.jpg" for n in numbers]}
        yield VectorBatch(vectors[: len(numbers)]), pa.table(columns, schema=SCHEMA)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def state(path: Path) -> dict[str, int]:
    """Return when each file of the segments was last written."""
    return {str(file.relative_to(path)): file.stat().st_mtime_ns for file in path.glob("segments/*/*")}


def ours(args: argparse.Namespace, folder: Path, vectors: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Build, open, add one per cent, erase one person; return seconds of each."""
    path = folder / "index"
    build_s, _ = timed(lambda: build_index(
        path, blocks(vectors, 0, args.rows), fingerprint="bench", dim=args.dim, schema=SCHEMA, codec=args.codec
    ))  # fmt: skip
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    open_s = min(timed(lambda: open_index(path))[0] for _ in range(5))
    ready_s = min(timed(lambda: open_index(path).references())[0] for _ in range(3))
    before = state(path)
    index: Index = open_index(path)
    add_s, _ = timed(lambda: index.add(blocks(vectors, args.rows, args.rows // 100)))
    after = state(path)
    erase_s, record = timed(lambda: open_index(path).remove(where={"identity": [f"p{args.rows // PHOTOS // 2}"]}))
    return {
        "build_s": build_s, "rows_per_s": args.rows / build_s, "bytes_per_row": size / args.rows, "open_ms": 1000 * open_s,
        "ids_in_memory_ms": 1000 * ready_s, "add_1_percent_s": add_s,
        "old_files_touched_by_add": sum(after[name] != stamp for name, stamp in before.items()),
        "erase_one_person_s": erase_s, "erased_rows": len(record.ids),
    }  # fmt: skip


def faiss_flat(args: argparse.Namespace, folder: Path, vectors: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Add to an IndexFlatIP and write it: vectors alone, no metadata, no checksum."""
    import faiss

    def build() -> None:
        index = faiss.IndexFlatIP(args.dim)
        for start in range(0, args.peer_rows, BLOCK):
            index.add(vectors[: min(BLOCK, args.peer_rows - start)])
        faiss.write_index(index, str(folder / "flat.faiss"))

    seconds, _ = timed(build)
    open_s, _ = timed(lambda: faiss.read_index(str(folder / "flat.faiss")))
    return {"rows": args.peer_rows, "rows_per_s": args.peer_rows / seconds, "open_ms": 1000 * open_s}


def faiss_hnsw(args: argparse.Namespace, _: Path, vectors: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Add one block to an HNSW32 of as many rows as are there: what autofaiss builds where memory allows it."""
    import faiss

    rows = min(args.peer_rows, 4 * BLOCK)
    index = faiss.IndexHNSWFlat(args.dim, 32, faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(1)
    moved = [(vectors + 0.05 * rng.standard_normal(vectors.shape)).astype(np.float32) for _ in range(-(-rows // BLOCK))]
    seconds, _ = timed(lambda: [index.add(some) for some in moved])
    return {"rows": len(moved) * BLOCK, "rows_per_s": len(moved) * BLOCK / seconds, "open_ms": float("nan")}


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    machine, ours_, asked = report["machine"], report["ours"], report["asked"]
    lines = [
        "# Building an index",
        "",
        f"{asked['rows']} rows of {asked['dim']} components with two texts each, codes: {asked['codec']}; {machine['cpu']}, "
        f"{machine['cores']} cores, load {machine['load_1min']} at the start.",
        "",
        "| what | measured |",
        "|---|---|",
        f"| build, everything on disk | {ours_['build_s']:.0f} s, {ours_['rows_per_s']:.0f} rows/s, {ours_['bytes_per_row']:.0f} bytes a row |",
        f"| open | {ours_['open_ms']:.0f} ms; with all ids in memory {ours_['ids_in_memory_ms']:.0f} ms |",
        f"| add 1 % | {ours_['add_1_percent_s']:.1f} s; {ours_['old_files_touched_by_add']} old files touched |",
        f"| erase one person ({ours_['erased_rows']} rows, by identity) | {ours_['erase_one_person_s']:.2f} s |",
    ]
    for name, peer in report["peers"].items():
        lines.append(f"| {name}, {peer['rows']} rows | {peer['rows_per_s']:.0f} rows/s |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the benchmark and write its two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--codec", choices=["auto", "none", "always"], default="auto")
    parser.add_argument("--peer-rows", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, help="where the index is written; a temporary folder if not given")
    parser.add_argument("--name", default="bench_build", help="of the result files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    machine = describe_machine()
    vectors = draw(args.dim)
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        report = {
            "machine": machine,
            "asked": {key: getattr(args, key) for key in ("rows", "dim", "codec", "peer_rows")},
            "ours": ours(args, folder, vectors),
            "peers": {
                "faiss Flat, written": faiss_flat(args, folder, vectors),
                "faiss HNSW32, in memory": faiss_hnsw(args, folder, vectors),
            },
            "load_end": round(os.getloadavg()[0], 2),
        }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    page = to_markdown(report)
    (args.out / f"{args.name}.md").write_text(page)
    print(page, file=sys.stderr)
    print(json.dumps({key: round(value, 3) for key, value in report["ours"].items()}))


if __name__ == "__main__":
    main()
