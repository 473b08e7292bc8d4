"""How long do the pages of `scanner serve` take over a run of ten million matches, and how much memory?

    python benchmarks/bench_serve.py
    python benchmarks/bench_serve.py --matches 1000000 --work FOLDER

The run is drawn: two indexes, 200 000 identities, a null of 200 000 photos, ten matches a scanned face.  The server is a process
of its own; this one asks it over keep-alive connections, one or several at once, each question with other values, so that
nothing is answered from what was asked before.
"""

import argparse
import http.client
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import describe_machine

from scanner import artefacts

PEOPLE, PHOTOS, BLOCK, OF_A_QUERY = 200_000, 400_000, 1 << 18, 10
LEVEL, THRESHOLD = 0.05, 0.43


def write(folder: Path, name: str, schema: pa.Schema, tables: Iterator[dict[str, Any]]) -> None:
    """Write one table of the run."""
    made = (artefacts.table_of(schema, columns) for columns in tables)
    artefacts.write_tables(folder / f"{name}.parquet", artefacts.stamped(schema, name), made)


def draw_matches(rows: int) -> Iterator[dict[str, Any]]:
    """Yield blocks of matches, in the order of the scanned faces, as a scan writes them."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        queries = np.arange(start, start + n) // OF_A_QUERY
        each = np.unique(queries)
        of_query = pa.array(queries - queries[0])
        person = rng.integers(PEOPLE, size=n)
        reference = person * 3 + rng.integers(3, size=n)
        ids = [f"{int(q) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}:0" for q in each]
        yield {
            "query_id": pa.array(ids).take(of_query),
            "query_uri": pa.array([f"model-{q % 3}/sample-{q:08d}.png" for q in each]).take(of_query),
            "query_face": np.zeros(n, np.int16),
            "index": pa.array(["celeba", "ffhq"]).take(pa.array(person % 2)),
            "reference_id": reference,
            "reference_uri": [f"photos/{r // 3:06d}/{r % 3}.jpg" for r in reference.tolist()],
            "identity": [f"person-{p:06d}" for p in person.tolist()],
            "score": (THRESHOLD + rng.exponential(0.03, n)).clip(0, 0.999).astype(np.float32),
            "rank": (np.arange(start, start + n) % OF_A_QUERY + 1).astype(np.int32),
            "p_value": person / PEOPLE,
            "q_value": (person + 1) / PEOPLE,
            "verdict": ["match"] * n,
            "flags": pa.array([["near_copy"] if p % 50 == 0 else [] for p in person.tolist()], pa.list_(pa.string())),
        }


def draw_people() -> Iterator[dict[str, Any]]:
    """Yield the identities, most unusual first."""
    person = np.arange(PEOPLE)
    shares = dict.fromkeys(("p_value", "p_conformal", "p_low", "p_high", "q_by", "q_conformal"), person / PEOPLE)
    yield {
        "index": pa.array(["celeba", "ffhq"]).take(pa.array(person % 2)), "identity": [f"person-{p:06d}" for p in person.tolist()],
        "best_score": (0.9 - 0.4 * person / PEOPLE).astype(np.float32), "photos": np.full(PEOPLE, 3, np.int32),
        "q_value": (person + 1) / PEOPLE, "clusters": np.ones(PEOPLE, np.int32), "flags": pa.array([[]] * PEOPLE, pa.list_(pa.string())), **shares,
    }  # fmt: skip


def draw_photos() -> Iterator[dict[str, Any]]:
    """Yield photos, half of them of the null."""
    scores = np.random.default_rng(1).normal(0.35, 0.04, PHOTOS).astype(np.float32)
    texts = [f"{n}" for n in range(PHOTOS)]
    yield {
        "side": ["null", "candidate"] * (PHOTOS // 2), "index": ["outsiders", "celeba"] * (PHOTOS // 2), "reference_id": np.arange(PHOTOS),
        "reference_uri": texts, "item_id": texts, "identity": texts, "best_score": scores, "best_query_id": texts,
        "scores": pa.array(scores[:, None].tolist(), pa.list_(pa.float32())), "centrality": np.zeros(PHOTOS),
        "flags": pa.array([[]] * PHOTOS, pa.list_(pa.string())),
    }  # fmt: skip


def write_run(folder: Path, matches: int) -> None:
    """Write the drawn run; run.json last."""
    artefacts.make_private_folder(folder)
    write(folder, "matches", artefacts.MATCHES, draw_matches(matches))
    write(folder, "identities", artefacts.IDENTITIES, draw_people())
    write(folder, "photos", artefacts.PHOTOS, draw_photos())
    for name, schema in (("queries", artefacts.QUERIES), ("rejects", artefacts.REJECTS)):
        write(folder, name, schema, iter([{one.name: [] for one in schema}]))
    verdict = {"state": "named", "sentence": "A drawn run."}
    named, estimate = int(LEVEL * PEOPLE), {"value": 0.1, "low": 0.0, "high": 0.2, "extrapolated": False}
    evidence = {
        "format": "identity-leak-evidence", "format_version": 1, "verdict": verdict, "guards": [], "power": None,
        "identities": {"level": LEVEL, "below_level": named, "identities": PEOPLE, "null_identities": PHOTOS // 2},
        "searches": {"searches": 1, "below_level": 0}, "clusters": {"clusters": 1}, "rates": {"fpir": estimate},
        "population": {"share": 0.5, "share_interval": [0, 1], "p_value": 1, "leaking": 0, "leaking_interval": [0, 1]},
    }  # fmt: skip
    (folder / "evidence.json").write_text(json.dumps(evidence))
    faces = matches // OF_A_QUERY
    counts = {
        "entries": faces,
        "items": faces,
        "duplicates": 0,
        "rejected": 0,
        "faces": faces,
        "faces_rejected": 0,
        "reasons": {},
    }
    results = {
        "queries": faces, "matches": matches, "matched_queries": faces, "matched_identities": PEOPLE, "comparisons": faces * PEOPLE,
        "false_matches_expected": None,
    }  # fmt: skip
    index = {"rows": PEOPLE * 3, "manifest_sha256": "0" * 64, "engine": "exact", "canaries": {"planted": 8, "found": 8}}
    summary = {
        "format": "identity-leak-run", "format_version": 1, "queries": ["drawn"], "counts": counts, "results": results,
        "indexes": [{**index, "name": name} for name in ("celeba", "ffhq")], "seed": 0, "versions": {}, "with_crops": False,
        "road": {"embedder": {"name": "drawn", "fingerprint": "0" * 16}, "faces": {"mode": "whole"}},
        "threshold": {"value": THRESHOLD, "origin": "given", "point": None, "calibrated_on": None},
        "evidence": {"level": LEVEL, "verdict": verdict, "nulls": [], "null_identities": PHOTOS // 2},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(summary))


def questions(run: str, rows: int) -> dict[str, Callable[[random.Random], str]]:
    """Return the kinds of page, each as a function that draws an address."""
    return {
        "overview": lambda _: "/",
        "first page, best first": lambda _: run,
        "filtered by score and q": lambda r: (
            f"{run}?score_min={r.uniform(0.45, 0.5):.6f}&q_max={r.uniform(0.05, 0.5):.6f}"
        ),
        "filtered by a piece of the identity": lambda r: f"{run}?identity={r.randrange(10**4):04d}",
        "a page in the middle, sorted by score": lambda r: f"{run}?after={r.randrange(rows)}",
        "a page in the middle, filtered, sorted by q": lambda r: f"{run}?index=ffhq&sort=q&after={r.randrange(rows)}",
        "a match": lambda r: f"{run}/matches/{r.randrange(rows)}",
        "its next one": lambda r: f"{run}/matches/{r.randrange(rows)}/next",
        "identities": lambda r: f"{run}/identities?after={r.randrange(PEOPLE)}",
    }


def ask(port: int, draw: Callable[[random.Random], str], *, clients: int, times: int) -> dict[str, float]:
    """Ask `times` questions by `clients` at once; return the rate and how long answers took."""
    taken: list[float] = []
    failed: list[int] = []

    def visit(seed: int) -> None:
        rng, connection = random.Random(seed), http.client.HTTPConnection("127.0.0.1", port, timeout=120)  # noqa: S311
        for _ in range(times // clients):
            started = time.perf_counter()
            connection.request("GET", draw(rng))
            answer = connection.getresponse()
            answer.read()
            taken.append(time.perf_counter() - started)
            if answer.status not in {200, 303}:
                failed.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=visit, args=(1000 * clients + n,)) for n in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    if failed:
        raise SystemExit(f"the server answered {sorted(set(failed))}")
    p50, p99 = np.quantile(taken, [0.5, 0.99])
    return {"per_s": len(taken) / wall, "p50_ms": 1000 * float(p50), "p99_ms": 1000 * float(p99), "asked": len(taken)}


def memory_mib(pid: int) -> dict[str, float]:
    """Return what a process holds and held at most, in MiB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return {name: round(int(lines[key].split()[0]) / 1024) for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}


