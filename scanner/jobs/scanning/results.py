"""Hits → the tables of a run: decided, ranked, with both sides' names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner import artefacts
from scanner.decision import Threshold, Verdict
from scanner.jobs.embedding.copies import NEAR_COPY
from scanner.jobs.embedding.intake import Intake
from scanner.jobs.scanning.evidence import query_columns, with_values
from scanner.jobs.scanning.flags import SAME_BYTES, Flags, hashes_of
from scanner.jobs.scanning.join import JoinParts, blocks
from scanner.jobs.scanning.statement import Statement
from scanner.search import Gallery

_REFERENCE_COLUMNS = ["uri", "identity", "item_id"]


@dataclass(slots=True)
class Tally:
    """What a run adds up to."""

    queries: int = 0
    matches: int = 0
    matched_queries: int = 0
    same_bytes: int = 0
    near_copies: int = 0
    identities: set[tuple[str, str]] = field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as they stand in `run.json`."""
        return {
            "queries": self.queries,
            "matches": self.matches,
            "matched_queries": self.matched_queries,
            "same_bytes": self.same_bytes,
            "near_copies": self.near_copies,
            "matched_identities": len(self.identities),
        }


def write_results(
    out: Path,
    intake: Intake,
    joined: JoinParts,
    galleries: Sequence[Gallery],
    threshold: Threshold,
    *,
    statement: Statement | None = None,
    flags: Flags | None = None,
    with_crops: bool,
) -> dict[str, Any]:
    """Write queries, matches, rejects, and if wanted crops; return what they add up to.

    One block of queries is in memory at a time.
    """
    tally, seen_crops = Tally(), set[tuple[str, int]]()
    with ExitStack() as stack:

        def writer(name: str, schema: pa.Schema) -> artefacts.TableWriter:
            stamped = artefacts.stamped(schema, name, fingerprint=intake.fingerprint)
            return stack.enter_context(artefacts.TableWriter(out / f"{name}.parquet", stamped))

        queries, matches = writer("queries", artefacts.QUERIES), writer("matches", artefacts.MATCHES)
        crops = writer("crops", artefacts.CROPS) if with_crops else None
        for number, table in enumerate(blocks(intake)):
            decided = _decide(table, joined.read(number), threshold, galleries)
            tally.queries += table.num_rows
            tally.matches += len(decided.score)
            tally.matched_queries += len(np.unique(decided.query_row))
            names = [gallery.name for gallery in galleries]
            first = tally.queries - table.num_rows
            weighed = {} if statement is None else query_columns(statement, first, table.num_rows)
            queries.write(_queries_table(table, decided, names, weighed))
            references = _look_up(decided, galleries)
            identities = references["identity"].to_pylist()
            places = [names[g] for g in decided.gallery]
            tally.identities.update(
                (place, name) for place, name in zip(places, identities, strict=True) if name is not None
            )
            marks = (flags or Flags()).of(
                table.take(pa.array(decided.query_row)), references, places, decided.reference_id,
                hashes_of(galleries, decided.gallery, decided.reference_id),
            )  # fmt: skip
            found = _matches_table(table, decided, references, places, marks)
            tally.same_bytes += sum(SAME_BYTES in row for row in marks["flags"])
            tally.near_copies += sum(NEAR_COPY in row for row in marks["flags"])
            matches.write(found if statement is None else with_values(found, statement))
            if crops is not None:
                crops.write(_crops_table(table, decided, galleries, seen_crops))
    rejects_schema = artefacts.stamped(artefacts.REJECTS, "rejects")
    artefacts.write_tables(out / "rejects.parquet", rejects_schema, intake.rejects())
    return tally.as_json()


@dataclass(frozen=True, slots=True)
class _Decided:
    """Matches of one block, best first within each query; and every query's best reference.

    The first five arrays are parallel, one entry a match; the last three have one entry a query.
    """

    query_row: NDArray[np.int64]
    gallery: NDArray[np.int16]
    reference_id: NDArray[np.int64]
    score: NDArray[np.float32]
    rank: NDArray[np.int32]
    best_gallery: NDArray[np.int16]
    best_reference_id: NDArray[np.int64]
    best_score: NDArray[np.float32]


