"""A small job on drawn people, and how its nights are run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from drawn_people import photos_of, png, write_people

from scanner import artefacts
from scanner.nights.config import JobConfig
from scanner.nights.night import NightResult, run_night

NULL_PEOPLE = range(300, 420)


def clock() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "job": {"folder": "state"},
        "embedder": {"spec": "drawn", "faces": "aligned", "workers": 2},
        "candidates": [{"name": "people", "sources": ["people"], "identity_from": "folder"}],
        "queries": [{"name": "gen", "sources": ["gen"]}],
        "scan": {"threshold": 0.5},
    }
    return {**base, **changes}


def job(**changes: Any) -> JobConfig:
    return JobConfig.model_validate_json(__import__("json").dumps(document(**changes)))


def with_null(folder: Path) -> dict[str, Any]:
    """Write a null beside the job; return its section."""
    if not (folder / "null").exists():
        write_people(folder / "null", photos_of(NULL_PEOPLE, [0]))
    return {"null": [{"name": "strangers", "sources": ["null"], "identity_from": "folder"}]}


def night(folder: Path, config: JobConfig | None = None, **options: Any) -> NightResult:
    return run_night(config or job(), folder, clock=clock, **options)


def put(folder: Path, name: str, number: int, photo: int) -> Path:
    """Write a picture under a name that says when it comes."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(number, photo))
    return path


def run_of(result: NightResult, name: str = "gen") -> Path:
    folder: Path = result.folder.parent / result.account["runs"][name]["run"]
    return folder


def table(run: Path, name: str) -> pa.Table:
    return artefacts.read_table(run / f"{name}.parquet", name)


def tree(folder: Path, *, without: tuple[str, ...] = ("costs.json",)) -> dict[str, bytes]:
    """Return every file below a folder with its bytes, but those that hold clocks, and times of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }
