"""How many images a second become embeddings, against a plain loop over insightface?

    python benchmarks/bench_embed.py --images FACES.tar --detector scrfd.onnx --recogniser face.onnx

Both sides use the same two networks and the same number of threads, decode the same bytes, and take turns in one
process; the ratio is of the same round, so that a busy machine slows both.  A third row looks at every picture at
640 pixels as the loop does, to tell what the smaller canvas brings and what the pipeline does.  "The two networks
alone" are the calls that our road makes for pictures of LFW's size (a canvas of 320 pixels), without anything around.
"""

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe_machine

from scanner.faces.detect import DetectedFaces, LookPlan
from scanner.jobs.options import FaceOptions, cores, open_road
from scanner.pipeline import embed_source
from scanner.records import Item
from scanner.sources import open_source

NETWORK_REPEATS = 40


class Held:
    """Items read beforehand, so that the disk is nobody's excuse."""

    uri = "memory"

    def __init__(self, items: list[Item]) -> None:
        self.items = items

    def describe(self) -> dict[str, str | int]:
        """See `Source.describe`."""
        return {"kind": "memory"}

    def entries(self, *, skip: int = 0) -> Any:
        """See `Source.entries`."""
        return iter(self.items[skip:])

    def count(self) -> int:
        """See `Source.count`."""
        return len(self.items)


def loop_of(pack: Path, threads: int) -> Callable[[list[Item]], int]:
    """Return the plain loop: decode, FaceAnalysis.get, one image at a time."""
    import onnxruntime
    from insightface.app import FaceAnalysis

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with contextlib.redirect_stdout(io.StringIO()):
        app = FaceAnalysis(name=str(pack), providers=["CPUExecutionProvider"], sess_options=options)
        app.prepare(ctx_id=-1, det_size=(640, 640))

    def run(items: list[Item]) -> int:
        found = 0
        for item in items:
            picture = cv2.imdecode(np.frombuffer(item.data, np.uint8), cv2.IMREAD_COLOR)
            found += len(app.get(picture, max_num=1))
        return found

    return run


def networks_alone(road: Any, threads: int) -> Callable[[list[Item]], int]:
    """Return the two networks' calls and nothing else: as many as the road makes, of the same shapes, side by side."""
    detector, recogniser = road.finder.detector._session, road.embedder._session  # noqa: SLF001 - the same sessions
    side, batch = road.finder.plan.canvas_min_px, road.embedder._batch  # noqa: SLF001
    rng = np.random.default_rng(0)  # not zeros: what a PReLU costs depends on what it is fed
    canvas = rng.uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    crops = rng.uniform(-1, 1, (batch, 3, *road.embedder.crop_size_px[::-1])).astype(np.float32)
    ask_one, ask_other = ({s.get_inputs()[0].name: blob} for s, blob in ((detector, canvas), (recogniser, crops)))

    def run(items: list[Item]) -> int:
        with ThreadPoolExecutor(threads) as pool:
            calls = [pool.submit(detector.run, None, ask_one) for _ in items]
            calls += [pool.submit(recogniser.run, None, ask_other) for _ in range(-(-len(items) // batch))]
            for call in calls:
                call.result()
        return len(items)

    return run


def bare_networks(options: FaceOptions, threads: int) -> dict[str, float]:
    """Return milliseconds a call of each network alone, with all threads on one call: the floor of any loop."""
    from scanner.sessions import choose_device, open_session, read_model

    device = choose_device("cpu")
    times = {}
    for name, path, shape in (
        ("detector_640_ms", options.detector, (1, 3, 640, 640)),
        ("recogniser_ms", str(options.embedder).removeprefix("onnx:"), (1, 3, 112, 112)),
    ):
        model = read_model(Path(str(path)))
        session = open_session(model.data, device, threads=threads, what=name)
        feed = {session.get_inputs()[0].name: np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)}
        session.run(None, feed)
        started = time.perf_counter()
        for _ in range(NETWORK_REPEATS):
            session.run(None, feed)
        times[name] = round((time.perf_counter() - started) / NETWORK_REPEATS * 1000, 2)
    return times


def measure(args: argparse.Namespace, pack: Path) -> dict[str, Any]:
    """Let the three sides take turns; return images a second and ratios."""
    items = [e for e in islice(open_source(str(args.images)).entries(), args.count) if isinstance(e, Item)]
    options = FaceOptions(embedder=f"onnx:{args.recogniser}", detector=str(args.detector), workers=args.threads)
    road = open_road(options).road
    assert isinstance(road.finder, DetectedFaces)
    at_640 = replace(road, finder=replace(road.finder, plan=LookPlan(640, 640)))
    sides: dict[str, Callable[[list[Item]], int]] = {
        "the two networks alone": networks_alone(road, args.threads),
        "insightface loop": loop_of(pack, args.threads),
        "ours": lambda some: sum(shard.counts.faces for shard in embed_source(Held(some), road)),
        "ours, every picture at 640": lambda some: sum(
            shard.counts.faces for shard in embed_source(Held(some), at_640)
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    faces: dict[str, int] = {}
    for run in sides.values():
        run(items[:16])
    for number in range(args.rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            faces[name] = run(items)
            seconds[name].append(time.perf_counter() - started)
            print(f"round {number + 1} {name}: {len(items) / seconds[name][-1]:.1f} images/s", file=sys.stderr)
    base = np.array(seconds["insightface loop"])
    return {
        "images": len(items),
        "sides": {
            name: {
                "images_per_s": round(len(items) / float(np.median(times)), 2),
                "times_loop": round(float(np.median(base / np.array(times))), 2),
                "of_networks": round(
                    float(np.median(np.array(seconds["the two networks alone"]) / np.array(times))), 3
                ),
                "faces": faces[name],
                "seconds": [round(t, 2) for t in times],
            }
            for name, times in seconds.items()
        },
        "networks_alone": bare_networks(options, args.threads),
    }


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    machine, alone = report["machine"], report["networks_alone"]
    rows = [
        f"| {name} | {side['images_per_s']:.1f} | {side['times_loop']:.2f} | {100 * side['of_networks']:.0f} % | {side['faces']} |"
        for name, side in report["sides"].items()
    ]
    limit = 1000 / (alone["detector_640_ms"] + alone["recogniser_ms"])
    return "\n".join(
        [
            "# Images to embeddings",
            "",
            f"{report['images']} pictures, {report['threads']} threads, {report['rounds']} rounds in turns; "
            f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_1min']} at the start.",
            f"The two networks alone take {alone['detector_640_ms']} ms (640x640) and {alone['recogniser_ms']} ms a call, "
            f"so a loop that runs one after the other cannot pass {limit:.1f} images/s.",
            "",
            "| | images/s | x loop | of the networks' own rate | faces |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Run the benchmark and write its two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="source of face pictures")
    parser.add_argument("--detector", type=Path, required=True, help="SCRFD file")
    parser.add_argument("--recogniser", type=Path, required=True, help="ArcFace-style file")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as name:
        pack = Path(name)
        for file in (args.detector, args.recogniser):
            shutil.copy(file, pack)
        report = {"machine": machine, "threads": args.threads, "rounds": args.rounds, **measure(args, pack)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench_embed.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    page = to_markdown(report)
    (args.out / "bench_embed.md").write_text(page)
    print(page, file=sys.stderr)
    print(json.dumps({name: side["times_loop"] for name, side in report["sides"].items()}))


if __name__ == "__main__":
    main()
