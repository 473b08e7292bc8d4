"""How many images a second come out of a generator: bare, as a source, and as files?  And what do the bytes cost?

    python benchmarks/bench_generate.py --real ../shared/real

Bare is the network alone, its output left as it is; the source (`generated:`) adds drawing the latents, rounding and PNG;
`scanner generate` adds tars on disk, hashes and fsync.  All three run at the same size of inner batch, in turns, in one
process; figures are medians over rounds, ratios of the same round.  The block that the scanner uses is 64.
"""

import argparse
import importlib
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import describe_machine
from PIL import Image

from scanner.generators import Generator, sample
from scanner.generators.description import open_generator
from scanner.jobs.generating.generate import generate
from scanner.sources import open_source

GENERATORS = {"vae-celeba-decoder": 10, "gan36": 256}
FORMATS = ("pt2", "ts.pt", "onnx")
BATCHES = (1, 16, 64, 256)
LEVELS = (0, 1, 3, 6)
SEED = 7


def describe(real: Path, folder: Path, name: str, suffix: str) -> Path:
    """Write a GEN.toml for one file."""
    path = folder / f"{name}.{suffix}.toml"
    weights = (real / "models" / f"{name}.{suffix}").resolve()
    path.write_text(f'[generator]\nweights = "{weights}"\n[latent]\nsize = {GENERATORS[name]}\n')
    return path


def rate(work: Callable[[], int]) -> float:
    """Return what `work` counts, a second."""
    started = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - started)


