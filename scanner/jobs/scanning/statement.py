"""From the tables of a run and the policy fixed before it, to everything that is said of it.

A function of what lies in the run folder: `scan` writes its answer, `report verify` works it out again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scanner import artefacts
from scanner.evidence.clusters import cluster_bootstrap, cluster_sizes
from scanner.evidence.identities import IdentityEvidence, weigh_identities
from scanner.evidence.population import weigh_population
from scanner.evidence.power import MATED_MIN, fading_leaks
from scanner.evidence.rates import fpir
from scanner.evidence.searches import SearchEvidence, Winners, weigh_searches
from scanner.evidence.verdict import guards_of, verdict_of

_PHOTO_COLUMNS = ["side", "index", "identity", "best_score", "centrality", "mated_score", "flags"]
_SAMPLE_COLUMNS = [
    "cluster", "best_score", "candidate_score", "candidate_identity", "null_score", "null_identity", "usual",
    "null_identities", "null_pairs",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of a run.

    Attributes:
        names: (index, identity) of each candidate identity, parallel to `identities`.
        identities: p- and q-values of candidate identities.
        searches: p- and q-values of scanned faces, searched among all candidates.
        paired: the same, each face against equally many candidates and null people.
        cluster: (n,) int32 the generated identity of each scanned face.
        null_score: (n,) float32 each face's best score among equally many null photos.
        document: all of it as it stands in `evidence.json`, but for the hashes.
    """

    names: tuple[tuple[str, str], ...]
    identities: IdentityEvidence
    searches: SearchEvidence
    paired: SearchEvidence
    cluster: NDArray[np.int32]
    null_score: NDArray[np.float32]
    document: dict[str, Any]

    def by_name(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return (p_value, q_value) of each identity."""
        pairs = zip(self.identities.p_value.tolist(), self.identities.q_bh.tolist(), strict=True)
        return dict(zip(self.names, pairs, strict=True))


def state(folder: Path, policy: Mapping[str, Any], fits: Mapping[str, Any]) -> Statement:
    """Work out what is said of a run from its `photos.parquet` and `samples.parquet`.

    Args:
        folder: the run.
        policy: what was fixed before: level, seed.
        fits: what the two-sample tests saw, and the sizes compared (`evidence_tables.write_evidence_tables`).
    """
    seed, level = int(policy["seed"]), float(policy["level"])
    photos = artefacts.read_table(folder / "photos.parquet", "photos", columns=_PHOTO_COLUMNS)
    samples = artefacts.read_table(folder / "samples.parquet", "samples", columns=_SAMPLE_COLUMNS)
    sides = {side: _Side.of(photos, side) for side in ("candidate", "null")}
    found = weigh_identities(
        sides["candidate"].best, sides["candidate"].codes, sides["null"].best, sides["null"].codes, seed=seed
    )
    columns = {name: samples[name].to_numpy() for name in _SAMPLE_COLUMNS if "_identity" not in name}
    cluster = columns["cluster"]
    codes = {name: _codes(samples[f"{name}_identity"]) for name in ("candidate", "null")}
    searches, paired, blocks = _weigh_both(columns, codes, fits, seed)
    population = weigh_population(
        columns["candidate_score"], codes["candidate"], columns["null_score"], codes["null"], cluster,
        candidates=int(fits["matched_people"]), nulls=int(fits["matched_people"]), seed=seed,
    )  # fmt: skip
    document: dict[str, Any] = {
        "identities": _identities(found, level),
        "searches": _searches(searches, paired, blocks, int(fits["matched_photos"]), level)
        | {"people_below_level_paired": len(np.unique(codes["candidate"][paired.q_paired <= level]))},
        "clusters": {"samples": len(cluster), **asdict(cluster_sizes(cluster))},
        "population": asdict(population),
        "rates": _rates(columns, sides, seed),
        "power": _power(found, sides, level, seed),
        "hubs": {**fits["hubs"], "flagged": int(sides["candidate"].hub.sum())},
        "fits": dict(fits),
    }
    document["guards"] = guards_of(document)
    document["verdict"] = verdict_of(document)
    return Statement(
        sides["candidate"].names, found, searches, paired, cluster, columns["null_score"], _plain(document)
    )


def _weigh_both(
    columns: Mapping[str, NDArray[Any]], codes: Mapping[str, NDArray[np.int64]], fits: Mapping[str, Any], seed: int
) -> tuple[SearchEvidence, SearchEvidence, float]:
    """Return p-values of searches among all candidates, and the paired ones among equally many of both sides."""
    blocks = max(1.0, int(fits["candidate_references"]) / int(fits["matched_photos"]))
    null, cluster = columns["null_score"], columns["cluster"]
    searches = weigh_searches(columns["best_score"], null, cluster, blocks=blocks, seed=seed)
    winners = Winners(codes["candidate"], codes["null"], columns["usual"])
    paired = weigh_searches(columns["candidate_score"], null, cluster, seed=seed, winners=winners)
    return searches, paired, blocks


@dataclass(frozen=True, slots=True)
class _Side:
    """The photos of candidates or null; `codes` are places in `names`."""

    names: tuple[tuple[str, str], ...]
    codes: NDArray[np.int64]
    best: NDArray[np.float32]
    mated: NDArray[np.float32]
    hub: NDArray[np.bool_]

    @classmethod
    def of(cls, photos: pa.Table, side: str) -> _Side:
        table = photos.filter(pc.equal(photos["side"], side))
        labels = list(zip(table["index"].to_pylist(), table["identity"].to_pylist(), strict=True))
        names = tuple(sorted(set(labels)))
        place = {name: code for code, name in enumerate(names)}
        return cls(
            names,
            np.array([place[label] for label in labels], np.int64),
            table["best_score"].to_numpy(),
            table["mated_score"].drop_null().to_numpy(),
            np.array([bool(flags) for flags in table["flags"].to_pylist()], np.bool_),
        )


def _identities(found: IdentityEvidence, level: float) -> dict[str, Any]:
    return {
        "identities": len(found.statistic),
        "level": level,
        "below_level": int((found.q_bh <= level).sum()),
        "below_level_by": int((found.q_by <= level).sum()),
        "below_level_conformal": int((found.q_conformal <= level).sum()),
        "null_identities": found.null_identities,
        "fewest_nameable": found.fewest_nameable(level),
        "p_floor": 1.0 / (found.null_identities + 1),
        "tail_refused": found.tail.refused,
        "tail_fit_p": found.tail.fit_p,
    }


def _searches(
    found: SearchEvidence, paired: SearchEvidence, blocks: float, matched: int, level: float
) -> dict[str, Any]:
    return {
        "searches": len(found.p_value),
        "clusters": found.clusters,
        "p_floor": found.floor,
        "blocks": blocks,
        "matched_photos": matched,
        "tail_refused": found.tail.refused,
        "below_level": int((found.q_value <= level).sum()),
        "below_level_paired": int((paired.q_paired <= level).sum()),
    }


def _rates(columns: Mapping[str, NDArray[Any]], sides: Mapping[str, _Side], seed: int) -> dict[str, Any]:
    """Return how often scanned faces find somebody among people whom they cannot show, at this run's threshold."""
    gallery, size = len(sides["null"].names), len(sides["candidate"].names)
    rate = fpir(columns["null_identities"], gallery=gallery, size=size, cluster=columns["cluster"])
    pairs, share = int(columns["null_pairs"].sum()), len(sides["candidate"].best) / len(sides["null"].best)
    around = cluster_bootstrap(columns["null_pairs"], columns["cluster"], seed=seed)
    around = around if np.isfinite(around).all() else (0.0, float(len(sides["null"].best)))
    interval = [max(0.0, bound * len(columns["cluster"]) * share) for bound in around]
    if not pairs:  # none seen is not none ever: as many searches as may go wrong, each with one person's photos
        interval = [0.0, rate.high * len(columns["cluster"]) * len(sides["candidate"].best) / size]
    return {
        "gallery": size,
        "measured_on": gallery,
        "fpir": asdict(rate),
        "false_pairs_expected": pairs * share,
        "false_pairs_interval": interval,
    }


def _power(found: IdentityEvidence, sides: Mapping[str, _Side], level: float, seed: int) -> dict[str, Any] | None:
    """Return the power, modelled on the null's own people, else on the candidates'; None when both have too few photos."""
    for side in ("null", "candidate"):
        mated = sides[side].mated
        if len(mated) >= MATED_MIN:
            photos = max(1, int(np.median(found.photos)))
            power, *faded = fading_leaks(
                found.null, mated, candidates=len(found.statistic), photos=photos, level=level, seed=seed
            )
            faint = [{"attenuation": p.attenuation, "smallest": p.smallest} for p in faded]
            return {**asdict(power), "modelled_on": side, "mated": len(mated), "faded": faint}
    return None


def _codes(labels: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(np.unique(np.array(labels.to_pylist(), dtype=np.str_), return_inverse=True)[1], np.int64)


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it will be read back from JSON: lists for tuples, plain numbers."""
    plain = json.loads(json.dumps(document, default=lambda value: value.item()))
    assert isinstance(plain, dict)
    return plain
