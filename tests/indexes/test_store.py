"""Index folders: built, opened, looked up, changed, and refused when they are not sound."""

import errno
import json
import os
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from facelike_tables import SCHEMA, blocks_of, table_of
from facelike_vectors import DIM, draw_faces, folder_bytes

from indexes import VectorBatch, build_index, open_index
from indexes.codec import Codec
from indexes.codec_file import encode_codec
from indexes.errors import (
    DiskFullError,
    FormatError,
    IndexesError,
    LockedError,
    MismatchError,
    UnknownIdError,
    VectorError,
)
from indexes.lock import write_lock
from indexes.tensor_file import TensorWriter, open_tensor

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def build(path, vectors, **options):
    settings = {
        "fingerprint": "net@1",
        "dim": DIM,
        "schema": SCHEMA,
        "segment_rows_max": 100,
        "codec": "none",
        **options,
    }
    return build_index(path, blocks_of(vectors, rows_max=37), **settings)


@pytest.fixture(scope="module")
def vectors():
    return draw_faces(90, 3, seed=7)


@pytest.fixture
def index(tmp_path, vectors):
    return build(tmp_path / "index", vectors, codec="always", embedder={"name": "net"})


def test_vectors_that_rounding_to_half_precision_takes_out_of_bounds_are_refused(tmp_path, vectors):
    """Such an index could be built, but neither verified nor compacted."""
    long = vectors * np.float32(1.00099)

    with pytest.raises(VectorError, match=r"as float16 .* L2 norm 1 within 0\.001: row "):
        build(tmp_path / "half", long, dtype="float16")

    assert not (tmp_path / "half").exists()
    assert build(tmp_path / "single", long).verify() == []


def test_what_was_written_is_what_is_read(index, vectors):
    again = open_index(index.path, fingerprint="net@1")

    assert again.references().gather(np.arange(270)).tobytes() == vectors.tobytes()
    assert [segment.rows for segment in again.manifest.segments] == [100, 100, 70]
    assert (again.rows, again.dim, again.fingerprint) == (270, DIM, "net@1")
    assert again.manifest.embedder == {"name": "net"}
    assert again.verify() == []


def test_block_sizes_do_not_change_a_byte(tmp_path, index, vectors):
    settings = {"fingerprint": "net@1", "dim": DIM, "schema": SCHEMA, "segment_rows_max": 100, "codec": "always"}
    for rows_max in (1, 100, 270):
        path = tmp_path / f"{rows_max}"
        build_index(path, blocks_of(vectors, rows_max=rows_max), **settings, embedder={"name": "net"})
        assert folder_bytes(path) == folder_bytes(index.path)


def test_half_precision_halves_the_vectors(tmp_path, vectors):
    index = build(tmp_path / "half", vectors, dtype="float16")

    assert index.references().vector_bytes == 270 * DIM * 2
    assert np.array_equal(index.references().gather(np.arange(270)), vectors.astype(np.float16).astype(np.float32))


def test_lookup_returns_rows_in_the_order_asked(index):
    table = index.lookup([269, 0, 104, 0], columns=["ordinal", "identity"])

    assert table.to_pydict() == {"ordinal": [2, 0, 2, 0], "identity": ["p89", "p0", "p34", "p0"]}
    assert index.lookup([]).num_rows == 0
    assert index.lookup([3]).column_names == ["id", "identity", "ordinal"]


def test_lookup_refuses_unknown_ids_and_columns(index):
    with pytest.raises(UnknownIdError, match="no reference with id 270, -1"):
        index.lookup([270, 3, -1])
    with pytest.raises(MismatchError, match="no column name; it has id, identity, ordinal"):
        index.lookup([3], columns=["name"])


def test_another_embedder_is_refused_with_advice(index):
    with pytest.raises(MismatchError) as caught:
        open_index(index.path, fingerprint="net@2")

    assert str(caught.value) == (
        "index 'index' was built with embedder net@1, this run uses net@2. Scores between them mean nothing. "
        "Build the index again with net@2, or use the embedder net@1."
    )


def test_ids_go_on_and_are_never_used_again(index, vectors):
    index.remove(ids=[269])
    index.compact()

    index.add(blocks_of(vectors[:5]))

    assert index.references().ids[-6:].tolist() == [268, 270, 271, 272, 273, 274]
    assert index.verify() == []
    assert index.rows == 274


