"""Candidates against a null: the road from query vectors to one p-value an identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner import artefacts
from scanner.errors import CalibrationError
from scanner.evidence.guards import FOLDS, TwoSample, two_sample
from scanner.evidence.identities import IdentityEvidence, check_null_size, weigh_identities
from scanner.jobs.intake import Intake
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress
from scanner.search import Gallery, best_over_queries, check_fingerprint, open_galleries

LEVEL = 0.05
"""False discovery rate at which identities are named in the report."""
COMPARED_MAX = 5000
"""Identities of each side that the two-sample test looks at."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Every candidate identity and what is said of it; `names` are (index, identity), parallel to `found`.

    `fit` says whether candidates and null are pictures of one kind, as far as a classifier can tell.
    """

    names: tuple[tuple[str, str], ...]
    found: IdentityEvidence
    fit: TwoSample

    def by_name(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return (p_value, q_value) of each identity."""
        pairs = zip(self.found.p_value.tolist(), self.found.q_bh.tolist(), strict=True)
        return dict(zip(self.names, pairs, strict=True))


def open_nulls(paths: Sequence[str], galleries: Sequence[Gallery], *, memory_bytes: int, engine: str) -> list[Gallery]:
    """Open the null indexes, and say before any long work why they could not be the null of these candidates.

    Raises:
        EmbedderMismatch: made by another embedder.
        CalibrationError: candidates or null have no or too few identities, or share some.
    """
    nulls = open_galleries([Path(path) for path in paths], memory_bytes=memory_bytes, engine=engine)
    if not nulls:
        return []
    for null in nulls:
        check_fingerprint(null.index, galleries[0].index.fingerprint, what="the candidates' embedder")
    names, null_names = _names(galleries), _names(nulls)
    if not names or not null_names:
        which = "candidate indexes have" if not names else "null has"
        raise CalibrationError(f"The {which} no identities, so no p-value can be given. Build with --identity-from.")
    both = sorted(names & null_names)
    if both:
        raise CalibrationError(
            f"{len(both)} identities are in the candidates and in the null ({', '.join(both[:3])}): the null must be people "
            "known not to be in training. Name another null, or remove them from it."
        )
    if len(names) < 2 * FOLDS:
        raise CalibrationError(
            f"The candidates have {len(names)} identities; at least {2 * FOLDS} are needed to see whether they are pictures "
            "like those of the null. Add people of the same data set whose membership is in question."
        )
    check_null_size(len(null_names))
    return nulls


def _names(galleries: Sequence[Gallery]) -> set[str]:
    return {name for gallery in galleries for name in gallery.index.column("identity").to_pylist() if name is not None}


def weigh(
    intake: Intake, galleries: Sequence[Gallery], nulls: Sequence[Gallery], *, seed: int, progress: Progress
) -> Evidence:
    """Compare each candidate identity's best score over all queries with those of null identities.

    All query vectors are in memory: 4 x dim bytes each.

    `nulls` come from `open_nulls`, which has checked that this can be done.
    """
    queries = np.concatenate([vectors_of(table) for table in intake.faces()])
    total = sum(gallery.index.rows for gallery in (*galleries, *nulls))
    progress.stage("evidence", total=total, unit="references")
    names, scores, codes, faces = _photos(galleries, queries, seed, progress)
    _, null_scores, null_codes, null_faces = _photos(nulls, queries, seed, progress)
    found = weigh_identities(scores, codes, null_scores, null_codes, seed=seed)
    return Evidence(tuple(names), found, two_sample(faces, null_faces, seed=seed))


