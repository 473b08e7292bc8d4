"""Candidate data sets → an index; and what is added to one or erased from it later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from indexes import Index, VectorBatch, build_index, open_index
from indexes.atomic import write_json
from scanner import artefacts
from scanner.errors import NothingScanned
from scanner.jobs.folders import check_target, is_finished, work_beside
from scanner.jobs.intake import Intake, take_in
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress, Silent
from scanner.records import Counts
from scanner.search import check_fingerprint

Block = tuple[VectorBatch, pa.Table]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How an index is stored.

    Attributes:
        dtype: "float32", or "float16" for half the disk and scores good to about 5e-4.
        codec: "auto" (compressed codes from some size on), "always" or "none".
        with_crops: keep aligned crops in the index, so that reports can show them; biometric data.
        seed: draws what the codec is trained on.
        embedded_by: name of the embedder of ready embeddings that do not say it.
    """

    dtype: Literal["float32", "float16"] = "float32"
    codec: Literal["auto", "always", "none"] = "auto"
    with_crops: bool = False
    seed: int = 0
    embedded_by: str | None = None


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The index, and what became of every entry of the sources."""

    path: Path
    rows: int
    added: int
    counts: Counts


def build(
    out: str | Path,
    source: str | Sequence[str],
    *,
    options: BuildOptions | None = None,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> BuildResult:
    """Embed `source` and make the index folder `out`.

    Args:
        out: folder to make.
        source: folders, archives or URLs of images; or one file of ready embeddings.
        options: how it is stored.
        faces: how pictures become vectors.
        sources: how sources are read; identities come from here.
        resume: finish interrupted work; same bytes as without the interruption.
        force: replace what is there.
        progress: where to report.

    Raises:
        ScannerError, IndexesError: see their modules; what was in `out` before is then still there.
    """
    out, options, faces, progress = Path(out), options or BuildOptions(), faces or FaceOptions(), progress or Silent()
    work = work_beside(out)
    check_target(out, work, resume=resume, force=force)
    if is_finished(out, work, resume=resume):
        index = open_index(out)
        return BuildResult(
            out, index.rows, index.rows, Counts(**artefacts.read_json(out / "intake" / "0001.json")["counts"])
        )
    intake = _take_in(source, work, sources, faces, options, resume=resume, progress=progress, plan={"job": "build"})
    if resume and out.exists():
        shutil.rmtree(out)  # the job was killed after its index was made, before its work was removed
    progress.stage("index", total=intake.counts().faces or None, unit="faces")
    index = build_index(
        out,
        _blocks(intake, progress),
        fingerprint=intake.fingerprint,
        dim=intake.dim,
        schema=artefacts.REFERENCE_ROWS,
        dtype=options.dtype,
        codec=options.codec,
        embedder=_recipe(intake, faces),
        seed=options.seed,
    )
    return _finish(index, intake)


def add(
    path: str | Path,
    source: str | Sequence[str],
    *,
    options: BuildOptions | None = None,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> BuildResult:
    """Embed `source` with the index's own embedder and add its faces; items that are there already are left out."""
    path, options, faces, progress = Path(path), options or BuildOptions(), faces or FaceOptions(), progress or Silent()
    index = open_index(path)
    if faces.embedder is None:
        recipe = index.manifest.embedder
        faces = replace(faces, embedder=recipe.get("name"), detector=faces.detector or recipe.get("detector"))
    work = path.with_name(f".{path.name}.add.work")
    intake = _take_in(source, work, sources, faces, options, resume=resume, progress=progress, plan={"job": "add"})
    check_fingerprint(index, intake.fingerprint, what="what was to be added")
    progress.stage("index", total=intake.counts().faces or None, unit="faces")
    there = {*index.column("item_id").to_pylist(), *index.column("face_id").to_pylist()} - {""}
    before = index.rows
    new = (block for block in _blocks(intake, progress, leave_out=there) if len(block[0]))
    first = next(new, None)
    if first is None:
        if not resume:
            intake.done()
            raise NothingScanned(f"Every item of the source is in {path} already; nothing was added.")
        return _finish(index, intake, before=before)
    index.add(chain([first], new))
    return _finish(open_index(path), intake, before=before)


def _take_in(
    source: str | Sequence[str],
    work: Path,
    sources: SourceOptions | None,
    faces: FaceOptions,
    options: BuildOptions,
    *,
    resume: bool,
    progress: Progress,
    plan: dict[str, Any],
) -> Intake:
    return take_in(
        [source] if isinstance(source, str) else list(source), work=work, sources=sources or SourceOptions(), faces=faces,
        progress=progress, plan=plan, resume=resume, keep_crops=options.with_crops, embedded_by=options.embedded_by,
    )  # fmt: skip


def _blocks(intake: Intake, progress: Progress, *, leave_out: set[str] | None = None) -> Iterator[Block]:
    """Yield vectors with the rows that the index keeps beside them."""
    for table in intake.faces():
        n = table.num_rows
        if leave_out:
            names = zip(table["item_id"].to_pylist(), table["id"].to_pylist(), strict=True)
            new = [item not in leave_out and face not in leave_out for item, face in names]
            table = table.filter(pa.array(new, pa.bool_()))  # noqa: PLW2901 - the same rows, fewer
        columns = {
            field.name: table[field.name] for field in artefacts.REFERENCE_ROWS if field.name in table.column_names
        }
        rows = artefacts.table_of(artefacts.REFERENCE_ROWS, {**columns, "face_id": table["id"]})
        yield VectorBatch(vectors_of(table)), rows
        progress.advance(n)


def _recipe(intake: Intake, faces: FaceOptions) -> dict[str, Any]:
    """Return what a later scan needs to embed its queries alike."""
    embedder = {k: v for k, v in intake.description["embedder"].items() if not k.startswith("device")}
    return {**embedder, "detector": faces.detector, "faces": intake.description.get("faces")}


def _finish(index: Index, intake: Intake, *, before: int = 0) -> BuildResult:
    """Write what became of the sources beside the index, numbered by intake."""
    counts = intake.counts()
    folder = index.path / "intake"
    artefacts.make_private_folder(folder)
    number = sum(1 for _ in folder.glob("*.json")) + 1
    rejects = artefacts.stamped(artefacts.REJECTS, "rejects")
    artefacts.write_tables(folder / f"{number:04d}.rejects.parquet", rejects, intake.rejects())
    write_json(folder / f"{number:04d}.json", {"road": intake.description, "counts": asdict(counts)})
    intake.done()
    return BuildResult(index.path, index.rows, index.rows - before, counts)
