"""A killed audit that is resumed leaves the bytes of one that was not killed; every `STRIDE`-th step is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from audit_world import unit
from drawn_people import opened, photos_of, vector, write_tar

from scanner import artefacts

DRIVER = Path(__file__).parent / "audit_crash_driver.py"
STRIDE = int(os.environ.get("CRASH_STRIDE", "11"))


def write_own(path: Path, vectors: np.ndarray, names: list[str]) -> None:
    n, dim = vectors.shape
    schema = artefacts.stamped(artefacts.embeddings_schema(dim), "embeddings", fingerprint=opened().fingerprint)
    ids = [f"{path.stem}{row}" for row in range(n)]
    columns = {
        "id": ids, "item_id": ids, "uri": ids, "identity": names, "face": [0] * n,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), dim),
    }  # fmt: skip
    artefacts.write_tables(path, schema, [artefacts.table_of(schema, columns)])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit-sources")
    rng = np.random.default_rng(0)
    dim = len(vector(0, 0))
    for name, people in (("members", 20), ("others", 100)):
        vectors = unit(rng.normal(size=(people, dim)))
        if name == "members":
            vectors[:2] = vector(2, 0), vector(3, 0)
        write_own(folder / f"{name}.parquet", vectors, [f"{name}{person}" for person in range(people)])
    write_tar(folder / "samples.tar", photos_of(range(2, 12), [1]))
    (folder / "audit.toml").write_text(
        """
[embedder]
spec = "drawn"
faces = "aligned"
[people]
members = "members.parquet"
non_members = "others.parquet"
[[generator]]
name = "g"
samples = "samples.tar"
[attack]
k = 2
folds = 2
"""
    )
    return folder


def test_a_killed_audit_resumed_equals_one_that_was_not_killed(sources: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(DRIVER), "audit", str(sources), str(tmp_path), str(STRIDE), str(3 % STRIDE)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(DRIVER.parent.parent / "jobs")  # where crash_driver.py lies

    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["differences"] == [], done.stderr[-3000:]
    assert len(outcome["tried"]) == len(range(3 % STRIDE, outcome["steps"], STRIDE))
    assert len(outcome["tried"]) >= 3
