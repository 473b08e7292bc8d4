"""What stands about a run in its `run.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from indexes import open_index
from scanner import artefacts
from scanner.errors import RunMismatch
from scanner.jobs.embedding.intake import Intake
from scanner.jobs.options import FaceOptions, changed_faces, like_index
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.policy import states_of, threshold_rule
from scanner.jobs.scanning.prepare import Prepared
from scanner.jobs.versions import versions
from scanner.sources.location import clean_uri

RUN_FORMAT = "identity-leak-run"
RUN_VERSION = 1


def account_of(
    specs: Sequence[str], intake: Intake, scan: Prepared, options: ScanOptions, results: dict[str, Any]
) -> dict[str, Any]:
    """Say everything that a reader of the run must know; no clock, so equal runs have equal bytes."""
    galleries, canaries, threshold = scan.galleries, scan.canaries, scan.threshold
    pairs = results["queries"] * sum(gallery.index.rows for gallery in galleries)
    return {
        "format": RUN_FORMAT,
        "format_version": RUN_VERSION,
        "queries": [clean_uri(spec) for spec in specs],
        "indexes": [
            {
                "name": gallery.name,
                "rows": gallery.index.rows,
                "fingerprint": gallery.index.fingerprint,
                "manifest_sha256": gallery.stored.manifest_sha256,
                "engine": gallery.engine.name,
                "engine_reason": gallery.engine_reason,
                "canaries": asdict(planted),
            }
            for gallery, planted in zip(galleries, canaries, strict=True)
        ],
        "road": intake.description,
        "threshold": asdict(threshold),
        "counts": asdict(intake.counts()),
        "results": {
            **results,
            "comparisons": pairs,
            "false_matches_expected": threshold.false_matches_expected(pairs),
        },
        "null_match": scan.matched,
        "copies": None if scan.copies is None else scan.copies.account(),
        "with_crops": options.with_crops,
        "seed": options.seed,
        "memory_bytes": options.memory_bytes,
        "versions": versions(),
    }


def finished_summary(
    out: Path, specs: Sequence[str], against: Sequence[Path], options: ScanOptions, faces: FaceOptions
) -> dict[str, Any]:
    """Return the `run.json` of a run that has nothing left to do, unless it is visibly another one than was asked for."""
    summary = artefacts.read_json(out / "run.json")
    policy = artefacts.read_json(out / "policy.json")
    copies = None if policy["copies"] is None else policy["copies"]["name"]
    indexes, nulls = ([open_index(path) for path in paths] for paths in (against, options.null))
    faces = like_index(faces, indexes[0].manifest.embedder)
    differs = {
        "queries": policy["queries"] != [clean_uri(spec) for spec in specs],
        "indexes": policy["indexes"] != states_of(indexes),
        "null": policy["nulls"] != states_of(nulls),
        "threshold": policy["threshold"] != threshold_rule(options),
        "null_match": policy["null_match"] != options.null_match,
        "level": policy["level"] != options.level,
        "seed": policy["seed"] != options.seed,
        "copies": copies != (None if options.copies is None else Path(options.copies).resolve().name),
        "with_crops": summary["with_crops"] != options.with_crops,
        **dict.fromkeys(changed_faces(faces, summary["road"]), True),
    }
    changed = sorted(name for name, is_changed in differs.items() if is_changed)
    if changed:
        raise RunMismatch(
            f"{out} is a finished run on other indexes or with other options: {', '.join(changed)} differ. "
            "Choose another name, or pass --force to replace it."
        )
    return summary
