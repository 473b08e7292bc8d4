"""How long do questions about ten million matches take, and how much memory?

    python benchmarks/bench_query.py
    python benchmarks/bench_query.py --matches 1000000 --runs 2 --rounds 1

Runs are written as `scanner scan` writes them, with drawn rows: five matches a face on average, people and references by a
power law, so that a few have thousands of matches.  Then one process opens them and asks the ready questions, and pages of
all matches by score; memory is the most that this process held during a question, its libraries included.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import describe_machine

from scanner import artefacts
from scanner.report.database import Database
from scanner.report.questions import questions

HERE = Path(__file__).resolve().parent
BLOCK_ROWS = 131_072
MATCHES_PER_FACE = 5
REFERENCES, PEOPLE, REJECTS = 2_000_000, 200_000, 10_000
THRESHOLD = 0.43
PAGE_ROWS = 50
PAGE = """
    WITH page AS (SELECT run, row_id FROM matches ORDER BY score DESC, run, row_id LIMIT $rows OFFSET $start)
    SELECT matches.* FROM matches JOIN page USING (run, row_id) ORDER BY score DESC, run, row_id
"""
OTHERS = {
    "all matches of one identity": ("FROM matches WHERE identity = $identity", {"identity": "person-000777"}),
    "matches of one run counted": ("SELECT count(*) FROM matches WHERE run = $run", {"run": "run-1"}),
    "matches by tenths of the score": ("SELECT floor(score * 10) AS tenth, count(*) FROM matches GROUP BY ALL", {}),
}


def write_run(folder: Path, matches: int, seed: int) -> None:
    """Write the tables of one run."""
    folder.mkdir(parents=True)
    faces = matches // MATCHES_PER_FACE
    tables = {
        "matches": (artefacts.MATCHES, match_blocks(matches, faces, seed)),
        "queries": (artefacts.QUERIES, query_blocks(faces, seed)),
        "rejects": (artefacts.REJECTS, reject_blocks(seed)),
    }
    for name, (schema, blocks) in tables.items():
        artefacts.write_tables(folder / f"{name}.parquet", artefacts.stamped(schema, name), blocks)
    (folder / "run.json").write_text(json.dumps(summary(matches, faces)), "utf-8")


def match_blocks(rows: int, faces: int, seed: int) -> Iterator[pa.Table]:
    """Draw matches in the order of the faces."""
    rng = np.random.default_rng([seed, 1])
    face = np.sort(rng.integers(0, faces, rows))
    for start in range(0, rows, BLOCK_ROWS):
        part = face[start : start + BLOCK_ROWS]
        n = len(part)
        reference = (REFERENCES * rng.random(n) ** 3).astype(np.int64)
        flags = rng.random(n)
        columns = {
            "query_id": numbered("{}:0", part, 32),
            "query_uri": numbered("generated:gan.toml!/{}.png", part, 9),
            "query_face": np.zeros(n, np.int16),
            "index": pa.array(["candidates"] * n),
            "reference_id": reference,
            "reference_uri": numbered("photos.tar!/{}.jpg", reference, 7),
            "identity": numbered("person-{}", reference // (REFERENCES // PEOPLE), 6),
            "score": (THRESHOLD + (1 - THRESHOLD) * rng.beta(1, 6, n)).astype(np.float32),
            "rank": rng.integers(1, 6, n).astype(np.int32),
            "verdict": pa.array(["match"] * n),
            "flags": [["near_copy"] if x < 1e-4 else ["hub"] if x < 0.01 else [] for x in flags],
        }
        yield artefacts.table_of(artefacts.MATCHES, columns)


def query_blocks(rows: int, seed: int) -> Iterator[pa.Table]:
    """Draw scanned faces; every tenth has no match, most of them far from the threshold."""
    rng = np.random.default_rng([seed, 2])
    for start in range(0, rows, BLOCK_ROWS):
        number = np.arange(start, min(start + BLOCK_ROWS, rows))
        n = len(number)
        misses = number % 10 == 0
        columns = {
            "query_id": numbered("{}:0", number, 32),
            "item_id": numbered("{}", number, 32),
            "uri": numbered("generated:gan.toml!/{}.png", number, 9),
            "face": np.zeros(n, np.int16),
            "best_score": np.where(misses, THRESHOLD * rng.random(n) ** 0.3, THRESHOLD + 0.3 * rng.random(n)).astype(
                np.float32
            ),
            "best_reference_id": rng.integers(0, REFERENCES, n),
            "best_index": pa.array(["candidates"] * n),
            "matches": np.where(misses, 0, MATCHES_PER_FACE).astype(np.int32),
        }
        yield artefacts.table_of(artefacts.QUERIES, columns)


def reject_blocks(seed: int) -> Iterator[pa.Table]:
    """Draw rejects."""
    reasons = np.array(["no_face", "face_too_small", "duplicate", "truncated"])
    number = np.arange(REJECTS)
    columns = {
        "uri": numbered("generated:gan.toml!/{}.png", number, 9),
        "item_id": numbered("{}", number, 32),
        "level": pa.array(["item"] * REJECTS),
        "reason": pa.array(reasons[np.random.default_rng([seed, 3]).integers(0, len(reasons), REJECTS)]),
        "detail": pa.array([""] * REJECTS),
    }
    yield artefacts.table_of(artefacts.REJECTS, columns)


def numbered(form: str, numbers: np.ndarray, digits: int) -> pa.Array:
    """Return texts with a number in each."""
    before, after = form.split("{}")
    return pa.array([f"{before}{number:0{digits}d}{after}" for number in numbers.tolist()])


def summary(matches: int, faces: int) -> dict[str, Any]:
    """Return what a database reads of `run.json`."""
    return {
        "format": "identity-leak-run", "format_version": 1, "queries": ["generated:gan.toml"],
        "indexes": [{"name": "candidates", "rows": REFERENCES}],
        "road": {"embedder": {"name": "drawn", "fingerprint": "0" * 16}, "faces": None},
        "threshold": {"value": THRESHOLD, "origin": "given", "point": None},
        "counts": {"entries": faces + REJECTS, "items": faces, "faces": faces, "rejected": REJECTS},
        "results": {"queries": faces, "matches": matches}, "seed": 0,
    }  # fmt: skip


def peak_mib(*, reset: bool = False) -> int:
    """Return the most memory that this process held since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024


