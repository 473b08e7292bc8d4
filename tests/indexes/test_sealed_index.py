"""An index that was written with a key: the content of one without, the same hits, and nothing for who has no key."""

from datetime import UTC, datetime

import numpy as np
import pytest
from facelike_tables import SCHEMA, blocks_of
from facelike_vectors import DIM, draw_faces, folder_bytes

from indexes import build_index, open_index
from indexes.device import DeviceEngine
from indexes.errors import FormatError, SealError
from indexes.keys import FILE_VARIABLE, TEXT_VARIABLE, Key, write_key_file
from indexes.sealed import is_sealed

ONE, TWO = Key(bytes(range(32))), Key(bytes(range(1, 33)))
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SEALED = {"vectors.safetensors", "rows.parquet", "bytes.safetensors", "bounds.safetensors"}


@pytest.fixture(scope="module")
def vectors():
    return draw_faces(90, 3, seed=7)


@pytest.fixture
def with_keys(monkeypatch, tmp_path):
    monkeypatch.delenv(TEXT_VARIABLE, raising=False)

    def use(*keys):
        write_key_file(tmp_path / "keys", keys)
        monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "keys"))
        if not keys:
            monkeypatch.delenv(FILE_VARIABLE)

    return use


def build(path, vectors, dtype="float32"):
    return build_index(
        path, blocks_of(vectors, rows_max=37), fingerprint="net@1", dim=DIM, schema=SCHEMA,
        segment_rows_max=100, codec="always", dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_holds_what_one_without_a_key_holds_and_finds_the_same(tmp_path, vectors, with_keys, dtype):
    with_keys()
    plain = build(tmp_path / "plain", vectors, dtype)
    with_keys(ONE)
    sealed = build(tmp_path / "sealed", vectors, dtype)
    queries = draw_faces(90, 1, seed=7)

    assert folder_bytes(sealed.path) == folder_bytes(plain.path)
    assert sealed.manifest_sha256 == plain.manifest_sha256
    assert {path.name for path in sealed.path.rglob("*") if path.is_file() and is_sealed(path)} == {
        *SEALED, "codec.json", "codec.safetensors",
    }  # fmt: skip
    assert sealed.verify() == []
    engines = [
        lambda index: index.engine(4 << 20, "exact")[0],
        lambda index: index.engine(1 << 30, "flat")[0],
        lambda index: index.engine(1 << 30, "compressed")[0],
        lambda index: DeviceEngine(index.references(), index.codec, devices=["cpu"], keep=False),
    ]
    for make in engines:
        expected, found = (make(index).search(queries, threshold=0.2, k=3) for index in (plain, sealed))
        assert found.score.tobytes() == expected.score.tobytes()
        assert found.reference_id.tolist() == expected.reference_id.tolist()
    assert sealed.lookup([269, 0, 104]).equals(plain.lookup([269, 0, 104]))
    assert sealed.column("identity").equals(plain.column("identity"))


def test_it_is_changed_like_one_without_a_key(tmp_path, vectors, with_keys):
    for name, keys in (("plain", ()), ("sealed", (ONE,))):
        with_keys(*keys)
        index = build(tmp_path / name, vectors)
        index.remove(where={"identity": ["p3", "p50"]}, clock=lambda: NOON)
        index.add(blocks_of(vectors[:30]))
        index.compact()
        assert index.verify() == []

    assert folder_bytes(tmp_path / "sealed") == folder_bytes(tmp_path / "plain")


def test_segments_of_several_keys_and_of_none_lie_side_by_side(tmp_path, vectors, with_keys):
    with_keys()
    index = build(tmp_path / "index", vectors)
    with_keys(ONE)
    index.add(blocks_of(vectors[:30]))
    with_keys(TWO, ONE)
    index.add(blocks_of(vectors[30:60]))

    assert open_index(index.path).verify() == []
    assert index.references().gather(np.arange(270, 330)).tobytes() == vectors[:60].tobytes()
    with_keys(TWO)
    with pytest.raises(
        SealError, match=f"is encrypted with the key {ONE.id.hex()}; the keys at hand are {TWO.id.hex()}"
    ):
        open_index(index.path)


@pytest.mark.parametrize("keys", [(), (TWO,)])
def test_without_its_key_it_is_not_opened_nor_changed(tmp_path, vectors, with_keys, keys):
    with_keys(ONE)
    index = build(tmp_path / "index", vectors)
    raw = {path: path.read_bytes() for path in index.path.rglob("*") if path.is_file() and path.name != "lock"}
    with_keys(*keys)

    for act in (
        lambda: open_index(index.path),
        lambda: index.add(blocks_of(vectors[:30])),
        lambda: index.remove(ids=[1]),
        index.compact,
        index.verify,
    ):
        with pytest.raises(SealError, match=f"is encrypted with the key {ONE.id.hex()}"):
            act()

    assert {path: path.read_bytes() for path in index.path.rglob("*") if path.is_file() and path.name != "lock"} == raw


@pytest.mark.parametrize("name", sorted(SEALED))
@pytest.mark.parametrize("place", [60, -5])
def test_a_changed_byte_is_a_finding(tmp_path, vectors, with_keys, name, place):
    with_keys(ONE)
    index = build(tmp_path / "index", vectors)
    path = index.path / "segments" / "000001" / name
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))

    (finding,) = index.verify()

    assert finding.startswith(f"the encrypted file '{path}' is damaged or was changed (its chunk ")


def test_a_segment_cut_short_is_noticed_on_opening(tmp_path, vectors, with_keys):
    with_keys(ONE)
    index = build(tmp_path / "index", vectors)
    path = index.path / "segments" / "000001" / "vectors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(FormatError, match="is damaged or was changed"):
        open_index(index.path)


def test_no_vector_and_no_row_lies_open(tmp_path, vectors, with_keys):
    with_keys(ONE)
    index = build(tmp_path / "index", vectors)

    for path in index.path.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            assert not any(vector[:4].tobytes() in raw for vector in vectors), path
            assert b"p88" not in raw, path
            assert b"PAR1" not in raw, path
