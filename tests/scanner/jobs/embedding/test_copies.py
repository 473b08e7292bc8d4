"""Near-copies among matches, by hash and by a copy-detection network with an index of its own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from drawn_people import BY_FOLDER, FACES, crop, name, photos_of, write_people
from PIL import Image

from indexes import VectorBatch, build_index, open_index
from scanner import artefacts
from scanner.errors import ArtefactError, CalibrationError, EmbedderMismatch, UsageError
from scanner.faces.copy_hash import crop_hash
from scanner.jobs.embedding.copies import embed_for_copies, near_copies, open_copies, reference_hashes
from scanner.jobs.embedding.embed import embed
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.parts import vectors_of
from scanner.progress import Silent
from scanner.records import content_id

PEOPLE = photos_of(range(80), range(2))


def jpeg(number: int, photo: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(crop(number, photo)).save(stream, "JPEG", quality=60)
    return stream.getvalue()


@pytest.fixture
def network(write_onnx: Callable[..., Path]) -> str:
    """A small network that knows pictures and not people: a coarse copy of the picture itself."""
    from onnx import helper

    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[8, 8], strides=[8, 8])
    path = write_onnx([pool], shape=("n", 3, 112, 112), name="copies.onnx")
    path.with_suffix(".json").write_text(json.dumps({"licence": "none"}))
    return f"onnx:{path}"


@pytest.fixture
def world(tmp_path: Path, network: str) -> dict[str, Any]:
    """Photos, their copy index, and queries: three copies, two other photos of indexed people, a stranger."""
    photos = write_people(tmp_path / "photos", PEOPLE)
    faces = FaceOptions(embedder=network, faces="whole", workers=2)
    build(tmp_path / "copies.idx", str(photos), faces=faces, sources=BY_FOLDER)
    queries = tmp_path / "queries"
    queries.mkdir()
    shown = [(3, 0), (4, 1), (5, 0), (6, 2), (7, 2), (90, 0)]
    for number, photo in shown:
        (queries / f"{name(number)}-{photo}.jpg").write_bytes(jpeg(number, photo))
    return {"photos": photos, "queries": queries, "shown": shown, "index": tmp_path / "copies.idx"}


def item(world: dict[str, Any], number: int, photo: int) -> str:
    return content_id((world["photos"] / name(number) / f"{photo}.png").read_bytes())


def query_items(world: dict[str, Any]) -> list[str]:
    return [content_id(jpeg(number, photo)) for number, photo in world["shown"]]


def looked_up(world: dict[str, Any], tmp_path: Path, **changed: Any) -> Any:
    chosen: dict[str, Any] = {"work": tmp_path / "work", "faces": FaceOptions(workers=2), "sources": SourceOptions()}
    chosen |= {"progress": Silent(), "resume": False, **changed}
    return embed_for_copies([str(world["queries"])], open_copies(world["index"], seed=0), **chosen)


def test_copies_reach_the_level_and_other_photos_of_the_person_do_not(world: dict[str, Any], tmp_path: Path) -> None:
    found = looked_up(world, tmp_path)

    references = [item(world, number, min(photo, 1)) for number, photo in world["shown"][:5]]
    values = found.score(query_items(world)[:5], references)

    assert found.near(values).tolist() == [True, True, True, False, False]
    assert found.copies.level.fmr <= 1e-3
    assert found.copies.level.non_mated_pairs == 160 * 159 // 2


def test_the_score_is_that_of_the_two_pictures_worked_out_by_hand(world: dict[str, Any], tmp_path: Path) -> None:
    found = looked_up(world, tmp_path)

    values = found.score(query_items(world)[:1], [item(world, 3, 0)])

    query = np.asarray(Image.open(io.BytesIO(jpeg(3, 0))).convert("RGB"), np.float64)
    left, right = ((p - 127.5).reshape(14, 8, 14, 8, 3).mean((1, 3)).ravel() for p in (query, crop(3, 0).astype(float)))
    assert values[0] == pytest.approx(left @ right / np.linalg.norm(left) / np.linalg.norm(right), abs=1e-6)


def test_a_picture_that_the_copy_index_lacks_has_no_score(world: dict[str, Any], tmp_path: Path) -> None:
    found = looked_up(world, tmp_path)

    values = found.score([*query_items(world)[:1], "0" * 32], ["0" * 32, item(world, 3, 0)])

    assert np.isnan(values).all()
    assert found.near(values).tolist() == [False, False]


def test_work_that_was_interrupted_goes_on(world: dict[str, Any], tmp_path: Path) -> None:
    first = looked_up(world, tmp_path)
    with pytest.raises(UsageError, match="unfinished work"):
        looked_up(world, tmp_path)

    again = looked_up(world, tmp_path, resume=True)

    assert again.vectors.tobytes() == first.vectors.tobytes()
    assert again.places == first.places


def test_an_index_without_pictures_is_refused(world: dict[str, Any], network: str, tmp_path: Path) -> None:
    faces = FaceOptions(embedder=network, faces="whole", workers=2)
    embed(str(world["queries"]), tmp_path / "q.parquet", faces=faces)
    build(tmp_path / "ready.idx", str(tmp_path / "q.parquet"))

    with pytest.raises(ArtefactError, match="was built from ready embeddings, which have no pictures"):
        open_copies(tmp_path / "ready.idx", seed=0)


def test_an_index_too_small_for_a_level_is_refused(world: dict[str, Any], network: str, tmp_path: Path) -> None:
    build(tmp_path / "few.idx", str(world["queries"]), faces=FaceOptions(embedder=network, faces="whole", workers=2))

    with pytest.raises(CalibrationError, match="has 6 pictures, too few"):
        open_copies(tmp_path / "few.idx", seed=0)


def test_ready_embeddings_are_refused(world: dict[str, Any], tmp_path: Path) -> None:
    embed(str(world["queries"]), tmp_path / "q.parquet", faces=FACES)

    with pytest.raises(UsageError, match="--copies compares pictures"):
        looked_up({**world, "queries": tmp_path / "q.parquet"}, tmp_path)


def test_another_network_under_the_same_name_is_refused(world: dict[str, Any], network: str, tmp_path: Path) -> None:
    Path(network.removeprefix("onnx:")).with_suffix(".json").write_text(json.dumps({"scale": 1.0}))

    with pytest.raises(EmbedderMismatch, match="the network of that name on this machine"):
        looked_up(world, tmp_path)


def test_every_face_of_a_source_has_its_hash_and_keeps_it_in_files_and_indexes(tmp_path: Path) -> None:
    photos = write_people(tmp_path / "photos", PEOPLE[:6])
    expected = [crop_hash(crop(number, photo)) for number, photo in PEOPLE[:6]]

    embed(str(photos), tmp_path / "e.parquet", faces=FACES, sources=BY_FOLDER)
    build(tmp_path / "idx", str(tmp_path / "e.parquet"))

    assert artefacts.read_table(tmp_path / "e.parquet", "embeddings")["crop_hash"].to_pylist() == expected
    index = open_index(tmp_path / "idx")
    assert reference_hashes(index, index.references().ids[::-1].copy()).to_pylist() == expected[::-1]


def test_embeddings_of_an_older_scanner_have_no_hash_and_are_no_copies(tmp_path: Path) -> None:
    photos = write_people(tmp_path / "photos", PEOPLE[:6])
    embed(str(photos), tmp_path / "new.parquet", faces=FACES, sources=BY_FOLDER)
    table = artefacts.read_table(tmp_path / "new.parquet", "embeddings")
    old = table.drop_columns(["crop_hash"])
    known = {key: value for key, value in table.schema.metadata.items() if key != b"identity_leak.columns"}
    schema = old.schema.with_metadata(known)  # an older scanner did not write its columns down
    artefacts.write_tables(tmp_path / "old.parquet", schema, [old])

    build(tmp_path / "idx", str(tmp_path / "old.parquet"), options=BuildOptions())

    index = open_index(tmp_path / "idx")
    hashes = reference_hashes(index, index.references().ids)
    assert hashes.null_count == 6
    assert index.column("quality").to_pylist() == table["quality"].to_pylist()
    assert near_copies(table["crop_hash"], hashes).tolist() == [False] * 6


def test_an_index_of_an_older_scanner_has_no_hash(tmp_path: Path) -> None:
    photos = write_people(tmp_path / "photos", PEOPLE[:6])
    embed(str(photos), tmp_path / "e.parquet", faces=FACES, sources=BY_FOLDER)
    table = artefacts.read_table(tmp_path / "e.parquet", "embeddings")
    columns = {name: table[name] for name in table.column_names if name in artefacts.REFERENCE_ROWS.names}
    rows = artefacts.table_of(artefacts.REFERENCE_ROWS, {**columns, "face_id": table["id"]}).drop_columns(["crop_hash"])
    block = (VectorBatch(vectors_of(table)), rows)
    index = build_index(tmp_path / "idx", [block], fingerprint="old", dim=128, schema=rows.schema)

    assert reference_hashes(index, index.references().ids).null_count == 6


def test_matches_are_near_copies_by_their_hashes() -> None:
    hashes = [crop_hash(crop(number, photo)) for number, photo in ((0, 0), (0, 0), (1, 0), (2, 0))]
    others = [crop_hash(crop(0, 0)), crop_hash(crop(0, 0)[:, ::-1].copy()), crop_hash(crop(40, 0)), None]

    found = near_copies(pa.chunked_array([hashes], pa.binary(8)), pa.chunked_array([others], pa.binary(8)))

    assert found.tolist() == [True, True, False, False]
    assert near_copies(*(pa.chunked_array([], pa.binary(8)) for _ in range(2))).tolist() == []
