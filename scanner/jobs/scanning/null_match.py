"""`--null-match`: candidates and null brought to the queries' own domain, and embedded again.

    domain = measure_domain(intake, specs, sources, progress=progress)
    paths = match_galleries(against, domain=domain, out=work / "matched" / "candidates", opened_road=opened, seed=seed)
    nulls = match_galleries(null, domain=domain, out=work / "matched" / "null", opened_road=opened, seed=seed)
    account = describe(domain, [*paths, *nulls])          # scanner.jobs.scanning.match_account

A matched index has the live references of its original, row for row in order of id, with the same columns but the
crops: only the vectors differ.  Each reference draws its look by its own id, so nothing depends on order or batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import Index, VectorBatch, build_index, open_index
from indexes.atomic import write_json
from scanner import artefacts
from scanner.embedders.base import unit_rows
from scanner.errors import ArtefactError, UsageError
from scanner.faces.domain import (
    Domain,
    Landmarks,
    bring,
    shown,
    span_px,
)
from scanner.faces.quality import sharpness
from scanner.images import ImageRefused, decode_rgb
from scanner.jobs.folders import remove_folder
from scanner.jobs.options import OpenedRoad
from scanner.jobs.parts import begin_work, vectors_of
from scanner.jobs.scanning.match_account import account_of, account_path, part_paths
from scanner.pipeline import EMBED_ROWS, Road
from scanner.progress import Progress, Silent
from scanner.records import Quality
from scanner.search import check_fingerprint

ROWS: Final = 1024
"""References of one part: the unit of work and of resuming, and 40 MB of pixels."""


def match_galleries(
    paths: Sequence[str | Path],
    *,
    domain: Domain,
    out: Path,
    opened_road: OpenedRoad,
    seed: int,
    progress: Progress | None = None,
    resume: bool = False,
) -> list[Path]:
    """Make a matched copy of each index in the folder `out`, under its own name.

    Work is kept in parts: a killed job that is resumed leaves the same bytes.  In memory are one part, and one row
    group of crops (16 384) as the index reads them.

    Args:
        paths: index folders built with `--with-crops`, with different names.
        domain: of the queries.
        out: folder for the copies; made, or taken up with `resume`.
        opened_road: the road of the queries; its network embeds the brought crops.
        seed: of the draws.
        progress: where to report.
        resume: take up what is in `out`.

    Raises:
        UsageError: an index has a reference without its crop; `out` holds unfinished work and `resume` is not set.
        EmbedderMismatch: an index is of another embedder.
        RunMismatch: what is in `out` was for other indexes or another domain.
    """
    progress = progress or Silent()
    indexes = [open_index(Path(path)) for path in paths]
    for index in indexes:
        check_fingerprint(index, opened_road.fingerprint, what="the queries' embedder")
        _check_ends(index)
    plan = {
        "job": "null-match",
        "indexes": [{"name": _name(i), "manifest_sha256": i.manifest_sha256} for i in indexes],
        "domain": domain.digest,
        "seed": seed,
        "fingerprint": opened_road.fingerprint,
    }
    begin_work(out, plan, resume=resume)
    progress.stage("null match", total=sum(index.rows for index in indexes), unit="references")
    return [_match(index, domain, out, opened_road.road, seed, progress) for index in indexes]


def _match(index: Index, domain: Domain, out: Path, road: Road, seed: int, progress: Progress) -> Path:
    """Make the matched copy of one index, part by part."""
    made, parts = out / _name(index), out / f".{_name(index)}.parts"
    if not made.exists():
        artefacts.make_private_folder(parts)
        references = index.references()
        rows = references.live_rows()
        schema = artefacts.stamped(_part_schema(index.dim), "matched", fingerprint=index.fingerprint)
        matcher = _Matcher(index, domain, road, seed)
        pool = ThreadPoolExecutor(road.workers)
        try:
            for number, start in enumerate(range(0, len(rows), ROWS)):
                chosen = rows[start : start + ROWS]
                path = parts / f"{number:06d}.parquet"
                if not path.exists():
                    table = index.lookup(references.ids[chosen], ["face_id", "box", "quality", "crop_png"])
                    part = _part(schema, table, references.gather(chosen), matcher, pool)
                    artefacts.write_tables(path, schema, [part])
                progress.advance(len(chosen))
        finally:
            pool.shutdown(cancel_futures=True)  # whoever interrupts does not wait for the rest of the part
        write_json(account_path(made), account_of(index, part_paths(parts)))
        _build(index, made, parts)
    remove_folder(parts)
    return made


@dataclass(frozen=True, slots=True)
class _Matcher:
    """How one reference's crop becomes a matched vector.  Thread-safe."""

    index: Index
    domain: Domain
    road: Road
    seed: int

    def crops(self, rows: Sequence[dict[str, Any]]) -> list[tuple[NDArray[np.uint8], dict[str, Any]]]:
        """Return the brought crops and what was done to each."""
        width, height = self.road.embedder.crop_size_px
        frame, own_frame = self.domain.landmarks, _frame_of(self.index)
        fill = None if frame is None or frame == own_frame else shown(frame, side_px=height)
        found = []
        for row in rows:
            crop = _decode(row, self.index, (width, height))
            own = span_px(row["box"], Quality(**row["quality"]), landmarks=own_frame)
            look = self.domain.draw(row["face_id"], seed=self.seed)
            brought = bring(crop, look, own_px=own, fill=fill)
            account = {
                "size_before": own,
                "size_after": min(own, look.size_px),
                "sharpness": sharpness(brought),
                "changed": not np.array_equal(brought, crop),
            }
            found.append((brought, account))
        return found


