"""A run folder as `scan --null` leaves it, written by hand: only what `scanner check` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner import artefacts

NULL_SHA = "0" * 64


def vector_column(vectors: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1])


def write_run(
    folder: Path,
    *,
    samples: NDArray[np.float32],
    null: NDArray[np.float32],
    null_identities: Sequence[str],
    null_items: Sequence[str] | None = None,
    sample_items: Sequence[str] | None = None,
    candidate_items: Sequence[str] = (),
    fingerprint: str = "declared:net",
    road: dict[str, Any] | None = None,
    state: str = "none",
    **policy: Any,
) -> Path:
    """Write a run whose null has these photos; `mated_score` is that with the next photo of the person."""
    folder.mkdir(parents=True)
    dim, count = samples.shape[1], len(samples)
    ids = [f"q{row}" for row in range(count)]

    def write(name: str, schema: pa.Schema, columns: dict[str, Any]) -> None:
        stamped = artefacts.stamped(schema, name, fingerprint=fingerprint)
        rows = len(next(iter(columns.values())))
        for field in schema:  # columns that are not read by the check
            if not field.nullable and field.name not in columns:
                columns[field.name] = pa.array([""] * rows if field.type == pa.string() else [0] * rows, field.type)
        artefacts.write_tables(folder / f"{name}.parquet", stamped, [artefacts.table_of(stamped, columns)])

    write("samples", artefacts.samples_schema(dim), {"query_id": ids, "embedding": vector_column(samples)})
    queries = {
        "query_id": ids, "item_id": list(sample_items or [""] * count), "uri": ids, "face": [0] * count
    }  # fmt: skip
    write("queries", artefacts.QUERIES, queries)
    best = np.r_[(null @ samples.T).max(1), np.zeros(len(candidate_items))].astype(np.float32)
    rows = len(best)
    sides = ["null"] * len(null) + ["candidate"] * len(candidate_items)
    write(
        "photos",
        artefacts.PHOTOS,
        {
            "side": sides, "index": sides, "reference_id": np.arange(rows), "reference_uri": [f"p{r}" for r in range(rows)],
            "item_id": [*(null_items or [""] * len(null)), *candidate_items],
            "identity": [*null_identities, *(f"c{r}" for r in range(len(candidate_items)))],
            "best_score": best, "best_query_id": ["q0"] * rows, "scores": [[float(b)] for b in best],
            "centrality": np.zeros(rows), "mated_score": [*mated(null, null_identities), *[None] * len(candidate_items)],
            "flags": [[]] * rows,
        },
    )  # fmt: skip
    described = road or {"embedder": {"name": "ready embeddings", "fingerprint": fingerprint}, "faces": None}
    documents = {
        "run": {"indexes": [{"name": "cand", "fingerprint": fingerprint}], "road": described},
        "policy": {"seed": 0, "null_match": False, "nulls": [{"name": "null", "manifest_sha256": NULL_SHA}], **policy},
        "evidence": {"verdict": {"state": state, "sentence": "Inconclusive: for a test."}},
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def mated(vectors: NDArray[np.float32], identities: Sequence[str]) -> list[float | None]:
    places: dict[str, list[int]] = {}
    for row, name in enumerate(identities):
        places.setdefault(name, []).append(row)
    found: list[float | None] = [None] * len(identities)
    for rows in places.values():
        for here, there in zip(rows, rows[1:] + rows[:1], strict=True):
            if here != there:
                found[here] = float(vectors[here] @ vectors[there])
    return found
