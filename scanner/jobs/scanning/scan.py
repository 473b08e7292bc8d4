"""The main job: queries against indexes → a run folder that can be read anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexes.atomic import write_json
from scanner import artefacts
from scanner.jobs.embedding.copies import embed_for_copies
from scanner.jobs.embedding.intake import Intake, take_in
from scanner.jobs.folders import check_target, is_finished, remove_folder, sweep
from scanner.jobs.measuring.meter import COSTS_NAME, Meter, machine_here, write_costs
from scanner.jobs.measuring.predict import faces_memory_bytes, faces_seconds, join_cost
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.scanning.account import account_of, finished_summary
from scanner.jobs.scanning.comparisons import Afresh, Comparisons
from scanner.jobs.scanning.evidence import finish, hub_photos, weigh
from scanner.jobs.scanning.flags import Flags
from scanner.jobs.scanning.join import JoinParts
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.prepare import Prepared, bring_to_domain, prepare
from scanner.jobs.scanning.results import write_results
from scanner.jobs.workers import Workers
from scanner.progress import Progress, Silent
from scanner.report.page import write_page
from scanner.search import check_fingerprint


@dataclass(frozen=True, slots=True)
class ScanResult:
    """A finished run: its folder, what stands in its `run.json`, and in `costs.json` unless nothing was left to do."""

    folder: Path
    summary: dict[str, Any] = field(repr=False)
    costs: dict[str, Any] | None = field(default=None, repr=False, compare=False)

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
    workers: Workers | None = None,
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
        workers: who embeds and searches; None for this process.  All else is done here.
        progress: where to report.

    Raises:
        ScannerError: see `scanner.errors`; before any long work wherever it can be known before.
    """
    faces, sources, out = faces or FaceOptions(), sources or SourceOptions(), Path(out)
    meter = Meter(progress or Silent())
    specs = [queries] if isinstance(queries, str) else list(queries)
    paths = [Path(p) for p in ([against] if isinstance(against, str | Path) else against)]
    work = out / "unfinished"
    check_target(out, work, kind="run", resume=resume, force=force)
    if is_finished(out / "run.json", work, resume=resume):
        return ScanResult(out, finished_summary(out, specs, paths, options, faces))
    opened = prepare(specs, paths, options, faces, sources, meter)
    intake = take_in(
        specs, work=work / "faces", sources=sources, faces=opened.faces, progress=meter, resume=resume,
        plan=opened.plan(with_crops=options.with_crops), keep_crops=options.with_crops, embedded_by=options.embedded_by,
        opened=opened.road, workers=workers, make_room=partial(_make_room, out, opened.policy, force=force),
    )  # fmt: skip
    for gallery in opened.galleries:
        check_fingerprint(gallery.index, intake.fingerprint, what="the queries' embedder")
    if options.null_match:
        opened = bring_to_domain(opened, intake, specs, options, sources, out=out, progress=meter)
    summary = search_and_write(out, work, opened, intake, specs, options, sources, workers, meter)
    taken = _write_costs(out, meter, opened, intake, specs, sources, resume=resume)
    finish_run(out, work, summary)
    return ScanResult(out, summary, taken)


def finish_run(out: Path, work: Path, summary: dict[str, Any]) -> None:
    """Write `run.json`, the last of the data: a run folder that has one is complete.  Then the page; the work goes."""
    write_json(out / "run.json", summary)
    write_page(out)
    remove_folder(work)


def search_and_write(
    out: Path,
    work: Path,
    scan: Prepared,
    intake: Intake,
    specs: Sequence[str],
    options: ScanOptions,
    sources: SourceOptions,
    workers: Workers | None,
    progress: Meter,
    comparisons: Comparisons | None = None,
) -> dict[str, Any]:
    """Search, weigh, write the tables; return what stands in `run.json`.

    Without `comparisons` every pair is compared anew.
    """
    comparisons = comparisons or Afresh()
    joined = JoinParts(work / "join")
    joined.run(
        intake, scan.galleries, threshold=scan.threshold.value, memory_bytes=options.memory_bytes, workers=workers,
        comparisons=comparisons, progress=progress,
    )  # fmt: skip
    copies = None
    if scan.copies is not None:
        copies = embed_for_copies(
            specs,
            scan.copies,
            work=work / "copies",
            faces=scan.faces,
            sources=sources,
            workers=workers,
            progress=progress,
            resume=True,
        )
    evidence = None
    if scan.nulls:
        evidence = weigh(
            out, intake, joined, scan.galleries, scan.nulls, scan.threshold, policy=scan.policy, matched=scan.matched,
            comparisons=comparisons, progress=progress,
        )  # fmt: skip
    progress.mark("results", unit="faces", items=intake.counts().faces)
    results = write_results(
        out, intake, joined, scan.galleries, scan.threshold, statement=None if evidence is None else evidence.statement,
        flags=Flags(copies, hub_photos(out) if evidence else frozenset()), with_crops=options.with_crops,
    )  # fmt: skip
    summary = account_of(specs, intake, scan, options, results)
    summary["evidence"] = None if evidence is None else finish(out, evidence, scan.policy, intake.fingerprint)
    return summary


def _write_costs(
    out: Path,
    meter: Meter,
    scan: Prepared,
    intake: Intake,
    specs: Sequence[str],
    sources: SourceOptions,
    *,
    resume: bool,
) -> dict[str, Any]:
    """Write what the scan took, beside what was predicted."""
    machine = machine_here(meter)
    predicted, size = faces_seconds(machine.profile, intake.description, specs, sources)
    memory = None
    if machine.profile is not None:
        profile = machine.profile
        predicted["search"] = lambda queries: join_cost(profile, scan.galleries, queries).seconds
        cost = join_cost(profile, scan.galleries, 1)
        memory = max(cost.memory_bytes + cost.mapped_bytes, faces_memory_bytes(size, intake.counts().entries) or 0)
    return write_costs(
        out / COSTS_NAME, meter, job="scan", resumed=resume, machine=machine, predicted=predicted, memory_bytes=memory
    )


def _make_room(out: Path, policy: dict[str, Any], *, force: bool) -> None:
    if force:
        remove_folder(out)
    artefacts.make_private_folder(out)
    artefacts.make_private_folder(out / "unfinished")
    sweep(out)
    write_json(out / "policy.json", policy)  # before the first image is read
