"""The nightly benchmark runs the scanner itself: what it reports is what a plain product finds, by every engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

# A benchmark imports what lies beside it, as a script does; a profile of round numbers comes from the jobs' tests.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "scanner" / "jobs"))

import bench_nightly
from bench_search import embed_drawn
from machine_profile import profile_of

from scanner.jobs.measuring.profile import default_path, write_profile
from scanner.jobs.options import FaceOptions, open_road
from scanner.world.draw import face_pixels

PEOPLE, ROWS, COUNT, THRESHOLD = 64, 200, 9, 0.6


def test_a_night_finds_the_pairs_of_a_plain_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    road = open_road(FaceOptions(embedder="drawn", faces="aligned")).road
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # the benchmark sets it anew; this puts it back
    monkeypatch.setattr(
        bench_nightly,
        "measure_machine",
        lambda *_: write_profile(default_path(), profile_of(road.embedder.fingerprint)),
    )
    asked = {
        "--people": PEOPLE,
        "--rows": ROWS,
        "--count": COUNT,
        "--threshold": THRESHOLD,
        "--out": tmp_path,
        "--work": tmp_path,
    }
    monkeypatch.setattr(sys, "argv", ["bench_nightly.py", *(str(word) for pair in asked.items() for word in pair)])

    bench_nightly.main()

    report = json.loads((tmp_path / "bench_nightly.json").read_text())
    persons = [place // 2 if place % 2 else PEOPLE + place // 2 for place in range(COUNT)]
    crops = [face_pixels(bench_nightly.WORLD, person, 2 + place) for place, person in enumerate(persons)]
    known = np.ascontiguousarray(embed_drawn(PEOPLE)[0][::2])
    references = np.concatenate([batch.vectors for batch, _ in bench_nightly.blocks(known, ROWS, 0)])
    pairs = int((road.embedder.embed(np.stack(crops)) @ references.T >= THRESHOLD).sum())
    assert pairs > 0
    assert sorted(report["results"]) == ["compressed", "exact"]
    for engine, run in report["results"].items():
        stages = {stage["name"]: stage["items"] for stage in run["stages"]}
        assert (run["images"], run["faces"], run["matches"]) == (COUNT, COUNT, pairs), engine
        assert stages == {"set-up": 0, "faces": COUNT, "search": COUNT, "results": COUNT}
        assert 0 < run["own_memory_mib"] <= run["peak_rss_mib"]
        assert 0 < report["limits"][engine] < run["seconds"]
        assert sum(stage["actual_s"] for stage in run["stages"]) < run["seconds"]


def test_an_index_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--rows", str(10**14), "--people", "2", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_nightly.py", *words])
    args = bench_nightly.parse_arguments()
    opened = open_road(FaceOptions(embedder="drawn", faces="aligned"))

    with pytest.raises(SystemExit, match=r"The index needs about \d+ GiB and .* has \d+\. Ask for fewer --rows, or"):
        bench_nightly.build(args, tmp_path / "references", opened, np.eye(2, 128, dtype=np.float32))
