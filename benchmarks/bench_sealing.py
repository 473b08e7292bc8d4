"""What does encryption cost: tables and an index written, opened, searched and looked up, with a key and without one?

    python benchmarks/bench_sealing.py
    python benchmarks/bench_sealing.py --rows 1000000 --work FOLDER

Vectors are drawn and held in memory, as in bench_build.py.  Both sides take turns within a round, and what is reported is
the median over rounds of the ratio within a round, by the clock and by processor time; the system's cache is warm.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from bench_build import BLOCK, SCHEMA, blocks, draw
from machine import describe_machine

from indexes import build_index, open_index
from indexes.keys import FILE_VARIABLE, TEXT_VARIABLE, new_key, write_key_file
from indexes.sealed import open_file
from scanner import artefacts

SIDES = ("plain", "sealed")
LOOKED_UP = 4096
STEPS = {
    "write": "write a table of embeddings",
    "read": "read it",
    "build": "build an index, everything on disk",
    "open": "open it",
    "exact": "search it by vectors",
    "compressed": "search it by codes",
    "gather": f"fetch {LOOKED_UP} scattered vectors",
    "lookup": f"look up {LOOKED_UP} scattered rows",
    "verify": "check every byte",
    "copy": "read every byte",
}


@contextmanager
def side_of(side: str, key_file: Path) -> Iterator[None]:
    """Set a key for one side, and none for the other."""
    os.environ.pop(FILE_VARIABLE, None)
    os.environ.pop(TEXT_VARIABLE, None)
    if side == "sealed":
        os.environ[FILE_VARIABLE] = str(key_file)
    yield
    os.environ.pop(FILE_VARIABLE, None)


def steps(folder: Path, vectors: npt.NDArray[np.float32], args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Return what is timed, in order."""
    path, table_path = folder / "index", folder / "faces.parquet"
    schema = artefacts.stamped(artefacts.embeddings_schema(args.dim), "embeddings", fingerprint="bench")
    queries = vectors[: args.queries]
    scattered = np.random.default_rng(1).choice(args.rows, min(LOOKED_UP, args.rows), replace=False)

    def tables() -> Iterator[pa.Table]:
        for start in range(0, args.rows, BLOCK):
            some = vectors[: min(BLOCK, args.rows - start)]
            names = [f"{start + row:032x}" for row in range(len(some))]
            column = pa.FixedSizeListArray.from_arrays(pa.array(some.reshape(-1)), args.dim)
            columns = {"id": names, "item_id": names, "uri": names, "face": [0] * len(some), "embedding": column}
            yield artefacts.table_of(schema, columns)

    def build() -> None:
        rows = blocks(vectors, 0, args.rows)
        build_index(path, rows, fingerprint="bench", dim=args.dim, schema=SCHEMA, codec="always")

    def search(engine: str) -> None:
        open_index(path).engine(1 << 30, engine)[0].search(queries, threshold=0.999, hits_max=1 << 40)

    def every_byte() -> None:
        with open_file(path / "segments" / "000000" / "vectors.safetensors") as file:
            while file.read(1 << 20):
                pass

    return {
        "write": lambda: artefacts.write_tables(table_path, schema, tables()),
        "read": lambda: [table.num_rows for table in artefacts.iter_tables(table_path, "embeddings", rows_max=8192)],
        "build": build,
        "open": lambda: open_index(path).references(),
        "exact": lambda: search("exact"),
        "compressed": lambda: search("compressed"),
        "gather": lambda: open_index(path).references().gather(scattered),
        "lookup": lambda: open_index(path).lookup(scattered),
        "verify": lambda: open_index(path).verify(),
        "copy": every_byte,
    }


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, dict[str, tuple[float, float]]]]:
    """Return, for each round, step -> side -> seconds by the clock and of the processor."""
    vectors = draw(args.dim)
    write_key_file(folder / "key", [new_key()])
    rounds = []
    for _ in range(args.rounds + 1):
        found: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in STEPS}
        todo = {}
        for side in SIDES:
            shutil.rmtree(folder / side, ignore_errors=True)
            (folder / side).mkdir()
            todo[side] = steps(folder / side, vectors, args)
        for name in STEPS:
            for side in SIDES:
                with side_of(side, folder / "key"):
                    clock, processor = time.perf_counter(), time.process_time()
                    todo[side][name]()
                    found[name][side] = time.perf_counter() - clock, time.process_time() - processor
        rounds.append(found)
    return rounds[1:]  # the first one pays for loading libraries


def summarise(rounds: list[dict[str, dict[str, tuple[float, float]]]]) -> dict[str, dict[str, float]]:
    """Return medians: seconds of both sides, and ratios within a round."""
    return {
        name: {
            "plain_s": median(found[name]["plain"][0] for found in rounds),
            "sealed_s": median(found[name]["sealed"][0] for found in rounds),
            "ratio": median(found[name]["sealed"][0] / found[name]["plain"][0] for found in rounds),
            "ratio_processor": median(found[name]["sealed"][1] / found[name]["plain"][1] for found in rounds),
        }
        for name in STEPS
    }


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    machine, asked = report["machine"], report["asked"]
    lines = [
        "# What encryption costs",
        "",
        f"{asked['rows']} rows of {asked['dim']} components, {asked['queries']} queries, {asked['rounds']} rounds; "
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_1min']} at the start, {report['load_end']} at the "
        "end.",
        "",
        "| what | without a key | with one | ratio | ratio of processor time |",
        "|---|---|---|---|---|",
    ]
    for name, step in report["steps"].items():
        lines.append(
            f"| {STEPS[name]} | {step['plain_s']:.3f} s | {step['sealed_s']:.3f} s | {step['ratio']:.2f} | {step['ratio_processor']:.2f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the benchmark and write its two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="where files are written; a temporary folder if not given")
    parser.add_argument("--name", default="bench_sealing", help="of the result files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        rounds = measure(args, Path(name))
    report = {
        "machine": machine,
        "asked": {key: getattr(args, key) for key in ("rows", "dim", "queries", "rounds")},
        "steps": summarise(rounds),
        "load_end": round(os.getloadavg()[0], 2),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    page = to_markdown(report)
    (args.out / f"{args.name}.md").write_text(page)
    print(page, file=sys.stderr)
    print(json.dumps({key: round(value["ratio"], 3) for key, value in report["steps"].items()}))


if __name__ == "__main__":
    main()
