"""Two nights of a job that show every status: for the tests of diffs, their page, the trend and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from run_folder import evidence, match, weighed, write_run


def write_nights(state: Path, **more: Any) -> tuple[Path, Path]:
    """Write two run folders: ann stays named, bob becomes named, cleo no longer is, dora is new, the unlabelled photo 30 is gone."""
    old = [match(1, 10, 0.9, identity="ann"), match(2, 11, 0.5, identity="bob"), match(2, 12, 0.8, identity="cleo"),
           match(3, 30, 0.44, identity=None)]  # fmt: skip
    new = [match(1, 10, 0.9, identity="ann"), match(9, 10, 0.95, identity="ann"), match(8, 11, 0.85, identity="bob"),
           match(2, 11, 0.5, identity="bob"), match(2, 12, 0.8, identity="cleo"), match(9, 13, 0.7, identity="dora")]  # fmt: skip
    before = [
        weighed("ann", 0.001, 0.9),
        weighed("bob", 0.4, 0.5),
        weighed("cleo", 0.04, 0.8),
        weighed("dora", 1.0, 0.2),
    ]
    now = [
        weighed("ann", 0.0005, 0.95),
        weighed("bob", 0.01, 0.85),
        weighed("cleo", 0.06, 0.8),
        weighed("dora", 0.2, 0.7),
    ]
    nights = state / "nights"
    return (
        write_run(nights / "000001" / "gen", old, identities=before, evidence=evidence("named"), **more),
        write_run(nights / "000002" / "gen", new, identities=now, evidence=evidence("named"), scores=[0.2, 0.3, 0.6, 0.95], **more),
    )  # fmt: skip
