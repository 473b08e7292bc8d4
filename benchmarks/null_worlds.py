"""Worlds whose truth is known, for the simulations of the evidence: people drawn, or real ones split by lot.

Drawn: a centre on the sphere for each person, photos around it.  Real: embeddings of `scanner embed`; identities become
candidates or null by lot, and generated faces are the scanned ones.  A planted leak is another photo of a candidate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scanner.jobs.parts import vectors_of

DIM, NOISE = 64, 0.7
"""Two photos of a drawn person score about 1 / (1 + NOISE^2) = 0.67, strangers 0 +- 1/8."""
HUB_SHARE, HUB, LEAN = 0.03, 1.0, 0.4
"""Share of people, on both sides alike, who lean towards a direction that all scanned faces lean towards too."""
SAMPLES, PER_CLUSTER = 300, 10
RADIUS = 0.5
SIZES = ((60, 120), (200, 300), (1000, 1200))


@dataclass(frozen=True)
class Setting:
    """What is drawn: sizes, photos a person ("one" or "several"), scanned faces and planted candidates."""

    candidates: int
    null: int
    photos: str
    samples: str
    leaks: int = 0

    @property
    def name(self) -> str:
        """Return it in words."""
        return f"{self.candidates}/{self.null}, {self.photos}, {self.samples}"


@dataclass(frozen=True)
class World:
    """One run's input: labelled photos of both sides, scanned faces, whose photo was planted, and which faces are that."""

    vectors: tuple[NDArray[np.float32], NDArray[np.float32]]
    people: tuple[NDArray[np.int64], NDArray[np.int64]]
    samples: NDArray[np.float32]
    planted: frozenset[int]
    is_leak: NDArray[np.bool_]
    radius: float


def unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return rows of length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


def draw(setting: Setting, run: int, seed: int) -> World:
    """Draw people, their photos and scanned faces; planted ones are another photo of a candidate."""
    rng = np.random.default_rng(
        [seed, run, setting.candidates, len(setting.samples), len(setting.photos), setting.leaks]
    )
    number = setting.candidates + setting.null
    hubs, common = setting.samples == "hubs", unit(rng.standard_normal((1, DIM)))
    centre = unit(rng.standard_normal((number, DIM)))
    if hubs:
        centre = unit(centre + HUB * common * (rng.random((number, 1)) < HUB_SHARE))
    shown = unit(rng.standard_normal((SAMPLES if setting.samples != "clustered" else SAMPLES // PER_CLUSTER, DIM)))
    shown = np.repeat(unit(shown + LEAN * common) if hubs else shown, SAMPLES // len(shown), axis=0)
    planted = rng.permutation(setting.candidates)[: setting.leaks]
    centres = np.concatenate([shown, centre[planted]])

    def photos(of: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.asarray(unit(of + NOISE * rng.standard_normal(of.shape) / np.sqrt(DIM)), np.float32)

    each = np.ones(number, np.int64) if setting.photos == "one" else np.minimum(rng.geometric(0.5, number), 8)
    people = np.repeat(np.arange(number), each)
    vectors, mine = photos(centre[people]), people < setting.candidates
    order = rng.permutation(len(centres))
    return World(
        (vectors[mine], vectors[~mine]), (people[mine], people[~mine]), photos(centres)[order],
        frozenset(planted.tolist()), order >= len(shown), RADIUS,
    )  # fmt: skip


def split(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], generated: NDArray[np.float32], setting: Setting, run: int,
    seed: int, radius: float,
) -> World:  # fmt: skip
    """Split real people by lot; one photo of each planted candidate moves among the generated faces."""
    rng = np.random.default_rng([seed, run, setting.candidates, len(setting.photos), setting.leaks])
    chosen = rng.permutation(codes.max() + 1)
    side = np.full(len(chosen), 2)
    side[chosen[: setting.candidates]] = 0
    side[chosen[setting.candidates : setting.candidates + setting.null]] = 1
    order = rng.permutation(len(codes))
    first = np.zeros(len(codes), np.bool_)
    first[order[np.unique(codes[order], return_index=True)[1]]] = True
    able = chosen[: setting.candidates][np.bincount(codes)[chosen[: setting.candidates]] > 1]
    planted = rng.permutation(able)[: setting.leaks]
    leak = first & np.isin(codes, planted)
    keep = ~leak
    if setting.photos == "one":
        left = order[~leak[order]]
        keep = np.zeros(len(codes), np.bool_)
        keep[left[np.unique(codes[left], return_index=True)[1]]] = True
    rows = [np.flatnonzero(keep & (side[codes] == which)) for which in (0, 1)]
    return World(
        (vectors[rows[0]], vectors[rows[1]]), (codes[rows[0]], codes[rows[1]]),
        np.concatenate([generated, vectors[leak]]), frozenset(planted.tolist()),
        np.arange(len(generated) + int(leak.sum())) >= len(generated), radius,
    )  # fmt: skip


def real(faces: Path, generated: Path) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return embeddings of faces, codes of their identities, and embeddings of generated faces."""
    table = pq.read_table(faces)
    codes = np.unique(np.array(table["identity"].to_pylist(), np.str_), return_inverse=True)[1].astype(np.int64)
    return vectors_of(table), codes, vectors_of(pq.read_table(generated))


def settings() -> Iterator[Setting]:
    """Yield all drawn settings without a leak."""
    for candidates, null in SIZES:
        for photos in ("one", "several"):
            for samples in ("independent", "clustered", "hubs"):
                yield Setting(candidates, null, photos, samples)
