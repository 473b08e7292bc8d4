"""Duplicates inside one index: which references are one picture, or one person under two labels → a folder with a report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from indexes import Index, open_index
from indexes.atomic import write_json
from scanner import artefacts
from scanner.decision import Threshold
from scanner.errors import RunMismatch
from scanner.jobs.folders import check_target, is_finished, remove_folder, sweep
from scanner.jobs.indexing.dedupe_groups import find_groups
from scanner.jobs.indexing.dedupe_join import PairParts
from scanner.jobs.indexing.dedupe_tables import read_labels, write_crops, write_groups, write_pairs
from scanner.jobs.indexing.threshold import choose_threshold
from scanner.jobs.measuring.meter import COSTS_NAME, Meter, machine_here, write_costs
from scanner.jobs.options import FaceOptions, SourceOptions, like_index
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.policy import threshold_rule
from scanner.jobs.versions import versions
from scanner.progress import Progress, Silent
from scanner.report.dedupe_page import DEDUPE_FORMAT, DEDUPE_VERSION, read_shown, write_dedupe_page
from scanner.search import open_galleries, self_join, try_canaries

BLOCK_ROWS = 4096
"""Stored references of a block, the unit of resuming."""


@dataclass(frozen=True, slots=True)
class DedupeResult:
    """A finished report of duplicates: its folder and what stands in its `dedupe.json`."""

    folder: Path
    summary: dict[str, Any] = field(repr=False)


def dedupe(
    path: str | Path,
    *,
    out: str | Path,
    options: ScanOptions,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> DedupeResult:
    """Compare an index's references with each other and write pairs, groups and a report.

    Args:
        path: the index.
        out: the folder to make.
        options: threshold, engine, memory, seed and crops; what concerns queries or a null is not used.
        faces: how pictures of the calibration set become vectors; what is left open is as the index was built.
        sources: how the calibration set is read.
        resume: finish the work that was interrupted in `out`; the bytes are those of uninterrupted work.
        force: replace what is in `out`.
        progress: where to report.

    Raises:
        ScannerError: see `scanner.errors`; before any long work wherever it can be known before.
    """
    meter, out, path = Meter(progress or Silent()), Path(out), Path(path)
    work = out / "unfinished"
    check_target(out, work, kind="dedupe", resume=resume, force=force)
    if is_finished(out / "dedupe.json", work, resume=resume):
        return DedupeResult(out, _finished(out, path, options))
    (gallery,) = open_galleries([path], memory_bytes=options.memory_bytes, engine=options.engine)
    canaries = try_canaries(gallery)
    faces = like_index(faces or FaceOptions(), gallery.index.manifest.embedder)
    threshold = choose_threshold(options, [gallery], faces, sources or SourceOptions(), meter)
    index, engine = gallery.index, {"engine": gallery.engine.name, "engine_reason": gallery.engine_reason}
    del gallery  # its engine fills the memory budget that the engines of the join need
    if force:
        remove_folder(out)
    artefacts.make_private_folder(out)
    sweep(out)
    join = self_join(
        index,
        threshold=threshold.value,
        memory_bytes=options.memory_bytes,
        engine=options.engine,
        block_rows=BLOCK_ROWS,
    )
    parts = PairParts(work)
    parts.run(join, threshold, plan=_plan(index, threshold, options), resume=resume, progress=meter)
    del join
    account = {
        "index": {**_describe(index), **engine, "canaries": asdict(canaries)},
        **_decided_by(index, threshold, options),
    }
    summary = {**account, "counts": _write_tables(out, index, threshold, parts, meter)}
    if options.with_crops and not write_crops(out, index, read_shown(out, summary).ids()):
        meter.note(f"the index {index.path.name} keeps no crops of what the page shows; build it with --with-crops")
    write_costs(out / COSTS_NAME, meter, job="index dedupe", resumed=resume, machine=machine_here(meter), predicted={})
    write_json(out / "dedupe.json", summary)  # the last of the data: a folder with dedupe.json is complete
    write_dedupe_page(out)
    remove_folder(work)
    return DedupeResult(out, summary)


def _write_tables(
    out: Path, index: Index, threshold: Threshold, parts: PairParts, progress: Progress
) -> dict[str, Any]:
    """Write `pairs.parquet` and `groups.parquet`; return what they add up to."""
    progress.stage("write", total=parts.rows(), unit="pairs")
    labelled = read_labels(index)
    groups = find_groups(labelled, parts.read(), parts.read())
    pairs = write_pairs(out, index, labelled, groups, parts.read(), progress)
    write_groups(out, index, labelled, groups)
    compared, between = index.rows * (index.rows - 1) // 2, labelled.pairs_between()
    return {
        "references": index.rows,
        "comparisons": compared,
        "comparisons_not_within": between,
        "false_matches_expected": threshold.false_matches_expected(between),
        **pairs,
        **groups.summary(),
    }


def _plan(index: Index, threshold: Threshold, options: ScanOptions) -> dict[str, Any]:
    """Return what resumed work must find unchanged."""
    return {
        "index": index.path.resolve().name,
        "manifest_sha256": index.manifest_sha256,
        "threshold": {**threshold_rule(options), "at": threshold.value},
        "with_crops": options.with_crops,
        "seed": options.seed,
        "block_rows": BLOCK_ROWS,
    }


def _describe(index: Index) -> dict[str, Any]:
    return {
        "name": index.path.resolve().name,
        "rows": index.rows,
        "embedder": index.manifest.embedder.get("name"),
        "fingerprint": index.fingerprint,
        "manifest_sha256": index.manifest_sha256,
    }


def _decided_by(index: Index, threshold: Threshold, options: ScanOptions) -> dict[str, Any]:
    """Say everything else that a reader must know; no clock, so equal work has equal bytes."""
    on = options.calibrate_on
    return {
        "format": DEDUPE_FORMAT,
        "format_version": DEDUPE_VERSION,
        "threshold": asdict(threshold),
        "rule": threshold_rule(options),
        "calibrated_on_itself": on is not None and Path(on).resolve() == index.path.resolve(),
        "with_crops": options.with_crops,
        "seed": options.seed,
        "memory_bytes": options.memory_bytes,
        "versions": versions(),
    }


def _finished(out: Path, path: Path, options: ScanOptions) -> dict[str, Any]:
    """Return the `dedupe.json` of finished work, unless it is visibly other work than was asked for."""
    summary = artefacts.read_json(out / "dedupe.json")
    differs = {
        "index": summary["index"]["manifest_sha256"] != open_index(path).manifest_sha256,
        "threshold": summary["rule"] != threshold_rule(options),
        "with_crops": summary["with_crops"] != options.with_crops,
        "seed": summary["seed"] != options.seed,
    }
    changed = sorted(name for name, is_changed in differs.items() if is_changed)
    if changed:
        raise RunMismatch(
            f"{out} is finished work on another index or with other options: {', '.join(changed)} differ. "
            "Choose another name, or pass --force to replace it."
        )
    return summary
