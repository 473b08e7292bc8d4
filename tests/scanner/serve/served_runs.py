"""A run with a null, made by hand: many matches with ties, flags, references without identity, and awkward names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from run_folder import crop, evidence, match, reject, weighed, write_run

from scanner.artefacts import JOINT, PHOTOS, stamped, table_of, write_tables

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "a-token-that-is-long-enough"
LEVEL, PEOPLE, MATCHES = 0.05, 40, 400
AWKWARD = "o'Neil\"<script>alert(1)</script>%_ ÿ"
FLAGS = ([], ["near_copy"], ["hub"], ["same_bytes", "near_copy"], [])


def name_of(person: int) -> str:
    return AWKWARD if person == 7 else f"person-{person:02d}"


def q_of(person: int) -> float:
    return round(min(1.0, 0.002 * person * person + 0.001), 6)


def rows_of(seed: int = 0, *, shift: float = 0.0) -> list[dict[str, Any]]:
    """Return matches: scores on a coarse grid, so that many are equal."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(MATCHES):
        person, query = int(rng.integers(PEOPLE)), int(rng.integers(60))
        score = float(np.float32(0.43 + 0.01 * int(rng.integers(50)) + shift))
        row = match(
            query, 3 * person + int(rng.integers(3)), score, identity=name_of(person), index=("celeba", "ffhq")[person % 2],
            rank=n % 5 + 1, flags=FLAGS[int(rng.integers(len(FLAGS)))], p_value=q_of(person) / 10, q_value=q_of(person),
            query_uri=f"model-{query % 3}/{query}.png",
        )  # fmt: skip
        if n % 11 == 0:
            row |= {"identity": None, "p_value": None, "q_value": None}
        rows.append(row)
    return rows


def write_weighed(folder: Path, *, state: str = "named", seed: int = 0, joint: bool = True, **more: Any) -> Path:
    """Write a run with a null whose verdict is `state`."""
    rows = rows_of(seed)
    people = [weighed(name_of(p), q_of(p), 0.9 - 0.01 * p, index=("celeba", "ffhq")[p % 2]) for p in range(PEOPLE)]
    crops = [crop("query", rows[n]["query_id"], 40 + n) for n in range(3)]
    crops += [crop("reference", rows[0]["reference_id"], 200, index=rows[0]["index"])]
    indexes = [
        {
            "name": name, "rows": 60, "fingerprint": "f" * 16, "manifest_sha256": "0123456789abcdef" * 4, "engine": "exact",
            "engine_reason": "few rows", "canaries": {"planted": 8, "found": 8},
        }
        for name in ("celeba", "ffhq")
    ]  # fmt: skip
    write_run(
        folder, rows, scores=[0.5] * 60, rejects=[reject("bad.png"), reject("empty.png", "empty_file")], crops=crops,
        identities=people, evidence=evidence(state), indexes=indexes, with_crops=True, **more,
    )  # fmt: skip
    _write_photos(folder)
    (folder / "evidence.json").write_text(json.dumps(_evidence(state)))
    if joint:
        _write_joint(folder)
    return folder


def _write_photos(folder: Path) -> None:
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(0.4, 0.05, 500), rng.normal(0.45, 0.08, 80)]).astype(np.float32)
    n = len(scores)
    columns = {
        "side": ["null"] * 500 + ["candidate"] * 80, "index": ["strangers"] * 500 + ["celeba"] * 80,
        "reference_id": list(range(n)), "reference_uri": [f"p/{i}" for i in range(n)], "item_id": [""] * n,
        "identity": [f"n{i}" for i in range(n)], "best_score": scores, "best_query_id": [""] * n, "scores": [[]] * n,
        "centrality": [0.0] * n, "flags": [[]] * n,
    }  # fmt: skip
    write_tables(folder / "photos.parquet", stamped(PHOTOS, "photos"), [table_of(PHOTOS, columns)])


def _write_joint(folder: Path) -> None:
    columns: dict[str, Any] = {
        "identity": [name_of(p) for p in range(PEOPLE)], "photos": [1] * PEOPLE,
        **{name: [[0.1, 0.2]] * PEOPLE for name in ("best_score", "p_value", "q_value")},
        **{name: [0.01] * PEOPLE for name in ("statistic", "p_conformal", "p_joint", "q_joint", "q_by")},
        "agreement": [p % 3 for p in range(PEOPLE)],
    }  # fmt: skip
    write_tables(folder / "joint.parquet", stamped(JOINT, "joint"), [table_of(JOINT, columns)])
    embedders = [{"embedder": name, "counted": True} for name in ("one", "two")]
    (folder / "joint.json").write_text(json.dumps({"embedders": embedders}))


def _evidence(state: str) -> dict[str, Any]:
    named = sum(q_of(p) <= LEVEL for p in range(PEOPLE)) if state == "named" else 0
    return {
        "format": "identity-leak-evidence", "format_version": 1, "verdict": {"state": state, "sentence": f"It is {state}."},
        "identities": {
            "level": LEVEL, "below_level": named, "below_level_by": 0, "below_level_conformal": 0, "identities": PEOPLE,
            "null_identities": 500, "p_floor": 0.002,
        },
        "searches": {"searches": 60, "below_level": 3},
        "population": {"share": 0.5, "share_interval": [0.4, 0.6], "p_value": 0.5, "leaking": 0.0, "leaking_interval": [-0.1, 0.1]},
        "clusters": {"clusters": 60}, "rates": {"fpir": {"value": 0.01, "low": 0.0, "high": 0.02, "extrapolated": False}},
        "guards": [
            {"name": "null_fits", "fired": state == "inconclusive", "blocks": True, "says": "A classifier was asked."},
            {"name": "hubs", "fired": True, "blocks": False, "says": "Some photos are close to everything."},
        ],
        "power": {
            "rates": [0.01, 0.1, 1.0], "detected": [{"value": v, "low": v, "high": v} for v in (0.1, 0.5, 1.0)],
            "named": [0.1, 0.4, 0.9], "smallest": 0.5,
        },
    }  # fmt: skip


@contextmanager
def serving(*words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run the command, and lend it with what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scanner", "serve", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip
    assert process.stdout is not None
    patience = threading.Timer(600, process.kill)
    patience.start()
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()
        patience.cancel()
