"""What several independent embedders say together, as the page and the command line put it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scanner import artefacts
from scanner.report.read import IDENTITIES_MAX


def read_joint(folder: Path) -> dict[str, Any] | None:
    """Return `joint.json` with its sentence and its most unusual rows; None for a run with one embedder."""
    path = folder / "joint.json"
    if not path.exists():
        return None
    document = artefacts.read_json(path)
    rows = artefacts.read_table(folder / "joint.parquet", "joint").slice(0, IDENTITIES_MAX).to_pylist()
    return {**document, "sentence": joint_sentence(document), "rows": rows}


def joint_sentence(document: Mapping[str, Any]) -> str:
    """Return the joint statement in one sentence."""
    counted = sum(bool(one["counted"]) for one in document["embedders"])
    if document["inconclusive"]:
        return f"Together, {counted} embedders: inconclusive, since one of them tells the candidates' pictures from the null's."
    return (
        f"Together, {counted} embedders name {document['named']} of {document['identities']} candidate identities (false "
        f"discovery rate {100 * document['level']:g} %); {document['named_by_all_alone']} of these are named by each of them alone."
    )
