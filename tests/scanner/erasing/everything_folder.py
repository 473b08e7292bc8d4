"""A folder with one of everything that the scanner writes, in which one person is named nearly everywhere.

Person 3 has two photos.  One of them was scanned as well, without a label, and is in an embeddings file without labels;
a reconstruction of it was scanned too.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from drawn_people import BY_FOLDER, FACES, crop, name, photos_of, png, write_people

from indexes.atomic import write_json
from scanner import BuildOptions, ScanOptions, SourceOptions, artefacts, build, scan
from scanner.images import encode_png
from scanner.jobs.embedding.embed import embed
from scanner.jobs.embedding.intake import take_in
from scanner.jobs.generating.generated_shards import Made, write_shard
from scanner.jobs.indexing.dedupe import dedupe
from scanner.jobs.scanning.evidence import file_sha256
from scanner.progress import Silent
from scanner.records import content_id

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
GONE = name(3)
ITEMS = tuple(content_id(png(3, photo)) for photo in range(2))
RECREATED = encode_png(np.ascontiguousarray(crop(3, 0)[:, ::-1] // 2 + 60))


def write_everything(folder: Path) -> Path:
    """Write people/, null/ and generated/ (sources) and state/ (results)."""
    people = write_people(folder / "people", photos_of(range(12), range(2)))
    (people / GONE / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (people / name(4) / "again.png").write_bytes(png(4, 1))
    null = write_people(folder / "null", photos_of(range(100, 215), [0]))
    generated = write_people(folder / "generated", photos_of([2, 5, 20, 21, 22, 23], [2]))
    (generated / "same.png").write_bytes(png(3, 0))
    (generated / "recreated.png").write_bytes(RECREATED)
    state = folder / "state"
    artefacts.make_private_folder(state)
    keep, coded = BuildOptions(with_crops=True), BuildOptions(codec="always")
    build(state / "people.idx", str(people), faces=FACES, sources=BY_FOLDER, options=keep)
    build(state / "null.idx", str(null), faces=FACES, sources=BY_FOLDER, options=coded)
    embed(str(people), state / "faces.parquet", faces=FACES, keep_crops=True)
    options = ScanOptions(threshold=0.6, null=(str(state / "null.idx"),), with_crops=True)
    scan(str(generated), against=state / "people.idx", out=state / "run", faces=FACES, options=options)
    dedupe(state / "people.idx", out=state / "twice", options=ScanOptions(threshold=0.5, with_crops=True))
    _begin(people, state / ".half.parquet.work")
    _begin(null, state / ".other.parquet.work")
    _generated(state / "samples")
    _inverted(state / "inverted")
    _night(state)
    (state / "run" / ".queries.parquet.999999.tmp").write_bytes(b"half a table")
    (state / "notes.txt").write_text("whatever somebody keeps here\n")
    (state / "link").symlink_to(folder / "people")
    return folder


def _begin(source: Path, work: Path) -> None:
    """Leave the work of a job that was killed."""
    take_in([str(source)], work=work, sources=SourceOptions(), faces=FACES, progress=Silent(), plan={"job": "embed"})


def _generated(folder: Path) -> None:
    """Four generated pictures, one of which is a training photo byte for byte; as tar and as Parquet."""
    artefacts.make_private_folder(folder)
    pictures = [Made(number, png(*photo)) for number, photo in enumerate([(30, 0), (3, 0), (31, 0), (32, 0)])]
    shards = []
    for shard, form in enumerate(("tar", "parquet")):
        path = folder / f"images-{shard:06d}.{form}"
        write_shard(path, form, pictures, fingerprint="gen")
        size = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        shards.append({"name": path.name, "images": 4, **size})
    write_json(folder / "generated.json", {"job": "generate", "counts": {"images": 8}, "shards": shards})


def _inverted(folder: Path) -> None:
    import io
    import tarfile

    artefacts.make_private_folder(folder)
    photos = [(3, 0), (4, 0)]
    with tarfile.open(folder / "reconstructions-000000.tar", "w") as tar:
        for photo in photos:
            item, made = content_id(png(*photo)), RECREATED if photo[0] == 3 else png(40, 0)
            label = json.dumps({"identity": name(photo[0])}).encode()
            for member, data in ((f"{item}.png", made), (f"{item}.json", label)):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    schema = artefacts.stamped(artefacts.INVERSIONS, "inversions", fingerprint="gen")
    columns = {
        "item_id": [content_id(png(*photo)) for photo in photos], "uri": [f"p/{n}.png" for n, _ in photos],
        "identity": [name(n) for n, _ in photos], "status": ["stalled"] * 2, "restarts": [1, 1], "steps": [3, 3],
        "latent": [[0.5, 1.5], [2.5, 3.5]],
    }  # fmt: skip
    artefacts.write_tables(folder / "inversions.parquet", schema, [artefacts.table_of(schema, columns)])
    write_json(folder / "inversions.json", {"format": "identity-leak-inversions", "sources": ["p"], "counts": {}})


def _night(state: Path) -> None:
    """What a nightly job keeps beside its indexes."""
    write_json(state / "job.json", {"format": "identity-leak-job", "format_version": 1})
    queries = state / "queries" / "gen"
    artefacts.make_private_folder(queries)
    shutil.copy(state / "faces.parquet", queries / "000001.parquet")
    shutil.copy(state / "faces.rejects.parquet", queries / "000001.rejects.parquet")
    rows = artefacts.open_artefact(queries / "000001.parquet", "embeddings").metadata.num_rows
    write_json(queries / "000001.json", {"counts": {}, "faces": rows, "fingerprint": "f", "dim": 128})
    seen = artefacts.read_table(queries / "000001.parquet", "embeddings").select(["uri", "item_id"])
    seen = artefacts.stamped(seen.schema, "seen"), seen
    artefacts.write_tables(state / "queries" / "gen.seen.parquet", seen[0], [seen[1]])
    compared = state / "compared" / "gen"
    artefacts.make_private_folder(compared)
    pairs = pa.schema([("query", pa.int64()), ("reference_id", pa.int64()), ("score", pa.float32())])
    pairs = artefacts.stamped(pairs, "compared_pairs")
    artefacts.write_tables(compared / "1.pairs.parquet", pairs, [pairs.empty_table()])
    for night in (1, 2):
        folder = state / "nights" / f"{night:06d}"
        artefacts.make_private_folder(folder)
        shutil.copytree(state / "run", folder / "gen")
        found = [{"index": "people.idx", "identity": GONE}, {"index": "people.idx", "identity": name(5)}]
        write_json(
            folder / "night.json",
            {"format": "identity-leak-night", "new": found},
        )
    findings = [
        {"index": "people.idx", "identity": who, "uri": None, "reason": "looked at", "seen_in": "1/gen"}
        for who in (GONE, name(5))
    ]
    write_json(
        state / "acknowledged.json",
        {"format": "identity-leak-acknowledged", "format_version": 1, "findings": findings},
    )
