"""A run folder as values that a page can show."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from indexes.sealed import is_sealed
from scanner import artefacts
from scanner.errors import ArtefactError
from scanner.images import decode_rgb

GROUPS_MAX = 120
PAIRS_MAX = 6
IDENTITIES_MAX = 10
NAMED_MAX = 200
"""Named identities on the page; others only until `IDENTITIES_MAX`."""
THUMBNAIL_PX = 96
FLAG_TEXT = {
    "same_bytes": "the same file", "near_copy": "near-copy of the photo", "hub": "hub", "low_quality": "low quality",
}  # fmt: skip
Rows = list[dict[str, Any]]
CropKey = tuple[str, str | int]
"""Of a query ("query", its id), of a reference (its index, its id)."""
RUN_FORMAT, RUN_VERSION = "identity-leak-run", 1


@dataclass(frozen=True, slots=True)
class Pair:
    """One match: both sides, the score, and the crops as data URLs where they were kept."""

    query_uri: str
    query_face: int
    reference_uri: str
    score: float
    rank: int
    flags: tuple[str, ...]
    query_crop: str | None
    reference_crop: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """All matches of one identity (or of one reference without identity), best first."""

    index: str
    identity: str | None
    reference_id: int
    matches: int
    queries: int
    best_score: float
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    `groups` holds the `GROUPS_MAX` best groups of `groups_in_all`; `reject_reasons` are (reason, level, count,
    example uri); `identities` are the most unusual rows of identities.parquet, none without a null; `named` are (index,
    identity) of those that the verdict names.
    """

    folder: Path
    summary: dict[str, Any]
    best_scores: NDArray[np.float32]
    groups: tuple[Group, ...]
    groups_in_all: int
    reject_reasons: tuple[tuple[str, str, int, str], ...]
    identities: tuple[dict[str, Any], ...]
    named: frozenset[tuple[str, str]]


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        ArtefactError: it is none, is not finished, or a newer version wrote it.
    """
    summary = read_summary(folder)
    queries = artefacts.read_table(folder / "queries.parquet", "queries", columns=["best_score"])
    matches = artefacts.read_table(folder / "matches.parquet", "matches")
    rows = _group_rows(matches)
    crops = _crops(folder, rows[:GROUPS_MAX])
    groups = tuple(_group(group, crops) for group in rows[:GROUPS_MAX])
    evidence = summary.get("evidence") or {}
    identities = _identities(folder, evidence.get("level"))
    is_named = (evidence.get("verdict") or {}).get("state") == "named"
    named = {(row["index"], row["identity"]) for row in identities if is_named and row["q_value"] <= evidence["level"]}
    return Run(
        folder, summary, queries["best_score"].to_numpy(), groups, len(rows), _reasons(folder), identities,
        frozenset(named),
    )  # fmt: skip


def read_summary(folder: Path) -> dict[str, Any]:
    """Read a run's `run.json`; errors as of `read_run`."""
    summary = artefacts.read_json(folder / "run.json")
    if summary.get("format") != RUN_FORMAT:
        raise ArtefactError(
            f"{folder} is no run folder: its run.json is of another kind. Name a folder made by `scanner scan`."
        )
    if not artefacts.is_readable(summary, RUN_FORMAT, RUN_VERSION):
        raise ArtefactError(
            f"{folder} was written by a newer scanner (run format {summary['format_version']!r}). Install it."
        )
    return summary


def _group_rows(matches: pa.Table) -> list[Rows]:
    """Return the matches of each identity, best first, the closest identity first."""
    found: dict[tuple[str, str | int], Rows] = {}
    for row in matches.to_pylist():
        key = (row["index"], row["identity"] if row["identity"] is not None else row["reference_id"])
        found.setdefault(key, []).append(row)
    for rows in found.values():
        rows.sort(key=lambda r: (-r["score"], r["query_id"], r["reference_id"]))
    return sorted(found.values(), key=lambda rows: (-rows[0]["score"], rows[0]["index"], rows[0]["reference_id"]))


def _group(rows: Rows, crops: dict[CropKey, str]) -> Group:
    pairs = tuple(
        Pair(
            row["query_uri"], row["query_face"], row["reference_uri"], row["score"], row["rank"],
            tuple(FLAG_TEXT.get(flag, flag) for flag in row["flags"]),
            crops.get(("query", row["query_id"])), crops.get((row["index"], row["reference_id"])),
        )
        for row in rows[:PAIRS_MAX]
    )  # fmt: skip
    best = rows[0]
    queries = len({row["query_id"] for row in rows})
    return Group(best["index"], best["identity"], best["reference_id"], len(rows), queries, best["score"], pairs)


def _crops(folder: Path, groups: Sequence[Rows]) -> dict[CropKey, str]:
    """Return thumbnails of the crops that the page shows."""
    shown: set[CropKey] = set()
    for rows in groups:
        shown |= {("query", row["query_id"]) for row in rows[:PAIRS_MAX]}
        shown |= {(row["index"], row["reference_id"]) for row in rows[:PAIRS_MAX]}
    return read_thumbnails(folder, shown)


def read_thumbnails(folder: Path, shown: set[CropKey]) -> dict[CropKey, str]:
    """Return thumbnails, as data URLs, of those of the crops that the run kept; none of sealed ones: pages are not sealed."""
    path = folder / "crops.parquet"
    if not path.exists() or is_sealed(path):
        return {}
    found: dict[CropKey, str] = {}
    for table in artefacts.iter_tables(path, "crops", rows_max=1024):
        for row in table.to_pylist():
            key: CropKey = ("query", row["query_id"]) if row["side"] == "query" else (row["index"], row["reference_id"])
            if key in shown:
                found[key] = thumbnail(row["crop_png"])
    return found


def thumbnail(png: bytes) -> str:
    """Return a small JPEG of a crop as a data URL."""
    picture = Image.fromarray(decode_rgb(png))
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _identities(folder: Path, level: float | None) -> tuple[dict[str, Any], ...]:
    """Return the most unusual identities: all below the level, as far as `NAMED_MAX`, and at least `IDENTITIES_MAX`."""
    path = folder / "identities.parquet"
    if not path.exists() or level is None:
        return ()
    rows = artefacts.read_table(path, "identities").slice(0, NAMED_MAX).to_pylist()
    below = sum(row["q_value"] <= level for row in rows)
    return tuple(rows[: max(below, IDENTITIES_MAX)])


def _reasons(folder: Path) -> tuple[tuple[str, str, int, str], ...]:
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str | int], str] = {}
    for table in artefacts.iter_tables(folder / "rejects.parquet", "rejects", rows_max=65_536):
        for row in table.select(["reason", "level", "uri"]).to_pylist():
            key = (row["reason"], row["level"])
            counts[key] += 1
            examples.setdefault(key, row["uri"])
    ordered = sorted(counts, key=lambda k: (-counts[k], k))
    return tuple((reason, level, counts[reason, level], examples[reason, level]) for reason, level in ordered)
