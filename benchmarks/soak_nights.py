"""Two hundred simulated nights under bad luck: does the job's folder end as that of a twin that had none?

Every night pictures come, go, break, come twice, are renamed and touched.  One job is killed at a random step on the disk
(often several times a night), runs out of disk, and is started again; its twin runs through.  The clock of both jumps.  Now and then, and in
the end, the two folders are compared byte for byte; only `costs.json`, which holds times, is left out.

    python benchmarks/soak_nights.py --nights 200
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from disk_steps import DIED, run_in_child
from machine import describe_machine

import scanner.pipeline
from scanner.images import encode_png
from scanner.nights import comparing, take
from scanner.nights.config import JobConfig
from scanner.nights.night import run_night
from scanner.nights.state import State
from scanner.world.draw import face_pixels

HERE = Path(__file__).parent
WORLD_SEED = 77
NULL_PEOPLE = range(500, 620)


@dataclass(slots=True)
class Luck:
    """What happened to the unlucky job."""

    killed: int = 0
    disk_full: int = 0
    starts: int = 0
    differences: list[str] = field(default_factory=list)


class Sources:
    """Folders of pictures that change from night to night; the same seed makes the same changes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self._rng = folder, np.random.default_rng(seed)
        self._next_person, self._next_sample = 0, 0
        for number in NULL_PEOPLE:
            self._write(f"null/{number:05d}/0.png", number, 0)
        for _ in range(24):
            self._person()
        for _ in range(6):
            self._sample()

    def change(self) -> None:
        """Make the changes of one night; about one night in eight brings none."""
        rng = self._rng
        if rng.random() < 1 / 8:
            return
        for _ in range(rng.integers(0, 3)):
            self._person()
        for _ in range(rng.integers(0, 5)):
            self._sample()
        for kind, most in (("people", 2), ("gen", 2)):
            there = sorted((self.folder / kind).rglob("*.png"))
            for path in rng.permutation(len(there))[: rng.integers(0, most)]:
                self._mishap(there[path])

    def _mishap(self, path: Path) -> None:
        what = self._rng.integers(5)
        if what == 0:
            path.unlink()
        elif what == 1:
            path.write_bytes(path.read_bytes()[:100])  # cut short
        elif what == 2:
            shutil.copyfile(path, path.with_name(f"copy-of-{path.name}"))
        elif what == 3:
            path.rename(path.with_name(f"moved-{path.name}"))
        else:
            path.touch()

    def _person(self) -> None:
        for photo in range(2):
            self._write(f"people/{self._next_person:05d}/{photo}.png", self._next_person, photo)
        self._next_person += 1

    def _sample(self) -> None:
        leaked = self._rng.random() < 0.3
        number = int(self._rng.integers(self._next_person)) if leaked else 2000 + self._next_sample
        self._write(f"gen/{self._next_sample:05d}.png", number, 9)
        self._next_sample += 1

    def _write(self, name: str, number: int, photo: int) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(face_pixels(WORLD_SEED, number, photo)))


def config_of(state: Path) -> JobConfig:
    """Return the job; its paths are relative to the sources."""
    document = {
        "job": {"folder": str(state), "gone_max": 1.0},
        "embedder": {"spec": "drawn", "faces": "aligned", "workers": 1},
        "candidates": [{"name": "people", "sources": ["people"], "identity_from": "folder"}],
        "null": [{"name": "strangers", "sources": ["null"], "identity_from": "folder"}],
        "queries": [{"name": "gen", "sources": ["gen"]}],
        "scan": {"threshold": 0.5},
    }
    return JobConfig.model_validate_json(json.dumps(document))


def start(
    state: Path, sources: Path, now: datetime, *, die_at: int | None = None, bytes_max: int | None = None
) -> tuple[int, int]:
    """Run a night in a child; return its exit status and how many steps on the disk it took."""

    def night() -> None:
        if bytes_max is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
        run_night(config_of(state), sources, clock=lambda: now)

    return run_in_child(night, die_at=die_at, tell=bytes_max is None)


