"""The nightly job that is killed at every step."""

from __future__ import annotations

import json
from pathlib import Path

from scanner.nights.config import JobConfig


def night_config(state: Path) -> JobConfig:
    document = {
        "job": {"folder": str(state)},
        "embedder": {"spec": "drawn", "faces": "aligned", "workers": 2},
        "candidates": [{"name": "people", "sources": ["night/people"], "identity_from": "folder"}],
        "null": [{"name": "strangers", "index": "null.idx"}],
        "queries": [{"name": "gen", "sources": ["night/gen"]}],
        "scan": {"threshold": 0.5, "with_crops": True},
    }
    return JobConfig.model_validate_json(json.dumps(document))
