"""Run folders made by hand: the artefacts of a run without the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scanner.artefacts import CROPS, IDENTITIES, MATCHES, QUERIES, REJECTS, stamped, table_of, write_tables
from scanner.images import encode_png

POINT = {
    "threshold": 0.43, "fmr": 9.9e-5, "fmr_interval": [8e-5, 1.2e-4], "false_matches": 99,
    "non_mated_pairs": 1_000_000, "tar": 0.9876, "tar_interval": [0.98, 0.99], "mated_pairs": 2500,
}  # fmt: skip


def match(query: int, reference: int, score: float, **more: Any) -> dict[str, Any]:
    return {
        "query_id": f"{query:032x}:0", "query_uri": f"gen/{query}.png", "query_face": 0, "index": "celeba",
        "reference_id": reference, "reference_uri": f"celeba/{reference}.jpg", "identity": f"person-{reference}",
        "score": score, "rank": 1, "verdict": "match", "flags": [], **more,
    }  # fmt: skip


def reject(uri: str, reason: str = "no_face", *, level: str = "item") -> dict[str, Any]:
    return {"uri": uri, "item_id": "", "identity": None, "level": level, "reason": reason, "detail": "d"}


def crop(side: str, key: Any, value: int, *, index: str = "celeba") -> dict[str, Any]:
    png = encode_png(np.full((112, 112, 3), value, np.uint8))
    found = {"query_id": key} if side == "query" else {"index": index, "reference_id": key}
    return {"side": side, "query_id": None, "index": None, "reference_id": None, **found, "crop_png": png}


def weighed(identity: str, q: float, score: float, *, index: str = "celeba") -> dict[str, Any]:
    """Return a row of identities.parquet."""
    p = dict.fromkeys(("p_conformal", "p_value", "q_by", "q_conformal", "p_low", "p_high"), q)
    return {
        "index": index, "identity": identity, "best_score": score, "photos": 1, "clusters": 1, "flags": [], "q_value": q, **p,
    }  # fmt: skip


def evidence(state: str, *, level: float = 0.05) -> dict[str, Any]:
    """Return what stands in run.json of a run with a null."""
    return {
        "nulls": [{"name": "strangers", "manifest_sha256": "ab" * 32}], "null_identities": 1000, "level": level,
        "verdict": {"state": state, "sentence": f"It is {state}."},
    }  # fmt: skip


def summary(matches: list[dict[str, Any]], scanned: int, **more: Any) -> dict[str, Any]:
    return {
        "format": "identity-leak-run", "format_version": 1, "queries": ["gen/"],
        "indexes": [
            {
                "name": "celeba", "rows": 202_599, "fingerprint": "f" * 16, "manifest_sha256": "0123456789abcdef" * 4,
                "engine": "exact", "engine_reason": "few rows", "canaries": {"planted": 8, "found": 8},
            }
        ],
        "road": {
            "embedder": {"name": "onnx:face.onnx", "fingerprint": "f" * 16, "input_size": [112, 112]},
            "faces": {"mode": "detect", "select": "central", "detector": "scrfd.onnx", "fingerprint": "a" * 16},
        },
        "counts": {
            "entries": scanned + 3, "items": scanned, "duplicates": 1, "rejected": 2, "faces": scanned,
            "faces_rejected": 0, "reasons": {},
        },
        "threshold": {"value": 0.43, "origin": "given", "point": None, "calibrated_on": None},
        "results": {
            "queries": scanned, "matches": len(matches), "matched_queries": len({m["query_id"] for m in matches}),
            "matched_identities": len({m["identity"] for m in matches}), "comparisons": scanned * 202_599,
            "false_matches_expected": None,
        },
        "with_crops": False, "seed": 0, "memory_bytes": 1, "versions": {"scanner": "0.1.0", "numpy": "2"}, **more,
    }  # fmt: skip


def write_run(
    folder: Path,
    matches: list[dict[str, Any]],
    *,
    scores: list[float] | None = None,
    rejects: list[dict[str, Any]] | None = None,
    crops: list[dict[str, Any]] | None = None,
    identities: list[dict[str, Any]] | None = None,
    **more: Any,
) -> Path:
    """Write a finished run of `len(scores)` queries."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = [0.2, 0.3, 0.6] if scores is None else scores
    queries = [
        {
            "query_id": f"{n:032x}:0", "item_id": f"{n:032x}", "uri": f"gen/{n}.png", "face": 0, "best_score": score,
            "best_reference_id": 0, "best_index": "celeba", "matches": 0,
        }
        for n, score in enumerate(scores)
    ]  # fmt: skip
    kinds = {"queries": (QUERIES, queries), "matches": (MATCHES, matches), "rejects": (REJECTS, rejects or [])}
    if crops is not None:
        kinds["crops"] = (CROPS, crops)
    if identities is not None:
        kinds["identities"] = (IDENTITIES, identities)
    for name, (schema, rows) in kinds.items():
        columns = {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}
        write_tables(folder / f"{name}.parquet", stamped(schema, name), [table_of(schema, columns)])
    document = summary(matches, len(scores), **more)
    (folder / "run.json").write_text(json.dumps(document), "utf-8")
    return folder
