"""The evidence of a whole `scan --null` in memory, and the proof that it is the same.

`weigh` calls what `scanner.jobs.scanning.evidence_tables` and `scanner.jobs.scanning.statement` call, without files and indexes, so that
thousands of worlds can be weighed; `same_as_scan` runs the scan itself and insists on its numbers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from null_worlds import World
from numpy.typing import NDArray

from indexes import References, VectorBatch
from scanner import BuildOptions, ScanOptions, build, scan
from scanner.artefacts import read_table
from scanner.evidence.clusters import lead_clusters
from scanner.evidence.identities import IdentityEvidence, weigh_identities
from scanner.evidence.kind import are_apart
from scanner.evidence.population import Population, weigh_population
from scanner.evidence.searches import SearchEvidence, Winners, weigh_searches
from scanner.jobs.scanning.nulls import Matched, match_sizes

LEVEL = 0.05


@dataclass(frozen=True)
class Found:
    """What is said of a world."""

    names: NDArray[np.int64]
    identities: IdentityEvidence
    searches: SearchEvidence
    paired: SearchEvidence
    population: Population
    cluster: NDArray[np.int32]
    winner: NDArray[np.int64]
    blocks: float
    inconclusive: bool


class _Shelf:
    """As much of an index as `match_sizes` looks at."""

    def __init__(self, vectors: NDArray[np.float32], people: NDArray[np.int64]) -> None:
        self.dim = vectors.shape[1]
        self._people = pa.array([label(person) for person in people.tolist()])
        self._references = References.from_memory(np.arange(len(vectors)), VectorBatch(vectors))

    def column(self, name: str) -> pa.Array:
        return {"identity": self._people}[name]

    def references(self) -> References:
        return self._references


def label(person: int) -> str:
    """Return a person's name; names are in order as numbers are."""
    return f"{person:05d}"


def nearest(left: NDArray[np.float32], right: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return each left row's best score among the right ones, and the row that has it."""
    scores = (left.astype(np.float64) @ right.T.astype(np.float64)).astype(np.float32)
    return scores.max(1), scores.argmax(1)


def weigh(world: World, seed: int, *, guarded: bool = True) -> Found:
    """Weigh a world as `scan --null` does; `guarded` also asks whether its two sides are pictures of one kind."""
    best = [nearest(vectors, world.samples)[0] for vectors in world.vectors]
    names, codes = np.unique(world.people[0], return_inverse=True)
    null_codes = np.unique(world.people[1], return_inverse=True)[1]
    cluster = lead_clusters(world.samples, radius=world.radius)
    matched = _matched(world, seed)
    score, winner = zip(*(_best_of(side, world.samples) for side in matched), strict=True)
    usual = world.samples @ np.concatenate([side.vectors for side in matched]).mean(0, dtype=np.float64)
    over_all = nearest(world.samples, world.vectors[0])[0]
    blocks = max(1.0, len(world.vectors[0]) / len(matched[0].identity))
    people = len(set(matched[0].identity))
    return Found(
        names=names,
        identities=weigh_identities(best[0], codes, best[1], null_codes, seed=seed),
        searches=weigh_searches(over_all, score[1], cluster, blocks=blocks, seed=seed),
        paired=weigh_searches(score[0], score[1], cluster, seed=seed, winners=Winners(*winner, usual)),
        population=weigh_population(
            score[0], winner[0], score[1], winner[1], cluster, candidates=people, nulls=people, seed=seed
        ),
        cluster=cluster,
        winner=winner[0],
        blocks=blocks,
        inconclusive=guarded and _differ(world, seed),
    )


def _matched(world: World, seed: int) -> tuple[Matched, Matched]:
    """Return equally many photos of equally many people on both sides."""
    shelves = [
        [SimpleNamespace(name=name, index=_Shelf(vectors, people))]
        for name, vectors, people in zip(("candidates", "null"), world.vectors, world.people, strict=True)
    ]
    return match_sizes(*shelves, seed=seed)  # type: ignore[arg-type]


def _best_of(side: Matched, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return each sample's best score, and the number of the person who has it."""
    score, row = nearest(samples, side.vectors)
    return score, np.array([int(name) for _, name in side.identity])[row]


def _differ(world: World, seed: int) -> bool:
    """Return whether the two-sample guard calls the run inconclusive, on one photo a person."""
    left, right = (
        vectors[np.sort(np.unique(people, return_index=True)[1])]
        for vectors, people in zip(world.vectors, world.people, strict=True)
    )
    rng = [np.random.default_rng(seed) for _ in range(2)]
    left, right = (side[np.sort(r.permutation(len(side)))] for side, r in zip((left, right), rng, strict=True))
    return are_apart(left, right, seed=seed).differ


def state_of(found: Found) -> str:
    """Return the state of the verdict."""
    if found.inconclusive:
        return "inconclusive"
    if (found.identities.q_bh <= LEVEL).any():
        return "named"
    return "undecided" if found.identities.fewest_nameable(LEVEL) > 1 else "none"


def same_as_scan(world: World, seed: int) -> dict[str, float]:
    """Run the whole `scan` on files of a world, and insist on the numbers of the short cut; return how far they are apart."""
    found = weigh(world, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "q.parquet", world.samples, None)
        for role, vectors, people in zip(("candidates", "null"), world.vectors, world.people, strict=True):
            _write(folder / f"{role}.parquet", vectors, people)
            build(folder / role, str(folder / f"{role}.parquet"), options=BuildOptions(embedded_by="drawn"))
        options = ScanOptions(threshold=world.radius, null=(str(folder / "null"),), seed=seed, embedded_by="drawn")
        scan(str(folder / "q.parquet"), against=folder / "candidates", out=folder / "run", options=options)
        identities = read_table(folder / "run" / "identities.parquet", "identities").sort_by("identity")
        queries = read_table(folder / "run" / "queries.parquet", "queries").sort_by("query_id")
        document = json.loads((folder / "run" / "evidence.json").read_text())
    short = {
        "p_value": found.identities.p_value, "p_conformal": found.identities.p_conformal, "q_value": found.identities.q_bh,
        "q_by": found.identities.q_by, "q_conformal": found.identities.q_conformal,
    }  # fmt: skip
    apart = {f"identities.{name}": _apart(identities[name], values) for name, values in short.items()}
    for name, values in (("p_value", found.searches.p_value), ("p_conformal", found.searches.p_conformal),
                         ("q_value", found.searches.q_value), ("p_paired", found.paired.p_paired),
                         ("q_paired", found.paired.q_paired), ("cluster", found.cluster)):  # fmt: skip
        apart[f"queries.{name}"] = _apart(queries[name], values)
    apart["blocks"] = abs(document["searches"]["blocks"] - found.blocks)
    ours = {name: getattr(found.population, name) for name in ("won", "lost", "winners", "p_value", "share")}
    apart["population"] = max(abs(document["population"][name] - value) for name, value in ours.items())
    if max(apart.values()) > 1e-6 or document["verdict"]["state"] != state_of(found):
        sys.exit(f"The short cut is not the scan: {apart}, {document['verdict']['state']} against {state_of(found)}")
    return apart


def _apart(column: Any, values: NDArray[np.floating]) -> float:
    return float(np.abs(column.to_numpy() - values).max())


def _write(path: Path, vectors: NDArray[np.float32], people: NDArray[np.int64] | None) -> None:
    flat = pa.array(vectors.reshape(-1), pa.float32())
    columns = {
        "id": [f"{row:06d}" for row in range(len(vectors))],
        "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    if people is not None:
        columns["identity"] = [label(person) for person in people.tolist()]
    pq.write_table(pa.table(columns), path)
