"""`crash_driver.py` for audits: people are ready embeddings, samples are drawn pictures in several shards.

python audit_crash_driver.py audit SOURCES OUT STRIDE OFFSET
"""

from __future__ import annotations

from pathlib import Path

import crash_driver

# Imported before the fork, so that no child pays for it.
from scanner.audit.audit import audit


def operate(job: str, sources: Path, folder: Path, *, resume: bool) -> None:
    assert job == "audit"
    audit(sources / "audit.toml", out=folder / "out", resume=resume)


if __name__ == "__main__":
    crash_driver.operate = operate
    crash_driver.main()