def bare(generator: Generator, batch: int, count: int) -> int:
    """Run the network on `count` latents, nothing else."""
    latents = torch.from_numpy(generator.law.draw(SEED, 0, batch).values)
    with torch.inference_mode():
        for _ in range(count // batch):
            generator.images(latents)
    return count // batch * batch


def as_source(path: Path, count: int) -> int:
    """Read every image of the source; opening it and trying the generator out counts, as it does in a scan."""
    return sum(1 for _ in open_source(f"generated:{path}?n={count}&seed={SEED}").entries())


def as_files(path: Path, count: int, folder: Path) -> int:
    """Write every image."""
    return generate(path, folder / "out", count=count, seed=SEED, force=(folder / "out").exists()).images


def rates(path: Path, folder: Path, *, rounds: int, count: int) -> list[dict[str, Any]]:
    """Measure the three ways at every batch."""
    sampling = importlib.import_module("scanner.generators.sample")
    generator = open_generator(path, device="cpu")
    rows = []
    block = sampling.BLOCK_IMAGES
    for batch in BATCHES:
        sampling.BLOCK_IMAGES = batch
        found: dict[str, list[float]] = {"bare": [], "source": [], "files": []}
        for number in range(rounds + 1):
            one = {
                "bare": rate(lambda: bare(generator, batch, count)),  # noqa: B023 - called at once
                "source": rate(lambda: as_source(path, count)),
                "files": rate(lambda: as_files(path, count, folder)),
            }
            if number:  # the first round warms up
                for way, value in one.items():
                    found[way].append(value)
        rows.append(
            {
                "batch": batch,
                **{f"{way}_images_per_s": round(statistics.median(values), 1) for way, values in found.items()},
                "source_over_bare": round(statistics.median(np.divide(found["source"], found["bare"]).tolist()), 3),
                "files_over_bare": round(statistics.median(np.divide(found["files"], found["bare"]).tolist()), 3),
            }
        )
        print(path.name, rows[-1], flush=True)
    sampling.BLOCK_IMAGES = block
    return rows


def png_cost(generator: Generator, *, rounds: int, count: int) -> dict[str, Any]:
    """Measure what encoding costs at several levels against sampling (latents, network, rounding), milliseconds an image."""
    sampled: list[float] = []
    encoded: dict[int, list[float]] = {level: [] for level in LEVELS}
    sizes: dict[int, float] = {}
    for _ in range(rounds):
        started = time.perf_counter()
        images = np.concatenate([run for _, run in sample(generator, seed=SEED, first=0, count=count)])
        sampled.append((time.perf_counter() - started) / count * 1000)
        for level in LEVELS:
            started, total = time.perf_counter(), 0
            for pixels in images:
                out = io.BytesIO()
                Image.fromarray(pixels).save(out, "PNG", compress_level=level)
                total += out.tell()
            encoded[level].append((time.perf_counter() - started) / count * 1000)
            sizes[level] = total / count
    return {
        "sample_ms": round(statistics.median(sampled), 3),
        "levels": [
            {
                "level": level,
                "ms": round(statistics.median(encoded[level]), 3),
                "share_of_time": round(
                    statistics.median([e / (e + s) for e, s in zip(encoded[level], sampled, strict=True)]), 3
                ),
                "bytes": round(sizes[level]),
            }
            for level in LEVELS
        ],
    }


def agreement(real: Path, folder: Path, name: str, count: int) -> list[dict[str, Any]]:
    """Compare every format with onnxruntime: largest difference before rounding, and of the bytes."""
    session = onnxruntime.InferenceSession(str(real / "models" / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    rows = []
    for suffix in FORMATS:
        started = time.perf_counter()
        generator = open_generator(describe(real, folder, name, suffix), device="cpu")
        opened_s = time.perf_counter() - started
        values = generator.law.draw(SEED, 0, count).values
        (expected,) = session.run(None, {session.get_inputs()[0].name: values})
        found = generator.images(torch.from_numpy(values), clip=False).numpy()
        images = np.concatenate([run for _, run in sample(generator, seed=SEED, first=0, count=count)])
        wanted = np.rint(np.clip(expected, 0, 1).transpose(0, 2, 3, 1) * 255).astype(int)
        rows.append(
            {
                "format": suffix,
                "opened_s": round(opened_s, 2),
                "largest_difference": float(np.abs(found - expected).max()),
                "largest_byte_difference": int(np.abs(images.astype(int) - wanted).max()),
                "bytes_that_differ": int((images != wanted).sum()),
                "bytes": int(images.size),
            }
        )
    return rows


def page(document: dict[str, Any]) -> str:
    """Return the results for people."""
    where = document["machine"]
    lines = [
        "# Generators as a source",
        "",
        (
            f"{where['cpu']}, {document['threads']} thread(s), load {where['load_1min']} at the start; torch "
            f"{where['torch']}, onnxruntime {where['onnxruntime']}. {document['count']} images a round, medians of "
            f"{document['rounds']} rounds."
        ),
        "",
        "| generator | inner batch | bare images/s | as a source | as files | source / bare | files / bare |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in document["generators"].items():
        lines += [
            f"| {name} | {row['batch']} | {row['bare_images_per_s']} | {row['source_images_per_s']} | "
            f"{row['files_images_per_s']} | {row['source_over_bare']} | {row['files_over_bare']} |"
            for row in one["rates"]
        ]
    lines += ["", "PNG against sampling (latents, network, rounding):", ""]
    lines += ["| generator | sampling ms | level | PNG ms | share of the time | bytes |", "|---|---|---|---|---|---|"]
    for name, one in document["generators"].items():
        lines += [
            f"| {name} | {one['png']['sample_ms']} | {row['level']} | {row['ms']} | {row['share_of_time']} | {row['bytes']} |"
            for row in one["png"]["levels"]
        ]
    lines += ["", "Every format against onnxruntime on the .onnx file:", ""]
    lines += ["| generator | format | opened in s | largest difference (0..1) | bytes that differ, of | by at most |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, one in document["generators"].items():
        lines += [
            f"| {name} | {row['format']} | {row['opened_s']} | {row['largest_difference']:.1e} | {row['bytes_that_differ']}, "
            f"{row['bytes']} | {row['largest_byte_difference']} |"
            for row in one["agreement"]
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=512, help="images a round")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "bench_generate")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    document: dict[str, Any] = {
        "machine": {**describe_machine(), "torch": torch.__version__},
        "threads": given.threads,
        "rounds": given.rounds,
        "count": given.count,
        "generators": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in GENERATORS:
            path = describe(given.real, folder, name, "pt2")
            document["generators"][name] = {
                "rates": rates(path, folder, rounds=given.rounds, count=given.count),
                "png": png_cost(open_generator(path, device="cpu"), rounds=given.rounds, count=given.count),
                "agreement": agreement(given.real, folder, name, given.count),
            }
    given.out.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n")
    given.out.with_suffix(".md").write_text(page(document))
    print(json.dumps({"out": str(given.out)}))


if __name__ == "__main__":
    main()
