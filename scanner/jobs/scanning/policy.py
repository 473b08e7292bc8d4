"""What is decided before the first image is read, written down as `policy.json` and hashed into the evidence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from indexes import Index
from scanner.evidence.guards import AUC_MAX
from scanner.jobs.embedding.copies import CopyIndex
from scanner.jobs.options import FaceOptions
from scanner.jobs.scanning.evidence_tables import NEAREST
from scanner.jobs.scanning.options import ScanOptions
from scanner.search import Gallery
from scanner.sources.location import clean_uri


def policy_of(
    specs: Sequence[str],
    galleries: Sequence[Gallery],
    nulls: Sequence[Gallery],
    copies: CopyIndex | None,
    options: ScanOptions,
    faces: FaceOptions,
) -> dict[str, Any]:
    """Return what is decided before the first image is read: by which rule, at which rates, against whom."""
    return {
        "queries": [clean_uri(spec) for spec in specs],
        "indexes": states_of([gallery.index for gallery in galleries]),
        "nulls": states_of([null.index for null in nulls]),
        "fingerprint": galleries[0].index.fingerprint,
        "faces": {
            "mode": faces.faces,
            "select": faces.select,
            "gates": asdict(faces.gates),
            "landmarks": faces.landmarks,
        },
        "threshold": threshold_rule(options),
        "level": options.level,
        "null_match": options.null_match,
        "copies": None if copies is None else copies.account(),
        "nearest": NEAREST,
        "two_sample_auc_max": AUC_MAX,
        "seed": options.seed,
    }


def states_of(indexes: Sequence[Index]) -> list[dict[str, str]]:
    """Return what names the present state of each index."""
    return [{"name": index.path.resolve().name, "manifest_sha256": index.manifest_sha256} for index in indexes]


def threshold_rule(options: ScanOptions) -> dict[str, Any]:
    """Return by which rule, at which value and on what the threshold is set."""
    rules = {"threshold": options.threshold, "fmr": options.fmr, "fpir": options.fpir}
    (rule,) = (name for name, value in rules.items() if value is not None)
    return {"rule": rule, "value": rules[rule], "calibrate_on": options.calibrate_on}


def policy_sha256(policy: Mapping[str, Any]) -> str:
    """Return the hash of a policy, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()
