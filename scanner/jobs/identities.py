"""Candidates against a null: the road from query vectors to one p-value an identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner import artefacts
from scanner.errors import CalibrationError
from scanner.evidence.identities import IdentityEvidence, weigh_identities
from scanner.jobs.intake import Intake
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress
from scanner.search import Gallery, best_over_queries

LEVEL = 0.05
"""False discovery rate at which identities are named in the report."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Every candidate identity and what is said of it; `names` are (index, identity), parallel to `found`."""

    names: tuple[tuple[str, str], ...]
    found: IdentityEvidence

    def by_name(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return (p_value, q_value) of each identity."""
        pairs = zip(self.found.p_value.tolist(), self.found.q_bh.tolist(), strict=True)
        return dict(zip(self.names, pairs, strict=True))


def weigh(
    intake: Intake, galleries: Sequence[Gallery], nulls: Sequence[Gallery], *, seed: int, progress: Progress
) -> Evidence:
    """Compare each candidate identity's best score over all queries with those of null identities.

    All query vectors are in memory: 4 x dim bytes each.

    Raises:
        CalibrationError: candidates or null have no identities, share some, or the null has too few.
    """
    queries = np.concatenate([vectors_of(table) for table in intake.faces()])
    total = sum(gallery.index.rows for gallery in (*galleries, *nulls))
    progress.stage("evidence", total=total, unit="references")
    names, scores, codes = _photos(galleries, queries, progress)
    null_names, null_scores, null_codes = _photos(nulls, queries, progress)
    if not names or not null_names:
        which = "candidate indexes have" if not names else "null has"
        raise CalibrationError(f"The {which} no identities, so no p-value can be given. Build with --identity-from.")
    both = sorted({name for _, name in names} & {name for _, name in null_names})
    if both:
        raise CalibrationError(
            f"{len(both)} identities are in the candidates and in the null ({', '.join(both[:3])}): the null must be people "
            "known not to be in training. Name another null, or remove them from it."
        )
    return Evidence(tuple(names), weigh_identities(scores, codes, null_scores, null_codes, seed=seed))


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
        "p_floor": 1.0 / (found.null_identities + 1),
        "tail_refused": found.tail.refused,
        "tail_fit_p": found.tail.fit_p,
    }


def _photos(
    galleries: Sequence[Gallery], queries: NDArray[np.float32], progress: Progress
) -> tuple[list[tuple[str, str]], NDArray[np.float32], NDArray[np.int64]]:
    """Return the identities of some galleries, and for each labelled photo its best score and its identity's code."""
    labels: list[tuple[str, str]] = []
    scores: list[NDArray[np.float32]] = []
    for gallery in galleries:
        best = best_over_queries(gallery, queries)
        names = gallery.index.column("identity").to_pylist()
        labelled = np.array([name is not None for name in names])
        scores.append(best[labelled])
        labels += [(gallery.name, name) for name in names if name is not None]
        progress.advance(gallery.index.rows)
    known = sorted(set(labels))
    place = {label: code for code, label in enumerate(known)}
    codes = np.array([place[label] for label in labels], np.int64)
    return known, np.concatenate([np.empty(0, np.float32), *scores]), codes


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