def export(port: int, address: str) -> dict[str, float]:
    """Fetch an export whole; return seconds and bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1800)
    started, size = time.perf_counter(), 0
    connection.request("GET", address)
    answer = connection.getresponse()
    while chunk := answer.read(1 << 20):
        size += len(chunk)
    connection.close()
    return {"seconds": time.perf_counter() - started, "bytes": size}


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Start the server over the run and ask it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "scanner", "serve", str(folder), "--port", "0", "--no-token", "--quiet"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        port = int(url.rpartition(":")[2].rstrip("/"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/")
        text = connection.getresponse().read().decode()
        connection.close()
        run = "/runs/" + text.partition('href="/runs/')[2].partition('"')[0]
        memory = {"before": memory_mib(server.pid)}
        pages: dict[str, Any] = {}
        for name, draw in questions(run, args.matches).items():
            ask(port, draw, clients=1, times=2)  # opens what is opened once
            times = args.times * 10 if name == "overview" else args.times
            pages[name] = {str(clients): ask(port, draw, clients=clients, times=times) for clients in args.clients}
        memory["after the pages"] = memory_mib(server.pid)
        exports = {
            "Parquet, all": export(port, f"{run}/matches.parquet"),
            "CSV, a tenth by q": export(port, f"{run}/matches.csv?q_max=0.1"),
        }
        memory["after the exports"] = memory_mib(server.pid)
        return {"pages": pages, "exports": exports, "memory_mib": memory}
    finally:
        server.terminate()
        server.wait(60)


def as_text(found: dict[str, Any]) -> str:
    """Return the result as a page."""
    machine, clients = found["machine"], list(map(str, found["clients"]))
    lines = [
        "# Pages over a long run", "",
        f"{found['matches']} matches of {PEOPLE} identities, null of {PHOTOS // 2} photos; {machine['cpu']}, {machine['cores']} cores, load "
        f"{machine['load_1min']} at the start, {found['load_end']} at the end.", "",
        "| page | " + " | ".join(f"{n} at once: pages/s, p50, p99" for n in clients) + " |", "|---|" + "---|" * len(clients),
    ]  # fmt: skip
    for name, one in found["pages"].items():
        cells = [f"{one[n]['per_s']:.1f}, {one[n]['p50_ms']:.0f} ms, {one[n]['p99_ms']:.0f} ms" for n in clients]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        *(f"- {name}: {one['bytes'] / 1e6:.0f} MB in {one['seconds']:.1f} s" for name, one in found["exports"].items()),
    ]
    memory = ", ".join(f"{when} {one['now']} MiB (peak {one['peak']})" for when, one in found["memory_mib"].items())
    return "\n".join([*lines, f"- memory of the server: {memory}", ""])


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matches", type=int, default=10_000_000)
    parser.add_argument(
        "--times", type=int, default=40, help="questions of each kind (the overview: ten times as many)"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4], help="how many ask at once")
    parser.add_argument("--work", type=Path, help="folder for the run, kept and used again; else a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--name", default="bench_serve")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp())
    try:
        folder = work / f"run-{args.matches}"
        if not (folder / "run.json").exists():
            write_run(folder, args.matches)
        machine = describe_machine()
        found = {"machine": machine, "matches": args.matches, "clients": args.clients, **measure(folder, args)}
    finally:
        if args.work is None:
            shutil.rmtree(work)
    found["load_end"] = describe_machine()["load_1min"]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / f"{args.name}.md").write_text(as_text(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
