"""The evidence of a run as figures: candidates against null, how small a leak would have been seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from scanner import artefacts
from scanner.errors import ArtefactError
from scanner.report.curves import Line, Plot, exceedance, plot

EVIDENCE_FORMAT, EVIDENCE_VERSION = "identity-leak-evidence", 1


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """`document` is `evidence.json`; `power` is None where the null has too few people with two photos."""

    document: dict[str, Any]
    closeness: Plot
    power: Plot | None


def read_evidence(folder: Path, threshold: float) -> EvidenceView | None:
    """Read the evidence of a run; None when it was scanned without a null.

    Raises:
        ArtefactError: it is there, but of another kind or newer.
    """
    path = folder / "evidence.json"
    if not path.exists():
        return None
    document = artefacts.read_json(path)
    if not artefacts.is_readable(document, EVIDENCE_FORMAT, EVIDENCE_VERSION):
        raise ArtefactError(
            f"{path} is no evidence of ours that this scanner can read (format {document.get('format')!r}, version "
            f"{document.get('format_version')}). Install the newer scanner that wrote it."
        )
    return EvidenceView(document, _closeness(folder, threshold), _power(document["power"]))


def _closeness(folder: Path, threshold: float) -> Plot:
    """Draw how many photos of each side come how close to their nearest scanned face."""
    photos = artefacts.read_table(folder / "photos.parquet", "photos", columns=["side", "best_score"])
    names = {"candidate": "photos of candidates", "null": "photos of people known not to be in training"}
    lines = [
        exceedance(name, photos.filter(pc.equal(photos["side"], side))["best_score"].to_numpy(), dashed=side == "null")
        for side, name in names.items()
    ]
    return plot(
        lines, x_label="best score over all scanned faces (cosine)", y_label="share of photos at or above", y_log=True,
        marks=[(threshold, "threshold")],
    )  # fmt: skip


def _power(power: Mapping[str, Any] | None) -> Plot | None:
    if power is None:
        return None
    rates = power["rates"]
    detected = [estimate["value"] for estimate in power["detected"]]
    band = tuple((rate, e["low"], e["high"]) for rate, e in zip(rates, power["detected"], strict=True))
    lines = [
        Line("somebody is named", tuple(zip(rates, detected, strict=True)), band=band),
        Line("share of the leaked who are named", tuple(zip(rates, power["named"], strict=True)), dashed=True),
    ]
    marks = [] if power["smallest"] is None else [(power["smallest"], f"{100 * power['smallest']:.2g} %")]
    return plot(
        lines, x_label="share of the candidates that the generator gives away", y_label="probability", x_log=True,
        y_range=(0.0, 1.0), marks=marks,
    )  # fmt: skip
