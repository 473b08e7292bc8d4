"""The main job: queries against indexes → a run folder that can be read anywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexes.atomic import write_json
from scanner import artefacts
from scanner.decision import Threshold
from scanner.errors import RunMismatch, UsageError
from scanner.jobs.calibrate import calibrate
from scanner.jobs.folders import check_target, is_finished, remove_folder, sweep
from scanner.jobs.identities import account, open_nulls, weigh
from scanner.jobs.intake import Intake, take_in
from scanner.jobs.join import JoinParts
from scanner.jobs.options import FaceOptions, SourceOptions, like_index, open_road
from scanner.jobs.ready import is_embeddings
from scanner.jobs.results import write_results
from scanner.jobs.versions import versions
from scanner.progress import Progress, Silent
from scanner.report.page import write_page
from scanner.search import Canaries, Gallery, check_fingerprint, open_galleries, try_canaries
from scanner.sources.location import clean_uri

RUN_FORMAT = "identity-leak-run"
RUN_VERSION = 1
MEMORY_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a scan is decided and run.

    Attributes:
        threshold: inclusive score from which a pair is a match; or
        fmr: the false match rate from which the threshold is taken, on the pairs of
        calibrate_on: an index with identities, or labelled images or embeddings.
        engine: "auto", "exact", "compressed" or "flat"; changes no hit, only time and memory.
        memory_bytes: budget of the search.
        with_crops: keep the crops of matched pairs; they are biometric data.
        null: indexes of people known not to be in training; every candidate identity then gets a p-value and q-values.
        seed: draws the calibration sample, and photos where some must be left out.
        embedded_by: name of the embedder of ready embeddings that do not say it.
    """

    threshold: float | None = None
    fmr: float | None = None
    calibrate_on: str | None = None
    engine: str = "auto"
    memory_bytes: int = MEMORY_BYTES
    with_crops: bool = False
    null: tuple[str, ...] = ()
    seed: int = 0
    embedded_by: str | None = None

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.fmr is None):
            raise UsageError(
                "Say how close counts as a match: either --threshold T, or --fmr F --calibrate-on LABELLED."
            )
        if self.fmr is not None and self.calibrate_on is None:
            raise UsageError(
                "--fmr needs pairs of people whose identity is known: --calibrate-on INDEX (one built with identities) "
                "or --calibrate-on SOURCE (labelled images)."
            )


@dataclass(frozen=True, slots=True)
class ScanResult:
    """A finished run: its folder and what stands in its `run.json`."""

    folder: Path
    summary: dict[str, Any] = field(repr=False)

    def matches(self) -> pa.Table:
        """Return `matches.parquet` as a table of `artefacts.MATCHES`."""
        return artefacts.read_table(self.folder / "matches.parquet", "matches")


