"""What a split audit would cost: its photos are counted and a handful of them go through the deepest cut."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from scanner.audit.config import AuditConfig
from scanner.audit.split_defence import defences_of
from scanner.audit.split_judge import embed
from scanner.audit.split_open import Opened, open_split
from scanner.audit.split_photos import choose
from scanner.images import decode_item
from scanner.records import Reject

SAMPLE = 16


@dataclass(frozen=True, slots=True)
class SplitCost:
    """Predicted cost of `[split]`.

    Attributes:
        photos: that would be re-created at each cut under each defence.
        people: whose photos they are; None where photos need no label.
        units: cuts times defences.
        find_s: seconds of finding the faces.
        unit_s: seconds of one unit at the deepest cut, the slowest.
        total_s: of everything, at most.
    """

    photos: int
    people: int | None
    units: int
    find_s: float
    unit_s: float
    total_s: float

    def sentence(self) -> str:
        """Return the estimate for people."""
        who = "" if self.people is None else f" of {self.people} people"
        return (
            f"split: {self.photos} photos{who}, {self.units} cuts and defences at up to {self.unit_s:.1f} s each, faces "
            f"{self.find_s:.0f} s: at most {self.total_s:.0f} s"
        )


def estimate_split(config: AuditConfig, folder: Path) -> SplitCost:
    """Open everything, count the photos, send a few through; nothing is written.

    Raises:
        ScannerError: as the audit itself would.
    """
    opened = open_split(config, folder)
    entries = [entry for entry in opened.source.entries() if not isinstance(entry, Reject)]
    identities = [entry.identity for entry in entries]
    by_person = bool(opened.judges)
    chosen, _ = choose(identities, photos_max=opened.section.max_photos, seed=config.audit.seed, by_person=by_person)
    people = None if not by_person else len({identities[place] for place in chosen})
    units = len(opened.cuts) * len(defences_of(opened.section))
    started = time.perf_counter()
    few = list(islice((entries[place] for place in chosen), SAMPLE))
    for entry in few:
        picture = decode_item(entry)
        if not isinstance(picture, Reject):
            opened.finder.find(picture)
    find_s = (time.perf_counter() - started) / max(1, len(few)) * len(chosen)
    unit_s = _unit_s(opened) / SAMPLE * len(chosen)
    return SplitCost(len(chosen), people, units, find_s, unit_s, find_s + unit_s * units)


def _unit_s(opened: Opened) -> float:
    """Return the seconds that `SAMPLE` grey pictures take through the deepest cut and past every judge."""
    import torch

    images = torch.full((SAMPLE, *opened.network.input_shape), 0.5, device=opened.device)
    started = time.perf_counter()
    with torch.no_grad():
        features = opened.inverse.features(images, opened.cuts[-1])
        opened.inverse.inputs(features, opened.cuts[-1])
        opened.network(images)
    width, height = opened.crop_px
    for judge in opened.judges:
        embed(judge, np.full((SAMPLE, height, width, 3), 127, np.uint8))
    return time.perf_counter() - started
