"""A killed job that is resumed leaves the bytes of one that was not killed, wherever it died.

Every seventh step on the disk is tried; `CRASH_STRIDE=1` tries them all.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, crop, photos_of, png, write_people
from night_job import night_config
from small_gen import write_generator

from scanner.images import encode_png
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.nights.night import run_night

DRIVER = Path(__file__).parent / "crash_driver.py"
STRIDE = int(os.environ.get("CRASH_STRIDE", "7"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People, an index of them, and generated pictures; with a picture twice and a broken one in several shards."""
    folder = tmp_path_factory.mktemp("crash-sources")
    people = write_people(folder / "people", photos_of(range(5), range(2)))
    (people / "person-000" / "again.png").write_bytes(png(4, 1))
    (people / "person-001" / "broken.png").write_bytes(b"nothing")
    generated = write_people(folder / "generated", photos_of([2, 3, 20, 21, 22, 23, 24], [2]))
    (generated / "same.png").write_bytes(png(20, 2))
    build(folder / "index", str(people), faces=FACES, sources=BY_FOLDER)
    keep = BuildOptions(with_crops=True)
    for name, numbers in (("many", range(10)), ("null", range(30, 130))):
        faces = write_people(folder / name, photos_of(numbers, [0]))
        build(folder / f"{name}.idx", str(faces), faces=FACES, sources=BY_FOLDER, options=keep)
    (folder / "small").mkdir()
    for number in range(6):
        small = cv2.resize(crop(number, 3), (40, 40), interpolation=cv2.INTER_AREA)
        (folder / "small" / f"{number}.png").write_bytes(encode_png(np.asarray(small, np.uint8)))
    write_generator(folder / "generator")
    write_nights(folder)
    return folder


def write_nights(folder: Path) -> None:
    """Write a job after its first night, and what changed since: pictures that came, went, broke and came twice."""
    people = write_people(folder / "night" / "people", photos_of(range(22), range(2)))
    generated = write_people(folder / "night" / "gen", photos_of([2, 3, 40, 41, 42], [5]))
    run_night(night_config(folder / "state"), folder, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    write_people(people, photos_of([23, 24, 25], range(2)))
    write_people(generated, photos_of([4, 24, 43, 44], [5]))
    (generated / "broken.png").write_bytes(b"nothing")
    (generated / "again.png").write_bytes(png(43, 5))
    (generated / "person-003" / "5.png").unlink()
    (people / "person-002" / "1.png").unlink()


@pytest.mark.parametrize(
    ("job", "offset"),
    [
        ("embed", 1),
        ("build", 2),
        ("replace", 5),
        ("scan", 3),
        ("add", 4),
        ("match", 6),
        ("invert", 0),
        ("generate", 0),
        ("dedupe", 1),
        ("night", 3),
    ],
)
def test_a_killed_job_resumed_equals_one_that_was_not_killed(
    job: str, offset: int, sources: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(DRIVER), job, str(sources), str(tmp_path), str(STRIDE), str(offset % STRIDE)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    check(command, environment)


@pytest.mark.parametrize(("job", "offset"), [("scan", 4), ("add", 2), ("invert", 6)])
def test_so_does_one_that_encrypts(job: str, offset: int, sources: Path, tmp_path: Path) -> None:
    """What is compared is what is inside the sealed files."""
    stride = 2 * STRIDE
    command = [sys.executable, str(DRIVER), job, str(sources), str(tmp_path), str(stride), str(offset % stride)]
    key = base64.b64encode(bytes(range(32))).decode()
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "SCANNER_KEY": key}

    outcome = check(command, environment, least=3)

    assert outcome["sealed"] > 0


def check(command: list[str], environment: dict[str, str], *, least: int = 5) -> dict[str, Any]:
    stride, offset = int(command[-2]), int(command[-1])
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["differences"] == [], done.stderr[-3000:]
    assert len(outcome["tried"]) == len(range(offset, outcome["steps"], stride))
    assert len(outcome["tried"]) >= least
    return dict(outcome)