def scan(
    queries: str | Sequence[str],
    *,
    against: str | Path | Sequence[str | Path],
    out: str | Path,
    options: ScanOptions,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ScanResult:
    """Search the faces of `queries` against indexes and write a run folder.

    Args:
        queries: folders, archives or URLs of images; or one file of ready embeddings.
        against: index folders; all of one embedder.
        out: the run folder to make.
        options: threshold, engine, memory.
        faces: how pictures become vectors; what is left open is as the indexes were built.
        sources: how sources are read.
        resume: finish the run that was interrupted in `out`; the bytes are those of an uninterrupted one.
        force: replace what is in `out`.
        progress: where to report.

    Raises:
        ScannerError: see `scanner.errors`; before any long work wherever it can be known before.
    """
    started = time.monotonic()
    progress, faces, sources, out = progress or Silent(), faces or FaceOptions(), sources or SourceOptions(), Path(out)
    specs = [queries] if isinstance(queries, str) else list(queries)
    paths = [Path(p) for p in ([against] if isinstance(against, str | Path) else against)]
    work = out / "unfinished"
    check_target(out, work, kind="run", resume=resume, force=force)
    if is_finished(out / "run.json", work, resume=resume):
        return _finished(out, specs, paths, options)
    galleries = open_galleries(paths, memory_bytes=options.memory_bytes, engine=options.engine)
    faces = like_index(faces, galleries[0].index.manifest.embedder)
    opened = None if all(is_embeddings(spec, sources) for spec in specs) else open_road(faces)
    if opened is not None:
        for gallery in galleries:
            check_fingerprint(gallery.index, opened.fingerprint, what="the queries' embedder")
    nulls = open_nulls(options.null, galleries, memory_bytes=options.memory_bytes, engine=options.engine)
    canaries = [try_canaries(gallery) for gallery in galleries]
    threshold = _threshold(options, galleries, faces, sources, progress)

    plan = {
        "indexes": [{"name": g.name, "manifest_sha256": g.index.manifest_sha256} for g in galleries],
        "nulls": [{"name": n.name, "manifest_sha256": n.index.manifest_sha256} for n in nulls],
        "threshold": threshold.value,
        "with_crops": options.with_crops,
    }
    intake = take_in(
        specs, work=work / "faces", sources=sources, faces=faces, progress=progress, plan=plan, resume=resume,
        keep_crops=options.with_crops, embedded_by=options.embedded_by, opened=opened,
        make_room=partial(_make_room, out, force=force),
    )  # fmt: skip
    for gallery in galleries:
        check_fingerprint(gallery.index, intake.fingerprint, what="the queries' embedder")
    joined = JoinParts(work / "join")
    joined.run(intake, galleries, threshold=threshold.value, progress=progress)
    evidence = weigh(intake, galleries, nulls, seed=options.seed, progress=progress) if nulls else None
    results = write_results(out, intake, joined, galleries, threshold, evidence=evidence, with_crops=options.with_crops)
    summary = _account(specs, intake, galleries, canaries, threshold, options, results)
    summary["evidence"] = None if evidence is None else account(evidence, nulls)
    write_json(out / "timing.json", {"seconds": round(time.monotonic() - started, 3)})
    write_json(out / "run.json", summary)  # the last of the data: a run folder with run.json is complete
    write_page(out)
    remove_folder(work)
    return ScanResult(out, summary)


def _make_room(out: Path, *, force: bool) -> None:
    if force:
        remove_folder(out)
    artefacts.make_private_folder(out)
    artefacts.make_private_folder(out / "unfinished")
    sweep(out)


def _finished(out: Path, specs: Sequence[str], against: Sequence[Path], options: ScanOptions) -> ScanResult:
    """Return a run that has nothing left to do, unless it is visibly another one than was asked for."""
    summary = artefacts.read_json(out / "run.json")
    threshold = summary["threshold"]
    differs = {
        "queries": summary["queries"] != [clean_uri(spec) for spec in specs],
        "indexes": [index["name"] for index in summary["indexes"]] != [path.resolve().name for path in against],
        "threshold": options.threshold is not None and options.threshold != threshold["value"],
        "calibrate_on": options.calibrate_on != threshold["calibrated_on"],
        "with_crops": options.with_crops != summary["with_crops"],
        "null": [null["name"] for null in (summary.get("evidence") or {"nulls": []})["nulls"]]
        != [Path(path).resolve().name for path in options.null],
    }
    changed = sorted(name for name, is_changed in differs.items() if is_changed)
    if changed:
        raise RunMismatch(
            f"{out} is a finished run with other options: {', '.join(changed)} differ. "
            "Choose another name, or pass --force to replace it."
        )
    return ScanResult(out, summary)


def _threshold(
    options: ScanOptions, galleries: Sequence[Gallery], faces: FaceOptions, sources: SourceOptions, progress: Progress
) -> Threshold:
    if options.threshold is not None:
        return Threshold(options.threshold)
    assert options.fmr is not None
    assert options.calibrate_on is not None
    found = calibrate(
        options.calibrate_on, fmrs=(options.fmr,), faces=faces, sources=sources, seed=options.seed, progress=progress,
        fingerprint=galleries[0].index.fingerprint, embedded_by=options.embedded_by,
    )  # fmt: skip
    point = found.points[0]
    if point.is_thin:
        progress.note(
            f"the threshold rests on {point.false_matches} false matches among {point.non_mated_pairs} pairs; "
            "30 or more make the rate good to about 30 %"
        )
    return Threshold(point.threshold, "calibrated", point, options.calibrate_on)


def _account(
    specs: Sequence[str],
    intake: Intake,
    galleries: Sequence[Gallery],
    canaries: Sequence[Canaries],
    threshold: Threshold,
    options: ScanOptions,
    results: dict[str, Any],
) -> dict[str, Any]:
    """Say everything that a reader of the run must know; no clock, so equal runs have equal bytes."""
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
                "manifest_sha256": gallery.index.manifest_sha256,
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
        "with_crops": options.with_crops,
        "seed": options.seed,
        "memory_bytes": options.memory_bytes,
        "versions": versions(),
    }