def _part(
    schema: pa.Schema, table: pa.Table, old: NDArray[np.float32], matcher: _Matcher, pool: ThreadPoolExecutor
) -> pa.Table:
    """Bring and embed some references; a crop that did not change keeps its vector."""
    _check_crops(table, matcher.index)
    rows = table.to_pylist()
    batches = [rows[start : start + EMBED_ROWS] for start in range(0, len(rows), EMBED_ROWS)]

    def work(batch: list[dict[str, Any]]) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        done = matcher.crops(batch)
        vectors = np.full((len(done), old.shape[1]), np.nan, np.float32)
        changed = [place for place, (_, account) in enumerate(done) if account["changed"]]
        if changed:
            vectors[changed] = matcher.road.embedder.embed(np.stack([done[place][0] for place in changed]))
        return vectors, [account for _, account in done]

    results = list(pool.map(work, batches))
    vectors = np.concatenate([found for found, _ in results])
    accounts = [account for _, found in results for account in found]
    new = np.isfinite(vectors).all(axis=1)
    vectors[~new] = unit_rows(old[~new])
    embedded = new | ~np.array([account["changed"] for account in accounts])
    columns: dict[str, Any] = {
        name: [account[name] for account in accounts] for name in ("size_before", "size_after", "sharpness", "changed")
    }
    columns["embedded"] = pa.array(embedded)
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1]
    )
    return artefacts.table_of(schema, columns)


def _build(index: Index, made: Path, parts: Path) -> None:
    """Write the finished parts as an index like the original."""
    manifest, references = index.manifest, index.references()
    ids = references.ids[references.live_rows()]
    schema = index.lookup(ids[:1]).drop_columns(["id"]).schema
    build_index(
        made, _blocks(index, ids, schema, parts), fingerprint=index.fingerprint, dim=index.dim, schema=schema,
        dtype=manifest.dtype, codec=manifest.codec_wanted, embedder=manifest.embedder, seed=manifest.seed,
    )  # fmt: skip
    made.chmod(artefacts.PRIVATE)


def _blocks(
    index: Index, ids: NDArray[np.int64], schema: pa.Schema, parts: Path
) -> Iterator[tuple[VectorBatch, pa.Table]]:
    kept = [name for name in schema.names if name != artefacts.CROP_FIELD.name]
    start = 0
    for path in part_paths(parts):
        vectors = vectors_of(artefacts.read_table(path, "matched", columns=["embedding"]))
        table = index.lookup(ids[start : start + len(vectors)], kept)
        yield VectorBatch(vectors), artefacts.table_of(schema, {name: table[name] for name in kept})
        start += len(vectors)


def _check_ends(index: Index) -> None:
    """Refuse an index without crops before any long work: all come or go with one build or add."""
    references = index.references()
    rows = references.live_rows()
    if len(rows):
        _check_crops(index.lookup(references.ids[rows[[0, -1]]], ["crop_png"]), index)


def _check_crops(table: pa.Table, index: Index) -> None:
    missing = table["crop_png"].null_count
    if missing:
        raise UsageError(
            f"The index {index.path.name} keeps no crops of some references, and --null-match brings crops to the "
            "queries' size and compression. Build it again with its crops: "
            f"scanner index build {index.path} SOURCE --with-crops --force"
        )


def _decode(row: dict[str, Any], index: Index, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        crop = decode_rgb(row["crop_png"])
    except ImageRefused as refused:
        raise ArtefactError(
            f"The crop of {row['face_id']} in the index {index.path.name} cannot be read: {refused.detail}. "
            f"Run: scanner index verify {index.path}"
        ) from refused
    if crop.shape[1::-1] != size_px:
        raise ArtefactError(
            f"The crop of {row['face_id']} in the index {index.path.name} has {crop.shape[1]}x{crop.shape[0]} pixels, "
            f"the network takes {size_px[0]}x{size_px[1]}. Build the index again with --with-crops."
        )
    return crop


def _frame_of(index: Index) -> Landmarks | None:
    """Return where the landmarks lie in an index's pictures, if it was told so."""
    told = (index.manifest.embedder.get("faces") or {}).get("landmarks")
    return None if told is None else tuple((float(x), float(y)) for x, y in told)


def _part_schema(dim: int) -> pa.Schema:
    numbers = [pa.field(name, pa.float32(), nullable=False) for name in ("size_before", "size_after", "sharpness")]
    flags = [pa.field(name, pa.bool_(), nullable=False) for name in ("changed", "embedded")]
    return pa.schema([*numbers, *flags, pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False)])


def _name(index: Index) -> str:
    return index.path.resolve().name
