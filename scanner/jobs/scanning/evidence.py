"""The evidence of a run: tables and statement after the search, hashes at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes.atomic import write_json
from indexes.sealed import open_file
from scanner import artefacts
from scanner.decision import Threshold
from scanner.jobs.embedding.intake import Intake
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.comparisons import Comparisons
from scanner.jobs.scanning.evidence_tables import Scanned, write_evidence_tables
from scanner.jobs.scanning.join import JoinParts, blocks
from scanner.jobs.scanning.policy import policy_sha256
from scanner.jobs.scanning.statement import Statement, state
from scanner.jobs.versions import code_sha256, versions
from scanner.progress import Progress
from scanner.search import Gallery

EVIDENCE_FORMAT, EVIDENCE_VERSION = "identity-leak-evidence", 1
HASHED = ("photos", "samples", "queries", "matches", "identities", "rejects")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is said of a run, and what the two-sample tests saw."""

    statement: Statement
    fits: dict[str, Any]


def weigh(
    out: Path,
    intake: Intake,
    joined: JoinParts,
    galleries: Sequence[Gallery],
    nulls: Sequence[Gallery],
    threshold: Threshold,
    *,
    policy: Mapping[str, Any],
    matched: Mapping[str, Any] | None,
    comparisons: Comparisons,
    progress: Progress,
) -> Evidence:
    """Write `photos.parquet` and `samples.parquet` and work out what they say.

    `nulls` come from `open_nulls`, which has checked that this can be done.
    """
    fits = write_evidence_tables(
        out, _scanned(intake, joined), galleries, nulls, threshold=threshold, fingerprint=intake.fingerprint,
        seed=int(policy["seed"]), comparisons=comparisons, progress=progress,
    )  # fmt: skip
    fits["null_match"] = None if matched is None else dict(matched)
    return Evidence(state(out, policy, fits), fits)


def _scanned(intake: Intake, joined: JoinParts) -> Scanned:
    """Return all scanned faces, each with its best reference over all galleries."""
    ids: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    best: list[tuple[NDArray[Any], ...]] = []
    for number, table in enumerate(blocks(intake)):
        hits = joined.read(number)
        query, gallery, reference, score = (
            hits[name].to_numpy() for name in ("query_row", "gallery", "reference_id", "score")
        )
        order = np.lexsort((reference, gallery, -score, query))
        first = order[np.searchsorted(query[order], np.arange(table.num_rows))]
        ids += table["id"].to_pylist()
        vectors.append(vectors_of(table))
        best.append((score[first], gallery[first], reference[first]))
    score, gallery, reference = (np.concatenate(column) for column in zip(*best, strict=True))
    return Scanned(tuple(ids), np.concatenate(vectors), score, gallery, reference)


def query_columns(statement: Statement, start: int, rows: int) -> dict[str, Any]:
    """Return the columns of `queries.parquet` that come with a null, for the faces from `start` on."""
    searches, paired = statement.searches, statement.paired
    columns: dict[str, NDArray[Any]] = {
        "cluster": statement.cluster,
        "null_score": statement.null_score,
        "p_value": searches.p_value,
        "p_conformal": searches.p_conformal,
        "p_paired": paired.p_paired,
        "q_value": searches.q_value,
        "q_paired": paired.q_paired,
    }
    return {name: np.asarray(values)[start : start + rows] for name, values in columns.items()}


def with_values(matches: pa.Table, statement: Statement) -> pa.Table:
    """Fill `p_value` and `q_value` of matches from their identities."""
    values = statement.by_name()
    keys = zip(matches["index"].to_pylist(), matches["identity"].to_pylist(), strict=True)
    found = [values.get((index, identity), (None, None)) for index, identity in keys]
    for number, name in enumerate(("p_value", "q_value")):
        place = matches.column_names.index(name)
        column = pa.array([pair[number] for pair in found], pa.float64())
        matches = matches.set_column(place, matches.schema.field(place), column)
    return matches


