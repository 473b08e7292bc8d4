"""Faces of a source → one Parquet file of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from indexes.atomic import write_json
from scanner import artefacts
from scanner.costs import embeddings_bytes
from scanner.errors import UsageError
from scanner.jobs.embedding.intake import take_in
from scanner.jobs.embedding.ready import is_embeddings
from scanner.jobs.folders import check_same_sources, check_target, is_finished, remove_folder, sweep, work_beside
from scanner.jobs.measuring.meter import COSTS_NAME, Meter, machine_here, write_costs
from scanner.jobs.measuring.predict import faces_memory_bytes, faces_seconds, writing_seconds
from scanner.jobs.options import FaceOptions, SourceOptions, changed_faces
from scanner.jobs.workers import Workers
from scanner.progress import Progress, Silent
from scanner.records import Counts
from scanner.sources.location import clean_uri


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """Where the embeddings are and what became of every entry; `costs` as in the file, None where nothing was left to do."""

    path: Path
    fingerprint: str
    dim: int
    counts: Counts
    costs: dict[str, Any] | None = field(default=None, repr=False, compare=False)


def embed(
    source: str | Sequence[str],
    out: str | Path,
    *,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    keep_crops: bool = False,
    resume: bool = False,
    force: bool = False,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> EmbedResult:
    """Write `out` (one row a face), and with `.rejects.parquet`, `.json` (counts and recipe) and `.costs.json` for its suffix.

    Args:
        source: folders, archives or URLs of images.
        out: Parquet file to make; columns as in `artefacts.embeddings_schema`.
        faces: how pictures become vectors.
        sources: how sources are read.
        keep_crops: keep the aligned crops as PNG, in the column `crop_png`.
        resume: finish interrupted work; same bytes as without the interruption.
        force: replace what is there.
        workers: who embeds; None for this process.
        progress: where to report.

    Raises:
        ScannerError: see `scanner.errors`.
    """
    out, sources, faces = Path(out), sources or SourceOptions(), faces or FaceOptions()
    specs = [source] if isinstance(source, str) else list(source)
    if out.suffix != ".parquet":
        raise UsageError(f"{out} is no name for embeddings, which are read as *.parquet. Call it {out}.parquet.")
    rejects_path, account_path, work = out.with_suffix(".rejects.parquet"), out.with_suffix(".json"), work_beside(out)
    costs_path = out.with_suffix(f".{COSTS_NAME}")
    for path in (out, rejects_path, account_path, costs_path):
        check_target(path, work, kind="file", resume=resume, force=force)
    sweep(out.parent, [out.name, rejects_path.name, account_path.name, costs_path.name])
    if is_finished(out, work, resume=resume):
        file = artefacts.open_artefact(out, "embeddings").schema_arrow
        account = artefacts.read_json(account_path)
        check_same_sources(out, account, specs, changed_faces(faces, account["road"]))
        counts = Counts(**account["counts"])
        return EmbedResult(
            out, file.metadata[artefacts.FINGERPRINT_KEY].decode(), file.field("embedding").type.list_size, counts
        )
    _refuse_embeddings(specs, sources)
    meter = Meter(progress or Silent())
    machine = machine_here(meter)
    intake = take_in(
        specs, work=work, sources=sources, faces=faces, progress=meter,
        plan={"job": "embed"}, resume=resume, keep_crops=keep_crops, workers=workers,
        make_room=partial(remove_folder, work) if force else lambda: None,
    )  # fmt: skip
    meter.mark("writing", unit="faces", items=intake.counts().faces)
    schema = artefacts.embeddings_schema(intake.dim, crops=keep_crops)
    stamped = artefacts.stamped(schema, "embeddings", fingerprint=intake.fingerprint)
    rejects = artefacts.stamped(artefacts.REJECTS, "rejects")
    artefacts.write_tables(rejects_path, rejects, intake.rejects())
    counts = intake.counts()
    account = {"sources": [clean_uri(s) for s in specs], "road": intake.description, "counts": asdict(counts)}
    write_json(account_path, account)
    artefacts.write_tables(out, stamped, intake.faces())
    predicted, size = faces_seconds(machine.profile, intake.description, specs, sources)
    taken = write_costs(
        costs_path, meter, job="embed", resumed=resume, machine=machine,
        predicted=predicted | writing_seconds(machine.profile), memory_bytes=faces_memory_bytes(size, counts.entries),
        disk_bytes=(embeddings_bytes(counts.faces, intake.dim, crops=keep_crops), out.stat().st_size),
    )  # fmt: skip
    intake.done()
    return EmbedResult(out, intake.fingerprint, intake.dim, counts, taken)


def _refuse_embeddings(specs: Sequence[str], sources: SourceOptions) -> None:
    for spec in specs:
        if is_embeddings(spec, sources):
            raise UsageError(
                f"{spec} holds embeddings already. Pass it to scanner index build or scanner scan as it is."
            )
