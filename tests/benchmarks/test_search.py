"""The search benchmark counts what a plain product counts, of all queries and of the few that slow peers get."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

# A benchmark imports what lies beside it, as a script does.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bench_search

PEOPLE, DIM = 40, 24
ASKED = {"rows": 400, "queries": 60, "few": 20, "threshold": 0.5, "seed": 3}


@pytest.fixture
def recognisers(tmp_path: Path) -> list[Path]:
    """Two photos each of some people, by two recognisers."""
    rng = np.random.default_rng(1)
    paths = [tmp_path / name for name in ("one.npy", "other.npy")]
    for path in paths:
        people = np.repeat(rng.standard_normal((PEOPLE, DIM)), 2, axis=0)
        photos = people + 0.4 * rng.standard_normal(people.shape)
        np.save(path, (photos / np.linalg.norm(photos, axis=1, keepdims=True)).astype(np.float32))
    return paths


def test_a_score_of_two_recognisers_is_the_mean_of_theirs(recognisers: list[Path]) -> None:
    one, other = (np.load(path) for path in recognisers)

    joined = bench_search.side_by_side(recognisers)

    assert joined.shape == (2 * PEOPLE, 2 * DIM)
    assert np.allclose(joined @ joined.T, (one @ one.T + other @ other.T) / 2, atol=1e-6)


def test_files_of_different_faces_are_refused(recognisers: list[Path]) -> None:
    np.save(recognisers[1], np.load(recognisers[1])[:-1])

    with pytest.raises(SystemExit, match=r"same faces in the same order; they have one\.npy 80, other\.npy 79 rows"):
        bench_search.side_by_side(recognisers)


def test_every_engine_finds_the_pairs_of_a_plain_product(
    recognisers: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labels.npy"
    np.save(labels, np.repeat(np.arange(PEOPLE), 2))
    monkeypatch.setattr(bench_search, "SLOW", ("flat",))
    words = [word for name, value in ASKED.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(
        sys, "argv",
        ["bench_search.py", "--embeddings", *map(str, recognisers), "--labels", str(labels), *words, "--rounds", "2",
         "--peers", "flat", "--out", str(tmp_path), "--work", str(tmp_path)],
    )  # fmt: skip

    bench_search.main()

    args = Namespace(drawn=None, embeddings=recognisers, labels=labels, **ASKED)
    queries, references, _ = bench_search.make_data(args)
    near = queries @ np.concatenate(list(references())).T >= ASKED["threshold"]
    report = json.loads((tmp_path / "bench_search.json").read_text())
    found = {name: (r["queries"], r["rounds"], r["pairs"], r["recall"]) for name, r in report["results"].items()}
    every, few = (int(near[::step].sum()) for step in (1, 3))
    assert found == {"exact": (60, 2, every, 1.0), "compressed": (60, 2, every, 1.0), "flat": (20, 1, few, 1.0)}
    assert few > 0
    assert (
        f"flat: one round of 20 of the queries, with {few} pairs found." in (tmp_path / "bench_search.md").read_text()
    )
