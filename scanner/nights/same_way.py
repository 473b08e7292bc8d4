"""Faces that were found in two ways are not mixed: scores between them would be of two kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scanner.errors import EmbedderMismatch


def check_same_way(before: Mapping[str, Any], now: Mapping[str, Any], *, where: Path) -> None:
    """Raise EmbedderMismatch when the faces that are kept were found in another way than new ones.

    Args:
        before: what is written beside those that are kept; `faces` says how they were found.
        now: the same of new ones.
        where: what keeps them.
    """
    old, new = (json.loads(json.dumps(one.get("faces") or {})) for one in (before, now))
    other = [
        f"{key} {old.get(key)}, now {new.get(key)}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)
    ]
    if old and other:
        raise EmbedderMismatch(
            f"The faces in {where} were found in another way than the job's [embedder] says now: {'; '.join(other)}. They "
            "cannot be mixed: put [embedder] back as it was, or choose another [job] folder."
        )