def measure(runs: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Ask everything `rounds` times in turns."""
    start = time.perf_counter()
    database = Database(
        [runs], memory_bytes=args.memory_mib << 20, threads=args.threads, time_limit_s=600, spill=runs.parent
    )
    opened_s = time.perf_counter() - start
    pages = [page for page in (0, 1_000, 100_000, args.matches // 2) if page < args.matches]
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        name: (one.sql, one.values({"run": "run-0"} if name == "new-since" else {}))
        for name, one in questions().items()
    }
    asked |= {f"page of {PAGE_ROWS} from {page:,}": (PAGE, {"rows": PAGE_ROWS, "start": page}) for page in pages}
    asked |= {name: one for name, one in OTHERS.items() if name != "matches of one run counted" or args.runs > 1}
    found: dict[str, dict[str, Any]] = {name: {"seconds": [], "cpu_s": [], "peak_mib": 0, "rows": 0} for name in asked}
    for _ in range(args.rounds):
        for name, (sql, values) in asked.items():
            peak_mib(reset=True)
            start, spent = time.perf_counter(), time.process_time()
            found[name]["rows"] = database.select(sql, values or None).num_rows
            found[name]["seconds"].append(round(time.perf_counter() - start, 4))
            found[name]["cpu_s"].append(round(time.process_time() - spent, 4))
            print(name, found[name]["seconds"][-1], file=sys.stderr)
            found[name]["peak_mib"] = max(found[name]["peak_mib"], peak_mib())
    database.close()
    return {"opened_s": opened_s, "questions": found}


def as_page(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    args, machine = result["arguments"], result["machine"]
    lines = [
        "# Questions about matches",
        "",
        f"{args['matches']:,} matches in {args['runs']} runs ({result['bytes'] >> 20} MiB of Parquet), {args['threads']} threads, "
        f"{args['memory_mib']} MiB allowed, the rest spilled.",
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_1min']} at the start and {result['load_at_end']} at "
        f"the end, DuckDB {result['duckdb']}.",
        f"Runs opened in {result['opened_s']:.2f} s. Medians of {args['rounds']} rounds: seconds by the clock, which a busy "
        "machine stretches, and of processor time. Memory: the most of the process, of which about 150 MiB are libraries.",
        "",
        "| question | seconds | processor seconds | rows | memory MiB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {statistics.median(one['seconds']):.2f} | {statistics.median(one['cpu_s']):.2f} | {one['rows']:,} | {one['peak_mib']} |"
        for name, one in result["questions"].items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse arguments, write the runs, ask, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--matches", type=int, default=10_000_000, help="in all runs together")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--work", type=Path, help="keep the runs here, or take those that are here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="bench_query", help="of the result")
    args = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.work or Path(temporary) / "runs"
        if not folder.exists():
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # so that its memory is not ours
                parts = [(folder / f"run-{n}", args.matches // args.runs, args.seed + n) for n in range(args.runs)]
                pool.starmap(write_run, parts)
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        measured = measure(folder, args)
    result = {
        "arguments": {name: value for name, value in vars(args).items() if name != "work"},
        "machine": machine,
        "load_at_end": describe_machine()["load_1min"],
        "duckdb": version("duckdb"),
        "bytes": size,
        **measured,
    }
    out = HERE / "results" / args.name
    out.with_suffix(".json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    out.with_suffix(".md").write_text(as_page(result))
    print(as_page(result))
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
