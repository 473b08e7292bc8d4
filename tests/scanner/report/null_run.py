"""What a run with a null has beside the tables of `run_folder`: identities, photos, the evidence; by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scanner.artefacts import IDENTITIES, JOINT, PHOTOS, samples_schema, stamped, table_of, write_tables


def identity(number: int, q_value: float, **more: Any) -> dict[str, Any]:
    return {
        "index": "celeba", "identity": f"person-{number}", "best_score": 0.9 - q_value, "photos": 2, "p_conformal": q_value,
        "p_value": q_value / 10, "q_value": q_value, "q_by": q_value, "q_conformal": q_value, "p_low": 0.0, "p_high": 1.0,
        "clusters": 1, "flags": [], **more,
    }  # fmt: skip


def evidence(state: str = "named", *, level: float = 0.05, below_level: int = 1) -> dict[str, Any]:
    return {
        "format": "identity-leak-evidence", "format_version": 1,
        "verdict": {"state": state, "sentence": f"The verdict is {state}."},
        "identities": {
            "identities": 10, "level": level, "below_level": below_level, "below_level_by": 0, "below_level_conformal": 0,
            "null_identities": 100, "p_floor": 1 / 101,
        },
        "searches": {"searches": 3, "below_level": 0}, "clusters": {"clusters": 3},
        "population": {
            "share": 0.75, "share_interval": [0.5, 0.9], "p_value": 0.01, "leaking": 0.5, "leaking_interval": [0.0, 0.8],
        },
        "rates": {"fpir": {"value": 0.02, "low": 0.01, "high": 0.03}, "false_pairs_expected": 4.0},
        "power": {"smallest": 0.125},
        "guards": [{"name": "null_fits", "fired": False}, {"name": "hubs", "fired": True}],
    }  # fmt: skip


def photo(number: int, side: str) -> dict[str, Any]:
    return {
        "side": side, "index": "celeba", "reference_id": number, "reference_uri": f"celeba/{number}.jpg",
        "item_id": f"{number:032x}", "identity": f"person-{number}", "best_score": 0.5, "best_query_id": "q",
        "scores": [0.5, 0.25], "centrality": 0.1, "mated_score": None, "flags": [],
    }  # fmt: skip


def write_rows(path: Path, schema: Any, rows: list[dict[str, Any]]) -> None:
    columns = {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}
    write_tables(path, stamped(schema, path.stem), [table_of(schema, columns)])


def add_null(folder: Path, identities: list[dict[str, Any]], document: dict[str, Any] | None = None) -> Path:
    """Make a run of `run_folder.write_run` one with a null."""
    write_rows(folder / "identities.parquet", IDENTITIES, identities)
    write_rows(folder / "photos.parquet", PHOTOS, [photo(1, "candidate"), photo(2, "null")])
    sample = {
        "query_id": "q", "cluster": 0, "best_score": 0.5, "candidate_score": 0.5, "candidate_identity": "person-1",
        "null_score": 0.25, "null_identity": "nobody", "usual": 0.1, "null_identities": 0, "null_pairs": 0,
        "embedding": [1.0, 0.0],
    }  # fmt: skip
    write_rows(folder / "samples.parquet", samples_schema(2), [sample])
    (folder / "evidence.json").write_text(json.dumps(document or evidence()), "utf-8")
    return folder


def add_joint(folder: Path) -> Path:
    """Add what several embedders say together."""
    row = {
        "identity": "person-1", "photos": 2, "best_score": [0.5, 0.75], "p_value": [0.1, 0.2], "q_value": [0.2, 0.4],
        "statistic": 1.0, "p_conformal": 0.1, "p_joint": 0.1, "q_joint": 0.2, "q_by": 0.3, "agreement": 2,
    }  # fmt: skip
    write_rows(folder / "joint.parquet", JOINT, [row])
    return folder