def write_identities(path: Path, evidence: Evidence, fingerprint: str) -> None:
    """Write `identities.parquet`, the most unusual identity first."""
    found = evidence.found
    order = np.lexsort((np.arange(len(found.p_value)), -found.statistic, found.p_value))
    columns: dict[str, Any] = {
        "index": [evidence.names[i][0] for i in order],
        "identity": [evidence.names[i][1] for i in order],
        "best_score": found.statistic[order],
        "photos": found.photos[order].astype(np.int32),
        "p_conformal": found.p_conformal[order],
        "p_value": found.p_value[order],
        "q_value": found.q_bh[order],
        "q_by": found.q_by[order],
        "q_conformal": found.q_conformal[order],
    }
    schema = artefacts.stamped(artefacts.IDENTITIES, "identities", fingerprint=fingerprint)
    artefacts.write_tables(path, schema, [artefacts.table_of(schema, columns)])


def account(evidence: Evidence, nulls: Sequence[Gallery]) -> dict[str, Any]:
    """Return what stands about the evidence in `run.json`."""
    found = evidence.found
    return {
        "nulls": [{"name": n.name, "rows": n.index.rows, "manifest_sha256": n.index.manifest_sha256} for n in nulls],
        "identities": len(evidence.names),
        "level": LEVEL,
        "below_level": int((found.q_bh <= LEVEL).sum()),
        "below_level_by": int((found.q_by <= LEVEL).sum()),
        "below_level_conformal": int((found.q_conformal <= LEVEL).sum()),
        "null_identities": found.null_identities,
        "fewest_nameable": fewest_nameable(len(evidence.names), found),
        "p_floor": 1.0 / (found.null_identities + 1),
        "null_fit": {**asdict(evidence.fit), "differ": evidence.fit.differ},
        "tail_refused": found.tail.refused,
        "tail_fit_p": found.tail.fit_p,
    }


def fewest_nameable(candidates: int, found: IdentityEvidence) -> int:
    """Return how many identities must be extreme together before one can be named.

    Without a tail no p-value is below the floor, and Benjamini-Hochberg asks LEVEL x k / candidates of the k smallest.
    """
    if not found.tail.refused:
        return 1
    return max(1, int(np.ceil(candidates / (LEVEL * (found.null_identities + 1)))))


def _photos(
    galleries: Sequence[Gallery], queries: NDArray[np.float32], seed: int, progress: Progress
) -> tuple[list[tuple[str, str]], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return what some galleries say.

    Returns:
        The identities; for each labelled photo its best score, and its identity's code; and the vectors of at most
        `COMPARED_MAX` identities, one each.
    """
    labels: list[tuple[str, str]] = []
    scores: list[NDArray[np.float32]] = []
    faces = [np.empty((0, queries.shape[1]), np.float32)]
    rng = np.random.default_rng(seed)
    for gallery in galleries:
        best = best_over_queries(gallery, queries)
        names = gallery.index.column("identity").to_pylist()
        labelled = np.array([name is not None for name in names])
        scores.append(best[labelled])
        labels += [(gallery.name, name) for name in names if name is not None]
        references = gallery.index.references()
        first = np.array(
            list({name: row for row, name in reversed(list(enumerate(names))) if name is not None}.values()), np.int64
        )
        faces.append(references.gather(references.live_rows()[np.sort(first)]))
        progress.advance(gallery.index.rows)
    known = sorted(set(labels))
    place = {label: code for code, label in enumerate(known)}
    codes = np.array([place[label] for label in labels], np.int64)
    people = np.concatenate(faces)
    chosen = np.sort(rng.permutation(len(people))[:COMPARED_MAX])
    return known, np.concatenate([np.empty(0, np.float32), *scores]), codes, people[chosen]


def with_values(matches: pa.Table, evidence: Evidence) -> pa.Table:
    """Fill `p_value` and `q_value` of matches from their identities."""
    values = evidence.by_name()
    keys = zip(matches["index"].to_pylist(), matches["identity"].to_pylist(), strict=True)
    found = [values.get((index, identity), (None, None)) for index, identity in keys]
    for number, name in enumerate(("p_value", "q_value")):
        place = matches.column_names.index(name)
        column = pa.array([pair[number] for pair in found], pa.float64())
        matches = matches.set_column(place, matches.schema.field(place), column)
    return matches
