"""Candidate data sets → an index; and what is added to one or erased from it later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from indexes import Index, VectorBatch, build_index, open_index
from indexes.atomic import encode_json, sync_folder, write_json
from scanner import artefacts
from scanner.errors import NothingScanned
from scanner.jobs.embedding.intake import Intake, take_in
from scanner.jobs.folders import check_same_sources, check_target, is_finished, remove_folder, sweep, work_beside
from scanner.jobs.measuring.meter import COSTS_NAME, Meter, machine_here, write_costs
from scanner.jobs.measuring.predict import faces_memory_bytes, faces_seconds, index_cost
from scanner.jobs.options import FaceOptions, SourceOptions, changed_faces, like_index
from scanner.jobs.parts import vectors_of
from scanner.jobs.workers import Workers
from scanner.progress import Progress, Silent
from scanner.records import Counts
from scanner.search import check_fingerprint
from scanner.sources.location import clean_uri

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
    """The index, and what became of every entry of the sources; `costs` as in the index's `costs.json`, if it was written."""

    path: Path
    rows: int
    added: int
    counts: Counts
    costs: dict[str, Any] | None = field(default=None, repr=False, compare=False)


def build(
    out: str | Path,
    source: str | Sequence[str],
    *,
    options: BuildOptions | None = None,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    workers: Workers | None = None,
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
        workers: who embeds; None for this process.
        progress: where to report.

    Raises:
        ScannerError, IndexesError: see their modules; what was in `out` before is then still there.
    """
    out, meter = Path(out), Meter(progress or Silent())
    options, faces = options or BuildOptions(), faces or FaceOptions()
    specs, work = _listed(source), work_beside(out)
    check_target(out, work, kind="index", resume=resume, force=force)
    if is_finished(out, work, resume=resume):
        index, account = open_index(out), artefacts.read_json(out / "intake" / "0001.json")
        check_same_sources(out, account, specs, _changed(index, options, faces, account))
        return BuildResult(out, index.rows, index.rows, Counts(**account["counts"]))
    intake = _take_in(
        specs, work, sources, faces, options, resume=resume, workers=workers, progress=meter, plan={"job": "build"},
        make_room=partial(remove_folder, work) if force else lambda: None,
    )  # fmt: skip
    meter.stage("index", total=intake.counts().faces or None, unit="faces")
    made = work / "index"
    remove_folder(made)  # of a job that was killed
    index = build_index(
        made,
        blocks_of(intake, meter),
        fingerprint=intake.fingerprint,
        dim=intake.dim,
        schema=artefacts.REFERENCE_ROWS,
        dtype=options.dtype,
        codec=options.codec,
        embedder=recipe_of(intake, faces),
        seed=options.seed,
    )
    if index.column("identity").null_count == index.rows:
        meter.note("no reference has an identity; for one sub-folder a person, pass --identity-from folder")
    write_account(index, intake, specs)
    taken = _write_costs(index, meter, intake, specs, sources, options, resume=resume)
    made.chmod(artefacts.PRIVATE)
    remove_folder(out)
    made.rename(out)  # whole: an index that was there before is there until now
    sync_folder(out.parent)
    counts = intake.counts()
    intake.done()
    return BuildResult(out, index.rows, index.rows, counts, taken)


def add(
    path: str | Path,
    source: str | Sequence[str],
    *,
    options: BuildOptions | None = None,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> BuildResult:
    """Embed `source` with the index's own embedder and add its faces; items that are there already are left out.

    Arguments as of `build`, but `force` throws away unfinished work only, never what the index holds.
    """
    path, options, meter = Path(path), options or BuildOptions(), Meter(progress or Silent())
    index = open_index(path)
    faces = like_index(faces or FaceOptions(), index.manifest.embedder)
    specs, work = _listed(source), path.with_name(f".{path.name}.add.work")
    sweep(path / "intake")
    sweep(path, [COSTS_NAME])
    if index.manifest.erasures:
        meter.note(
            "references were erased from this index before; a source that still has their pictures brings them back"
        )
    intake = _take_in(
        specs, work, sources, faces, options, resume=resume, workers=workers, progress=meter, plan={"job": "add"},
        make_room=partial(remove_folder, work) if force else lambda: None,
    )  # fmt: skip
    check_fingerprint(index, intake.fingerprint, what="what was to be added")
    meter.stage("index", total=intake.counts().faces or None, unit="faces")
    before, size_before = open_index(path), _size_bytes(path)  # `index` itself will know of what was added
    if add_new(index, intake, meter):
        index = open_index(path)
    elif not resume:
        intake.done()
        raise NothingScanned(f"Every item of the source is in {path} already; nothing was added.")
    write_account(index, intake, specs, resume=resume)
    taken = _write_costs(
        index, meter, intake, specs, sources, options, resume=resume, before=before, size_before=size_before
    )
    counts = intake.counts()
    intake.done()
    return BuildResult(path, index.rows, index.rows - before.rows, counts, taken)


def add_new(index: Index, intake: Intake, progress: Progress) -> bool:
    """Add the faces of items that an index has not; return whether there were any."""
    there = {*index.column("item_id").to_pylist(), *index.column("face_id").to_pylist()} - {""}
    new = (block for block in blocks_of(intake, progress, schema=index.schema, leave_out=there) if len(block[0]))
    first = next(new, None)
    if first is not None:
        index.add(chain([first], new))
    return first is not None


def _changed(index: Index, options: BuildOptions, faces: FaceOptions, account: dict[str, Any]) -> list[str]:
    """Return which options differ from those that a finished index was built with."""
    stored = {name: getattr(options, name) != getattr(index.manifest, name) for name in ("dtype", "seed")}
    stored["codec"] = options.codec != index.manifest.codec_wanted
    return sorted([*(name for name, differs in stored.items() if differs), *changed_faces(faces, account["road"])])


def _listed(source: str | Sequence[str]) -> list[str]:
    return [source] if isinstance(source, str) else list(source)


def _take_in(
    specs: Sequence[str],
    work: Path,
    sources: SourceOptions | None,
    faces: FaceOptions,
    options: BuildOptions,
    *,
    resume: bool,
    workers: Workers | None,
    progress: Progress,
    plan: dict[str, Any],
    make_room: Callable[[], None],
) -> Intake:
    return take_in(
        specs, work=work, sources=sources or SourceOptions(), faces=faces,
        progress=progress, plan=plan, resume=resume, keep_crops=options.with_crops, embedded_by=options.embedded_by,
        workers=workers, make_room=make_room,
    )  # fmt: skip


def blocks_of(
    intake: Intake,
    progress: Progress,
    *,
    schema: pa.Schema = artefacts.REFERENCE_ROWS,
    leave_out: set[str] | None = None,
) -> Iterator[Block]:
    """Yield vectors with the rows that the index keeps beside them; an index of an older scanner keeps fewer columns."""
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
        yield VectorBatch(vectors_of(table)), rows.select(schema.names)
        progress.advance(n)


def recipe_of(intake: Intake, faces: FaceOptions) -> dict[str, Any]:
    """Return what a later scan needs to embed its queries alike."""
    embedder = {k: v for k, v in intake.description["embedder"].items() if not k.startswith("device")}
    return {**embedder, "detector": faces.detector, "faces": intake.description.get("faces")}


def write_account(index: Index, intake: Intake, specs: Sequence[str], *, resume: bool = False) -> None:
    """Write what became of the sources beside the index, numbered by intake."""
    account = {
        "sources": [clean_uri(spec) for spec in specs],
        "road": intake.description,
        "counts": asdict(intake.counts()),
    }
    folder = index.path / "intake"
    artefacts.make_private_folder(folder)
    number = sum(1 for _ in folder.glob("*.json")) + 1
    last = folder / f"{number - 1:04d}.json"
    if resume and last.exists() and last.read_bytes() == encode_json(account):
        return  # the job was killed after it wrote this, before its work was removed
    rejects = artefacts.stamped(artefacts.REJECTS, "rejects")
    artefacts.write_tables(folder / f"{number:04d}.rejects.parquet", rejects, intake.rejects())
    write_json(folder / f"{number:04d}.json", account)


def _write_costs(
    index: Index,
    meter: Meter,
    intake: Intake,
    specs: Sequence[str],
    sources: SourceOptions | None,
    options: BuildOptions,
    *,
    resume: bool,
    before: Index | None = None,
    size_before: int = 0,
) -> dict[str, Any]:
    """Write what building took, or adding to the index as it was `before`, beside what was predicted, into the index.

    A prediction of adding leaves out reading the names of all that was there.
    """
    machine = machine_here(meter)
    predicted, size = faces_seconds(machine.profile, intake.description, specs, sources or SourceOptions())
    cost = index_cost(
        machine.profile, index.rows - (before.rows if before else 0), index.dim, dtype=index.manifest.dtype,
        coded=bool(index.manifest.codec), fitted=bool(before and before.manifest.codec), crops=options.with_crops,
    )  # fmt: skip
    disk = memory = None
    if cost is not None:
        memory = max(cost.memory_bytes + cost.mapped_bytes, faces_memory_bytes(size, intake.counts().entries) or 0)
        predicted["index"] = lambda _: cost.seconds
        disk = cost.disk_bytes, _size_bytes(index.path) - size_before
    return write_costs(
        index.path / COSTS_NAME, meter, job="index add" if before else "index build", resumed=resume, machine=machine,
        predicted=predicted, memory_bytes=memory, disk_bytes=disk,
    )  # fmt: skip


def _size_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
