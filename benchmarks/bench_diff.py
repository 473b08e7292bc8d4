"""How long does the diff of two large runs take, and in how much memory?

    python benchmarks/bench_diff.py --matches 10000000

Both runs are drawn: ten matches a scanned face, four photos a person, every person weighed against a null.  Nine tenths
of the scanned faces are the same ones, in another order.  The diff runs in a process of its own, whose peak is its own.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from machine import describe_machine

from scanner.artefacts import IDENTITIES, MATCHES, stamped, table_of, write_tables
from scanner.report.diff import diff_runs

OF_A_QUERY = 10
PHOTOS = 4
BLOCK = 20_000
LEVEL = 0.05


def texts(pattern: str, numbers: npt.NDArray[np.int64]) -> pa.Array:
    """Return a text for each number, each different one made once."""
    different, places = np.unique(numbers, return_inverse=True)
    return pa.array([pattern.format(n) for n in different.tolist()]).take(pa.array(places.ravel()))


def matches(queries: npt.NDArray[np.int64], references: int) -> Iterator[pa.Table]:
    """Yield the matches of these scanned faces; equal faces have equal matches in every run."""
    for start in range(0, len(queries), BLOCK):
        of = np.repeat(queries[start : start + BLOCK], OF_A_QUERY)
        rank = np.tile(np.arange(OF_A_QUERY), len(of) // OF_A_QUERY)
        reference = (of * 7919 + rank * 104_729) % references
        yield table_of(
            MATCHES,
            {
                "query_id": texts("{:032x}:0", of), "query_uri": texts("generated/{:08d}.png", of),
                "query_face": np.zeros(len(of), np.int16), "index": pa.array(["people"]).take(pa.array(np.zeros(len(of), int))),
                "reference_id": reference, "reference_uri": texts("photos/{:09d}.jpg", reference),
                "identity": texts("person-{:07d}", reference // PHOTOS),
                "score": (0.9 - 0.04 * rank - (of % 1000) * 1e-5).astype(np.float32),
                "rank": (rank + 1).astype(np.int32), "verdict": pa.array(["match"]).take(pa.array(np.zeros(len(of), int))),
                "flags": pa.array([[]], pa.list_(pa.string())).take(pa.array(np.zeros(len(of), int))),
            },
        )  # fmt: skip


def identities(people: int, seed: int) -> pa.Table:
    """Return all people with drawn q-values; one of a thousand below the level."""
    q = np.random.default_rng(seed).uniform(0.0, LEVEL * 1000, people)
    values = dict.fromkeys(("p_conformal", "p_value", "q_value", "q_by", "q_conformal", "p_low", "p_high"), q)
    ones = {name: np.ones(people, np.int32) for name in ("photos", "clusters")}
    text = {"index": ["people"] * people, "identity": texts("person-{:07d}", np.arange(people)), "flags": [[]] * people}
    return table_of(IDENTITIES, {**text, **values, **ones, "best_score": np.full(people, 0.9, np.float32)})


def write_run(folder: Path, queries: npt.NDArray[np.int64], references: int, seed: int) -> Path:
    """Write what a diff reads of a run."""
    folder.mkdir()
    write_tables(folder / "matches.parquet", stamped(MATCHES, "matches"), matches(queries, references))
    people = identities(references // PHOTOS, seed)
    write_tables(folder / "identities.parquet", stamped(IDENTITIES, "identities"), [people])
    index = {"name": "people", "rows": references, "manifest_sha256": "0" * 64}
    verdict = {"state": "named", "sentence": "Drawn."}
    summary = {
        "format": "identity-leak-run", "format_version": 1, "queries": ["generated"], "indexes": [index], "seed": 0,
        "road": {"embedder": {"name": "drawn", "fingerprint": "0" * 16}, "faces": None}, "versions": {},
        "threshold": {"value": 0.5}, "counts": {"rejected": 0, "faces_rejected": 0}, "results": {"queries": len(queries)},
        "evidence": {"nulls": [], "null_identities": 1000, "level": LEVEL, "verdict": verdict},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(summary))
    return folder


def peak_mib() -> float:
    """Return the most memory that this process has held; `ru_maxrss` would begin at that of its parent."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def measure(base: Path, run: Path, scratch: Path) -> dict[str, Any]:
    """Compare; return seconds, peak memory of this process, and the counts."""
    peak_before, before = peak_mib(), resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    diff = diff_runs(base, run, acknowledged={}, scratch=scratch)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "processor_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mib": peak_mib(),
        "peak_before_mib": peak_before,
        "counts": {name: diff.as_json()[name] for name in ("matches", "findings")},
    }


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    machine, found = report["machine"], report["diff"]
    matches_, findings = found["counts"]["matches"], found["counts"]["findings"]
    return "\n".join([
        "# Diff of two runs", "",
        f"{matches_['before']} and {matches_['now']} matches, {findings['before']} and {findings['now']} findings, "
        f"{report['asked']['references'] // PHOTOS} people weighed in each; {machine['cpu']}, {machine['cores']} cores, "
        f"load {machine['load_1min']} at the start and {report['load_end']} at the end.", "",
        "| what | measured |", "|---|---|",
        f"| seconds | {found['seconds']:.1f} (processor {found['processor_s']:.1f}) |",
        f"| peak memory of the process | {found['peak_mib']:.0f} MiB ({found['peak_before_mib']:.0f} before it began) |",
        f"| matches.parquet | {report['bytes_of_matches'] / 2**20:.0f} MiB both |",
        f"| matches new, still there, gone | {matches_['new']}, {matches_['still']}, {matches_['gone']} |",
        f"| findings new, still there, gone, changed | {findings['new']}, {findings['still']}, {findings['gone']}, "
        f"{findings['changed']} |", "",
    ])  # fmt: skip


def main() -> None:
    """Run the benchmark and write its two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matches", type=int, default=10_000_000, help="of each run")
    parser.add_argument("--references", type=int, default=2_000_000)
    parser.add_argument(
        "--work", type=Path, help="where the runs and the scratch are written; a temporary folder if not given"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    queries = args.matches // OF_A_QUERY
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        base = write_run(folder / "base", np.arange(queries), args.references, seed=0)
        now = np.random.default_rng(2).permutation(np.arange(queries // 10, queries + queries // 10))
        run = write_run(folder / "run", now, args.references, seed=1)
        machine = describe_machine()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (base, run, folder))
        size = sum((path / "matches.parquet").stat().st_size for path in (base, run))
    asked = {"matches": args.matches, "references": args.references}
    report = {
        "machine": machine, "asked": asked, "diff": found, "bytes_of_matches": size, "load_end": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench_diff.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    page = to_markdown(report)
    (args.out / "bench_diff.md").write_text(page)
    print(page, file=sys.stderr)
    print(json.dumps({key: round(value, 2) for key, value in found.items() if key != "counts"}))


if __name__ == "__main__":
    main()