def unlucky_night(
    state: Path, sources: Path, now: datetime, number: int, steps: int, luck: Luck, rng: np.random.Generator
) -> None:
    """Run a night that is killed, or finds the disk full, until it gets through."""
    for _ in range(rng.integers(0, 5)):
        luck.starts += 1
        if rng.random() < 1 / 4:
            luck.disk_full += start(state, sources, now, bytes_max=int(rng.integers(1, 40)) << 10)[0] == 1
        else:
            luck.killed += start(state, sources, now, die_at=int(rng.integers(0, steps + 1)))[0] == DIED
        if State(state).finished()[-1:] == [number]:
            State(state).clear()  # it had ended when it died: the next start is another night
            return
    luck.starts += 1
    status, _ = start(state, sources, now)
    if status:
        luck.differences.append(f"night {number}: exit status {status}")


def files_of(state: Path) -> dict[str, bytes]:
    """Return the files of a job's folder, but locks and times."""
    return {
        str(path.relative_to(state)): path.read_bytes()
        for path in sorted(state.rglob("*"))
        if path.is_file() and path.name not in ("costs.json", "lock")
    }


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of files that differ."""
    left, right = files_of(one), files_of(other)
    return sorted(name for name in {*left, *right} if left.get(name) != right.get(name))


def soak(folder: Path, nights: int, seed: int, check_every: int) -> tuple[Luck, dict[str, Any]]:
    """Run both jobs; return what happened and what was reached."""
    scanner.pipeline.SHARD_ENTRIES = take.SHARD_ENTRIES = 8
    comparing.BLOCK_ROWS = 8
    rng = np.random.default_rng([seed, 1])
    sources = Sources(folder / "sources", seed)
    unlucky, lucky = folder / "unlucky", folder / "lucky"
    luck, now = Luck(), datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(1, nights + 1):
        now += timedelta(days=float(rng.choice([1, 1, 1, 1, 0.04, 30, -10])))
        status, steps = start(lucky, sources.folder, now)
        if status:
            raise SystemExit(f"The lucky twin failed in night {number}.")
        unlucky_night(unlucky, sources.folder, now, number, steps, luck, rng)
        if number % check_every == 0 or number == nights:
            luck.differences += [f"night {number}: {name}" for name in differences(unlucky, lucky)]
            sys.stderr.write(
                f"night {number}: {luck.killed} kills, {luck.disk_full} full disks, {len(luck.differences)} differences\n"
            )
        sources.change()
    files = files_of(lucky)
    account = json.loads(files[f"nights/{nights:06d}/night.json"])
    return luck, {
        "files": len(files),
        "bytes": sum(map(len, files.values())),
        "queries": account["runs"]["gen"]["results"]["queries"],
        "unchanged_nights": sum(
            json.loads(files[f"nights/{n:06d}/night.json"])["runs"]["gen"]["unchanged"] for n in range(1, nights + 1)
        ),
    }


def main() -> None:
    """Soak, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check-every", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    began, cpu = time.monotonic(), os.times()
    with tempfile.TemporaryDirectory() as scratch:
        luck, reached = soak(Path(scratch), args.nights, args.seed, args.check_every)
    spent = os.times()
    document = {
        "nights": args.nights,
        "seed": args.seed,
        "starts": luck.starts,
        "killed": luck.killed,
        "disk_full": luck.disk_full,
        "differences": luck.differences,
        **reached,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_s": round(sum(spent[:4]) - sum(cpu[:4]), 1),
        "machine": describe_machine(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "soak_nights.json").write_text(json.dumps(document, indent=1) + "\n")
    (args.out / "soak_nights.md").write_text(page(document))
    sys.stderr.write(page(document))
    print(json.dumps({name: document[name] for name in ("nights", "starts", "killed", "disk_full", "differences")}))
    raise SystemExit(bool(luck.differences))


def page(found: dict[str, Any]) -> str:
    """Return the result for people."""
    return f"""# Nights under bad luck

{found["nights"]} nights, {found["starts"]} starts of the unlucky job: {found["killed"]} killed at a random step on the disk, {found["disk_full"]} out of disk.
{found["unchanged_nights"]} nights brought nothing new. In the end {found["files"]} files ({found["bytes"] / 1e6:.1f} MB), {found["queries"]} faces scanned.

Files that differ from the twin's: **{len(found["differences"])}**.

Took {found["seconds"]:.0f} s ({found["cpu_s"]:.0f} s of processor time), on {found["machine"]["cores"]} cores of {found["machine"]["cpu"]}, load {found["machine"]["load_1min"]} at the end.
"""


if __name__ == "__main__":
    main()
