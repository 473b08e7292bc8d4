"""Faces of a source → one Parquet file of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from indexes.atomic import write_json
from scanner import artefacts
from scanner.jobs.folders import check_target, is_finished, work_beside
from scanner.jobs.intake import take_in
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.progress import Progress, Silent
from scanner.records import Counts


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """Where the embeddings are and what became of every entry."""

    path: Path
    fingerprint: str
    dim: int
    counts: Counts


def embed(
    source: str | Sequence[str],
    out: str | Path,
    *,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    keep_crops: bool = False,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> EmbedResult:
    """Write `out` (one row a face), `out` with `.rejects.parquet` and `.json` (counts and recipe) for its suffix.

    Args:
        source: folders, archives or URLs of images.
        out: Parquet file to make; columns as in `artefacts.embeddings_schema`.
        faces: how pictures become vectors.
        sources: how sources are read.
        keep_crops: keep the aligned crops as PNG, in the column `crop_png`.
        resume: finish interrupted work; same bytes as without the interruption.
        force: replace what is there.
        progress: where to report.

    Raises:
        ScannerError: see `scanner.errors`.
    """
    out = Path(out)
    work = work_beside(out)
    check_target(out, work, resume=resume, force=force)
    if is_finished(out, work, resume=resume):
        file = artefacts.open_artefact(out, "embeddings").schema_arrow
        counts = Counts(**artefacts.read_json(out.with_suffix(".json"))["counts"])
        return EmbedResult(
            out, file.metadata[artefacts.FINGERPRINT_KEY].decode(), file.field("embedding").type.list_size, counts
        )
    intake = take_in(
        [source] if isinstance(source, str) else list(source), work=work, sources=sources or SourceOptions(),
        faces=faces or FaceOptions(), progress=progress or Silent(), plan={"job": "embed"}, resume=resume,
        keep_crops=keep_crops,
    )  # fmt: skip
    schema = artefacts.embeddings_schema(intake.dim, crops=keep_crops)
    stamped = artefacts.stamped(schema, "embeddings", fingerprint=intake.fingerprint)
    rejects = artefacts.stamped(artefacts.REJECTS, "rejects")
    artefacts.write_tables(out.with_suffix(".rejects.parquet"), rejects, intake.rejects())
    counts = intake.counts()
    write_json(out.with_suffix(".json"), {"road": intake.description, "counts": asdict(counts)})
    artefacts.write_tables(out, stamped, intake.faces())
    intake.done()
    return EmbedResult(out, intake.fingerprint, intake.dim, counts)