def identities_table(folder: Path, statement: Statement) -> pa.Table:
    """Return the rows of `identities.parquet`, the most unusual identity first."""
    found = statement.identities
    order = np.lexsort((np.arange(len(found.p_value)), -found.statistic, found.p_value))
    names = [statement.names[i] for i in order.tolist()]
    clusters, hubs = _clusters(folder), _hub_names(folder)
    columns: dict[str, Any] = {
        "index": [index for index, _ in names],
        "identity": [identity for _, identity in names],
        "best_score": found.statistic[order],
        "photos": found.photos[order].astype(np.int32),
        "p_conformal": found.p_conformal[order],
        "p_value": found.p_value[order],
        "q_value": found.q_bh[order],
        "q_by": found.q_by[order],
        "q_conformal": found.q_conformal[order],
        "p_low": found.p_low[order],
        "p_high": found.p_high[order],
        "clusters": [len(clusters.get(name, ())) for name in names],
        "flags": [["hub"] if name in hubs else [] for name in names],
    }
    return artefacts.table_of(artefacts.IDENTITIES, columns)


def _clusters(folder: Path) -> dict[tuple[str, str], set[int]]:
    """Return for each identity the clusters of scanned faces that match it."""
    samples = artefacts.read_table(folder / "samples.parquet", "samples", columns=["query_id", "cluster"])
    of = dict(zip(samples["query_id"].to_pylist(), samples["cluster"].to_pylist(), strict=True))
    found: dict[tuple[str, str], set[int]] = {}
    columns = ["query_id", "index", "identity"]
    for table in artefacts.iter_tables(folder / "matches.parquet", "matches", rows_max=1 << 16, columns=columns):
        for query, index, identity in zip(*(table[name].to_pylist() for name in columns), strict=True):
            found.setdefault((index, identity), set()).add(of[query])
    return found


def hub_photos(folder: Path) -> frozenset[tuple[str, int]]:
    """Return (index, reference id) of candidate photos that are close to everything."""
    photos = artefacts.read_table(
        folder / "photos.parquet", "photos", columns=["side", "index", "reference_id", "flags"]
    )
    rows = zip(*(photos[name].to_pylist() for name in ("side", "index", "reference_id", "flags")), strict=True)
    return frozenset((index, reference) for side, index, reference, flags in rows if flags and side == "candidate")


def _hub_names(folder: Path) -> set[tuple[str, str]]:
    """Return the identities that have a photo which is close to everything."""
    photos = artefacts.read_table(folder / "photos.parquet", "photos", columns=["side", "index", "identity", "flags"])
    rows = zip(*(photos[name].to_pylist() for name in ("side", "index", "identity", "flags")), strict=True)
    return {(index, identity) for side, index, identity, flags in rows if flags and side == "candidate"}


def finish(out: Path, evidence: Evidence, policy: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    """Write `identities.parquet` and `evidence.json`; return the short account for `run.json`."""
    schema = artefacts.stamped(artefacts.IDENTITIES, "identities", fingerprint=fingerprint)
    artefacts.write_tables(out / "identities.parquet", schema, [identities_table(out, evidence.statement)])
    document = {
        "format": EVIDENCE_FORMAT,
        "format_version": EVIDENCE_VERSION,
        "policy_sha256": policy_sha256(policy),
        "inputs": {name: policy[name] for name in ("queries", "indexes", "nulls", "fingerprint")},
        "code": {"sha256": code_sha256(), "versions": versions()},
        **evidence.statement.document,
        "files": {f"{name}.parquet": file_sha256(out / f"{name}.parquet") for name in HASHED},
    }
    write_json(out / "evidence.json", document)
    statement = evidence.statement.document
    return {
        "nulls": policy["nulls"],
        **statement["identities"],
        "null_fit": statement["fits"]["null_fit"],
        "verdict": statement["verdict"],
    }


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, sealed or not."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