def test_erasing_by_metadata_hides_the_rows_and_leaves_a_record(index):
    record = index.remove(where={"identity": ["p1", "p40"]}, request="case 7", clock=lambda: NOON)

    assert record.ids == [3, 4, 5, 120, 121, 122]
    assert index.rows == 264
    assert index.column("identity").to_pylist()[:5] == ["p0", "p0", "p0", "p2", "p2"]
    with pytest.raises(UnknownIdError, match="id 4"):
        index.lookup([4])
    stored = json.loads((index.path / "erasures" / "000000.json").read_text())
    assert stored["erased_at"] == "2026-01-02T12:00:00+00:00"
    assert stored["request"] == "case 7"
    assert "p40" not in json.dumps(stored)
    assert index.verify() == []


def test_erasing_what_is_not_there_is_refused(index):
    with pytest.raises(UnknownIdError, match="nothing in index 'index' fits"):
        index.remove(where={"identity": ["nobody"]})
    with pytest.raises(IndexesError, match="say what to erase"):
        index.remove(where={})
    with pytest.raises(MismatchError, match="has no column person; it has id, "):
        index.remove(where={"person": ["p1"]})
    with pytest.raises(UnknownIdError, match="id 9999"):
        index.remove(ids=[1, 9999])
    with pytest.raises(IndexesError, match="either ids or where"):
        index.remove()
    assert index.rows == 270


def test_after_compaction_the_erased_bytes_are_gone(index, vectors):
    codes = np.array(index.references().parts[0].codes.codes)
    index.remove(ids=[3, 4, 5], clock=lambda: NOON)

    index.compact()

    left = b"".join(folder_bytes(index.path).values())
    assert vectors[6].tobytes() in left
    assert codes[6].tobytes() in left
    for row in (3, 4, 5):
        assert vectors[row].tobytes() not in left
        assert codes[row].tobytes() not in left
    assert [segment.name for segment in index.manifest.segments] == ["000003", "000001", "000002"]
    assert index.manifest.tombstones == []
    assert len(index.manifest.erasures) == 1
    assert index.verify() == []


def test_an_index_may_be_emptied_and_filled_again(index, vectors):
    index.remove(ids=np.arange(270))
    index.compact()
    assert (index.rows, index.manifest.segments) == (0, [])
    assert index.engine(1 << 30)[0].search(vectors[:2], k=3).rows == 0

    index.add(blocks_of(vectors))

    assert index.engine(1 << 30)[0].search(vectors[:2], k=1).reference_id.tolist() == [270, 271]


def test_adding_makes_codes_with_the_codec_that_is_there(index, vectors):
    before = (index.path / "codec.safetensors").read_bytes()

    index.add(blocks_of(vectors[:50]))

    assert (index.path / "codec.safetensors").read_bytes() == before
    engine, reason = index.engine(1 << 30, want="compressed")
    assert reason.startswith("asked for; needs about ")
    assert engine.search(vectors[:1], threshold=0.999).reference_id.tolist() == [0, 270]


def test_unsound_input_leaves_nothing_behind(tmp_path, vectors):
    path = tmp_path / "new"
    bad = [(VectorBatch(vectors[:3]), table_of(2))]
    for blocks, problem in ((bad, MismatchError), ([], IndexesError)):
        with pytest.raises(problem):
            build_index(path, blocks, fingerprint="net@1", dim=DIM, schema=SCHEMA)
    with pytest.raises(VectorError):
        build(path, vectors * 2)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_built_over(index, vectors):
    with pytest.raises(IndexesError, match="exists already"):
        build(index.path, vectors)


def test_a_failed_add_changes_nothing(index, vectors):
    before = folder_bytes(index.path)

    with pytest.raises(MismatchError, match="both must be parallel"):
        index.add([(VectorBatch(vectors[:3]), table_of(3)), (VectorBatch(vectors[:3]), table_of(2))])
    with pytest.raises(MismatchError, match="a block's columns are"):
        index.add([(VectorBatch(vectors[:3]), pa.table({"identity": ["a", "b", "c"]}))])

    assert folder_bytes(index.path) == before


