"""The joint statement of several embedders, worked out again from their runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scanner import artefacts
from scanner.jobs.scanning.compare import differences_of, table_differences
from scanner.jobs.scanning.joint import weigh_runs

_WITNESS = re.compile(r"witness-[0-9]{1,4}")
_FOUND = ("named_alone", "weight")
"""What `joint.json` says of each embedder that follows from the runs."""


def is_joint(folder: Path) -> bool:
    """Return whether several embedders were run."""
    return (folder / "joint.json").exists()


def witness_folders(folder: Path) -> list[Path]:
    """Return the further embedders' run folders, in order."""
    found = [path for path in folder.glob("witness-*") if _WITNESS.fullmatch(path.name)]
    # A link could lead back to the run itself, and round and round.
    return sorted((path for path in found if not path.is_symlink()), key=lambda path: int(path.name.rpartition("-")[2]))


def joint_differences(folder: Path) -> Iterator[str]:
    """Compare `joint.json` and `joint.parquet` with what the runs say."""
    recorded = artefacts.read_json(folder / "joint.json")
    given = [{k: v for k, v in one.items() if k not in _FOUND} for one in recorded["embedders"]]
    table, document = weigh_runs(folder, given, seed=int(recorded["seed"]), level=float(recorded["level"]))
    yield from differences_of("joint.json", recorded, document)
    yield from table_differences("joint.parquet", artefacts.read_table(folder / "joint.parquet", "joint"), table)
