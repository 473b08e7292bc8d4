"""What does `--ray` cost beside one process, and how many workers can one writer serve?

    python benchmarks/bench_cluster.py --images faces.tar --detector scrfd.onnx --recogniser face.onnx

Both sides embed the same pictures on the same cores and take turns; Ray's start is measured apart, and its workers are
warm.  Processor time is that of all processes, Ray's own among them; it says more than the clock on a busy machine.  Name
pictures in whole shards for every core (512 on two), else cores wait for the last one.  The writer's cost is that of settling and writing one shard of 256 pictures, which happens in one process whoever
embeds.  Skipping is what a worker pays to come to its shard in a tar, which has no list of its members.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe_machine

from scanner.jobs.embedding.embed import embed
from scanner.jobs.options import FaceOptions, cores, open_road
from scanner.jobs.parts import Parts
from scanner.jobs.ray_workers import ray_workers
from scanner.jobs.workers import Workers
from scanner.pipeline import SHARD_ENTRIES, embed_shard
from scanner.progress import Silent
from scanner.sources import open_source

SKIP_MEMBERS = 20_000


def seconds(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def embedded(source: str, folder: Path, faces: FaceOptions, workers: Workers | None) -> dict[str, bytes]:
    """Embed, and return the files that came out."""
    folder.mkdir(exist_ok=True)
    embed(source, folder / "e.parquet", faces=faces, workers=workers, force=True)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def turns(source: str, folder: Path, faces: FaceOptions, workers: Workers, *, rounds: int) -> dict[str, Any]:
    """Let one process and the workers embed in turns; the first turn of each warms up and is compared."""
    sides: dict[str, Workers | None] = {"alone": None, "ray": workers}
    files = [embedded(source, folder / name, faces, by) for name, by in sides.items()]
    assert files[0] == files[1], "the bytes differ"
    clock: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, by in sides.items():
            before = processor_s(os.getpid())
            clock[name].append(seconds(lambda: embedded(source, folder / name, faces, by)))  # noqa: B023 - called at once
            processor[name].append(processor_s(os.getpid()) - before)
    return {"clock": compared(clock), "processor": compared(processor)}


def compared(found: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians of seconds, and of their ratios within a round with the range."""
    ratios = [ray / alone for ray, alone in zip(found["ray"], found["alone"], strict=True)]
    return {
        **{f"{name}_s": round(statistics.median(values), 2) for name, values in found.items()},
        "ray_over_alone": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def processor_s(pid: int) -> float:
    """Return the processor seconds of a process and of all that it started and that still run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [
            int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
        ]
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") + sum(processor_s(child) for child in children)


def writer(source: str, folder: Path, faces: FaceOptions, *, rounds: int) -> float:
    """Return the milliseconds of settling and writing one shard."""
    opened = open_road(faces)
    walked = embed_shard(open_source(source), opened.road, 0, entries=SHARD_ENTRIES)
    found = []
    for number in range(rounds):
        parts = Parts(
            folder / str(number), dim=walked.vectors.shape[1], fingerprint=opened.fingerprint, keep_crops=False
        )
        parts.begin({}, resume=False)
        found.append(seconds(lambda: parts.write(walked.settle(set()).shard())))  # noqa: B023 - called at once
    return round(statistics.median(found) * 1000, 1)


def skipping(folder: Path, *, rounds: int) -> dict[str, Any]:
    """Return the microseconds of passing over one member of a tar on a local disk."""
    path = folder / "many.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(SKIP_MEMBERS):
            for suffix, size in (("jpg", 20_000), ("json", 2)):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = size
                tar.addfile(member, io.BytesIO(b"{}" if suffix == "json" else bytes(size)))
    source = open_source(str(path))
    found = [seconds(lambda: next(source.entries(skip=SKIP_MEMBERS - 1))) for _ in range(rounds)]
    return {"members": SKIP_MEMBERS, "us_an_image_with_label": round(statistics.median(found) / SKIP_MEMBERS * 1e6, 1)}


def page(result: dict[str, Any], rounds: int) -> str:
    """Return the results for people."""
    machine, clock, processor, skip = (result[name] for name in ("machine", "clock", "processor", "skipping"))
    return f"""# Ray beside one process

{result["images"]} pictures, {result["cores"]} cores, {rounds} rounds in turns, the same bytes; {machine["cpu"]}, load {machine["load_1min"]} at the start.

| seconds | one process | `--ray local`, warm | ratio (range) |
|---|---|---|---|
| processor, all processes | {processor["alone_s"]} | {processor["ray_s"]} | {processor["ray_over_alone"]} ({processor["range"][0]} to {processor["range"][1]}) |
| clock | {clock["alone_s"]} | {clock["ray_s"]} | {clock["ray_over_alone"]} ({clock["range"][0]} to {clock["range"][1]}) |

- Starting Ray: {result["ray_start_s"]} s, once a command.
- The one writer: {result["writer_ms_a_shard"]} ms a shard of {SHARD_ENTRIES}, so at most {SHARD_ENTRIES / result["writer_ms_a_shard"] * 1000:.0f} pictures/s however many workers there are.
- Passing over a picture and its label in a tar on a local disk: {skip["us_an_image_with_label"]} us; to the end of {skip["members"]} pictures {skip["members"] * skip["us_an_image_with_label"] / 1e6:.1f} s.
"""


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--recogniser", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    faces = FaceOptions(embedder=f"onnx:{options.recogniser}", detector=str(options.detector), workers=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {
            "bench": "bench_cluster",
            "machine": describe_machine(),
            "images": sum(1 for _ in open_source(options.images).entries()),
            "cores": cores(),
            "writer_ms_a_shard": writer(options.images, folder, faces, rounds=5 * options.rounds),
            "skipping": skipping(folder, rounds=options.rounds),
        }
        started = time.perf_counter()
        with ray_workers("local", Silent()) as workers:
            assert workers is not None
            result["ray_start_s"] = round(time.perf_counter() - started, 1)
            result |= turns(options.images, folder, faces, workers, rounds=options.rounds)
    options.out.mkdir(exist_ok=True)
    (options.out / "bench_cluster.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "bench_cluster.md").write_text(page(result, options.rounds))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