@pytest.mark.parametrize("change", ["add", "remove", "compact"])
def test_a_full_disk_leaves_the_old_index(index, vectors, monkeypatch, change):
    index.remove(ids=[7], clock=lambda: NOON)
    before = folder_bytes(index.path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((DiskFullError, OSError)) as caught:
        {
            "add": lambda: index.add(blocks_of(vectors)),
            "remove": lambda: index.remove(ids=[8]),
            "compact": index.compact,
        }[change]()
    monkeypatch.undo()

    assert caught.value.errno == errno.ENOSPC
    assert {name: folder_bytes(index.path)[name] for name in before} == before
    assert open_index(index.path).verify() == []


def test_a_second_writer_is_told_who_holds_the_index(index, vectors):
    with write_lock(index.path), pytest.raises(LockedError, match=f"written by process {os.getpid()}"):
        index.add(blocks_of(vectors))


def rewrite_manifest(index, **changes):
    path = index.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_newer_format_says_what_is_needed(index):
    rewrite_manifest(index, format_version=3)

    with pytest.raises(FormatError, match=r"format version 3, this tool reads up to 2\. Install a version"):
        open_index(index.path)


def test_an_index_of_version_1_opens_without_its_old_codes_and_compact_makes_new_ones(index, vectors):
    """Version 1 differed in its compressed form alone."""
    before = json.loads((index.path / "manifest.json").read_text())
    for segment in before["segments"]:
        folder = index.path / "segments" / segment["name"]
        (folder / "bounds.safetensors").unlink()
        (folder / "bytes.safetensors").rename(folder / "codes.safetensors")
        del segment["files"]["bounds.safetensors"]
        segment["files"]["codes.safetensors"] = segment["files"].pop("bytes.safetensors")
        segment["codec_error"] = {"score": [0.0]}
    rewrite_manifest(index, format_version=1, segments=before["segments"])

    old = open_index(index.path)

    assert old.codec is None
    assert not old.references().has_codes
    assert old.engine(1 << 30)[0].search(vectors[:3], k=1).reference_id.tolist() == [0, 1, 2]
    new = old.compact()
    assert new.references().has_codes
    assert new.verify() == []
    assert not list(index.path.rglob("codes.safetensors"))
    assert new.engine(1 << 30, "compressed")[0].search(vectors[:3], k=1).reference_id.tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_bounds_that_would_rule_out_anything_are_refused(index, bad):
    path = index.path / "segments" / "000001" / "bounds.safetensors"
    bounds = np.array(open_tensor(path, "bounds"))
    bounds[0, 0] = bad
    with TensorWriter(path, "bounds", np.dtype(np.float32), 3) as writer:
        writer.write(bounds)

    with pytest.raises(
        FormatError, match=r"3 finite numbers in bounds.safetensors, and does not\. The index is damaged"
    ):
        open_index(index.path)


def test_codes_of_another_codec_are_refused(index):
    with (index.path / "codec.safetensors").open("wb") as file:
        file.write(encode_codec(Codec(np.eye(DIM, 32, dtype=np.float32), 32, 0))["codec.safetensors"])

    with pytest.raises(FormatError, match="have 64 columns, the index's codec makes 32"):
        open_index(index.path).references()


def test_a_damaged_manifest_of_version_1_is_a_sentence(index):
    rewrite_manifest(index, format_version=1, segments=[7])

    with pytest.raises(FormatError, match="is damaged"):
        open_index(index.path)


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/b", "..", ".hidden", ""])
def test_names_that_lead_out_of_the_folder_are_refused(index, name):
    segments = json.loads((index.path / "manifest.json").read_text())["segments"]
    segments[0]["name"] = name
    rewrite_manifest(index, segments=segments)

    with pytest.raises(FormatError, match=r"segments.0.name: .*must be a plain file name"):
        open_index(index.path)


def test_unknown_keys_and_broken_json_are_refused(index):
    rewrite_manifest(index, surprise=1)
    with pytest.raises(FormatError, match="surprise"):
        open_index(index.path)
    (index.path / "manifest.json").write_text("{")
    with pytest.raises(FormatError, match="is no JSON"):
        open_index(index.path)


@pytest.mark.parametrize("name", ["vectors.safetensors", "rows.parquet", "bytes.safetensors", "bounds.safetensors"])
def test_a_file_cut_short_is_noticed_on_opening(index, name):
    path = index.path / "segments" / "000001" / name
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(FormatError, match=f"{name}' has .* bytes, its manifest says"):
        open_index(index.path)


@pytest.mark.parametrize("name", ["vectors.safetensors", "rows.parquet", "bytes.safetensors", "bounds.safetensors"])
def test_a_changed_byte_is_found_by_verify(index, name):
    path = index.path / "segments" / "000001" / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))

    assert index.verify() == [f"'{path}' has changed: its SHA-256 is not the manifest's."]