def _decide(table: pa.Table, hits: pa.Table, threshold: Threshold, galleries: Sequence[Gallery]) -> _Decided:
    query_row, gallery, reference_id, score = (
        hits[name].to_numpy() for name in ("query_row", "gallery", "reference_id", "score")
    )
    order = np.lexsort((reference_id, gallery, -score, query_row))
    query_row, gallery, reference_id, score = (a[order] for a in (query_row, gallery, reference_id, score))
    first = np.searchsorted(query_row, np.arange(table.num_rows))  # every query has a best hit in every gallery
    rank = (np.arange(len(query_row)) - first[query_row] + 1).astype(np.int32)
    passed = threshold.decide(score)
    for number, of in enumerate(galleries):
        reference_id[gallery == number] = of.stored_ids(reference_id[gallery == number])
    return _Decided(
        query_row[passed], gallery[passed], reference_id[passed], score[passed], rank[passed],
        gallery[first], reference_id[first], score[first],
    )  # fmt: skip


def _queries_table(table: pa.Table, decided: _Decided, names: Sequence[str], weighed: dict[str, Any]) -> pa.Table:
    columns: dict[str, Any] = {field.name: table[field.name] for field in artefacts.FACE_FIELDS}
    columns |= {
        "query_id": table["id"],
        "best_score": decided.best_score,
        "best_reference_id": decided.best_reference_id,
        "best_index": [names[g] for g in decided.best_gallery],
        "matches": np.bincount(decided.query_row, minlength=table.num_rows).astype(np.int32),
        **weighed,
    }
    return artefacts.table_of(artefacts.QUERIES, columns)


def _look_up(decided: _Decided, galleries: Sequence[Gallery]) -> pa.Table:
    """Return what the indexes know of each match's reference, in the order of the matches."""
    places: list[NDArray[np.int64]] = []
    tables: list[pa.Table] = []
    for number, gallery in enumerate(galleries):
        rows = np.flatnonzero(decided.gallery == number)
        places.append(rows)
        tables.append(gallery.stored.lookup(decided.reference_id[rows], columns=_REFERENCE_COLUMNS))
    back = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(tables).take(pa.array(back))


def _matches_table(
    table: pa.Table, decided: _Decided, references: pa.Table, places: Sequence[str], marks: dict[str, Any]
) -> pa.Table:
    of_query = pa.array(decided.query_row)
    n = len(decided.score)
    columns = {
        "query_id": table["id"].take(of_query),
        "query_uri": table["uri"].take(of_query),
        "query_face": table["face"].take(of_query),
        "index": list(places),
        "reference_id": decided.reference_id,
        "reference_uri": references["uri"],
        "identity": references["identity"],
        "score": decided.score,
        "rank": decided.rank,
        "verdict": [Verdict.MATCH.value] * n,
        **marks,
    }
    return artefacts.table_of(artefacts.MATCHES, columns)


def _crops_table(
    table: pa.Table, decided: _Decided, galleries: Sequence[Gallery], seen: set[tuple[str, int]]
) -> pa.Table:
    """Return every matched face's crop once: of queries and of references for which one was kept."""
    schema = artefacts.CROPS.remove(4).append(artefacts.CROP_FIELD)  # some may have none
    matched = np.unique(decided.query_row)
    chosen = table.take(pa.array(matched))
    queries = {"side": ["query"] * len(matched), "query_id": chosen["id"]}
    if "crop_png" in chosen.column_names:
        queries["crop_png"] = chosen["crop_png"]
    tables = [artefacts.table_of(schema, queries)]
    for number, gallery in enumerate(galleries):
        ids = np.unique(decided.reference_id[decided.gallery == number])
        new = np.array([i for i in ids.tolist() if (gallery.name, i) not in seen], np.int64)
        seen.update((gallery.name, i) for i in new.tolist())
        crops = gallery.stored.lookup(new, columns=["crop_png"])["crop_png"]
        n = len(new)
        columns = {"side": ["reference"] * n, "index": [gallery.name] * n, "reference_id": new, "crop_png": crops}
        tables.append(artefacts.table_of(schema, columns))
    found = pa.concat_tables(tables)
    return found.filter(found["crop_png"].is_valid()).cast(artefacts.CROPS)
