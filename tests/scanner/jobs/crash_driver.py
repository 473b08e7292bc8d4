"""Kill a job at its n-th step on the disk, resume it, and say what differs; run by test_crash.py as a process.

    python crash_driver.py JOB SOURCES OUT STRIDE OFFSET

JOB is embed, build, replace (with `force`), scan, match (a scan with a null that is matched), invert, generate, dedupe,
night (the second one of a job) or add; SOURCES holds what it reads.  For every STRIDE-th step from OFFSET on, a forked
child dies just before that step in OUT/n; another child then runs the same job with `resume`.  The last line of
stdout is a JSON object: how many steps an uninterrupted job takes, which were tried, and every difference.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from drawn_people import BY_FOLDER, FACES, files_of
from night_job import night_config

import scanner.pipeline
from indexes import open_index
from indexes.sealed import is_sealed
from scanner.jobs.embedding import intake
from scanner.jobs.embedding.embed import embed
from scanner.jobs.generating import generate as generate_job
from scanner.jobs.indexing import dedupe as dedupe_job
from scanner.jobs.indexing.build import BuildOptions, add, build
from scanner.jobs.inverting import tools as invert_tools
from scanner.jobs.inverting.latent import invert_latent
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.scanning import join
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan
from scanner.nights import comparing, take
from scanner.nights.night import run_night
from scanner.nights.state import State

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from disk_steps import DIED, run_in_child

if sys.argv[1:2] in (["invert"], ["generate"]):  # before the fork, so that no child pays for it
    import torch._dynamo  # noqa: F401 - torch imports it itself, with the first optimiser

    import scanner.generators.description
    import scanner.inversion.encoder
    import scanner.inversion.latent
    import scanner.networks.tensors

SHARD_ENTRIES = 4


def operate(job: str, sources: Path, folder: Path, *, resume: bool) -> None:
    people, generated = str(sources / "people"), str(sources / "generated")
    if job == "embed":
        embed(people, folder / "out.parquet", faces=FACES, sources=BY_FOLDER, keep_crops=True, resume=resume)
    elif job == "build":
        options = BuildOptions(with_crops=True)
        build(folder / "out", people, faces=FACES, sources=BY_FOLDER, options=options, resume=resume)
    elif job == "replace":
        build(folder / "out", generated, faces=FACES, resume=resume, force=not resume)
    elif job == "add":
        add(folder / "index", generated, faces=FACES, sources=BY_FOLDER, resume=resume)
    elif job == "scan":
        scan(
            generated, against=sources / "index", out=folder / "out", faces=FACES,
            options=ScanOptions(threshold=0.5, with_crops=True), resume=resume,
        )  # fmt: skip

    elif job == "dedupe":
        options = ScanOptions(threshold=0.5, with_crops=True)
        dedupe_job.dedupe(sources / "many.idx", out=folder / "out", options=options, resume=resume)

    elif job == "invert":
        options = InvertOptions(
            restarts=1, steps_max=20, draws=8, slots=4, shard_images=4, encoder="train", encoder_steps=12
        )
        invert_latent(
            sources / "generator" / "sketch.toml", [generated], folder / "out", options=options, resume=resume
        )

    elif job == "generate":
        sketch = sources / "generator" / "sketch.toml"
        generate_job.generate(sketch, folder / "out", count=14, seed=2, resume=resume)

    elif job == "night":
        state = State(folder / "state")
        if resume and state.finished()[-1:] == [2]:
            state.clear()  # it had ended: the next start clears away, and is another night
        else:
            run_night(night_config(state.folder), sources, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    elif job == "match":
        null = str(sources / "null.idx")
        options = ScanOptions(threshold=0.6, null=(null,), null_match=True, with_crops=True)
        scan(
            str(sources / "small"),
            against=sources / "many.idx",
            out=folder / "out",
            faces=FACES,
            options=options,
            resume=resume,
        )


def start(job: str, sources: Path, folder: Path) -> Path:
    folder.mkdir()
    if job == "add":
        shutil.copytree(sources / "index", folder / "index")
    if job == "replace":
        shutil.copytree(sources / "index", folder / "out")
    if job == "night":
        shutil.copytree(sources / "state", folder / "state")
    return folder


def check_between(job: str, folder: Path, rows: tuple[int, int]) -> list[str]:
    """Return what is wrong with an index that was being replaced when its maker died."""
    if job != "replace" or not (folder / "out").exists():
        return []  # its place is empty for the moment between two renames
    index = open_index(folder / "out")
    return index.verify() + ([] if index.rows in rows else [f"{index.rows} rows"])


def main() -> None:
    job, sources, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    stride, offset = int(sys.argv[4]), int(sys.argv[5])
    scanner.pipeline.SHARD_ENTRIES = intake.SHARD_ENTRIES = SHARD_ENTRIES
    generate_job.SHARD_IMAGES = 5
    join.BLOCK_ROWS = comparing.BLOCK_ROWS = 6
    take.SHARD_ENTRIES = SHARD_ENTRIES
    dedupe_job.BLOCK_ROWS = 4
    invert_tools.CHECKPOINT_EVERY = 5
    whole = start(job, sources, out / "whole")
    status, steps = run_in_child(partial(operate, job, sources, whole, resume=False))
    assert status == 0
    expected = files_of(whole)
    sealed = sum(path.is_file() and is_sealed(path) for path in whole.rglob("*"))
    tried, differences = [], []
    for step in range(offset, steps, stride):
        folder = start(job, sources, out / str(step))
        killed, _ = run_in_child(partial(operate, job, sources, folder, resume=False), die_at=step)
        between = check_between(job, folder, (10, 7))
        # Before the first change there is nothing to resume: the old index is whole, and of other sources.
        untouched = job == "replace" and not (folder / ".out.work").exists() and open_index(folder / "out").rows == 10
        again, _ = run_in_child(partial(operate, job, sources, folder, resume=not untouched))
        found = files_of(folder)
        wrong = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        if killed != DIED or again != 0 or wrong or between:
            differences.append({"step": step, "killed": killed, "again": again, "wrong": wrong, "between": between})
        tried.append(step)
        shutil.rmtree(folder)
    print(json.dumps({"steps": steps, "tried": tried, "differences": differences, "sealed": sealed}))


if __name__ == "__main__":
    main()
