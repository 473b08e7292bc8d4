"""Sealed files: what went in comes out, from anywhere in them, and nothing comes out of what was changed."""

import gc
import io
import os
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes.errors import FormatError, SealError
from indexes.keys import FILE_VARIABLE, TEXT_VARIABLE, Key, write_key_file
from indexes.sealed import SealedWriter, create, is_sealed, key_id_of, open_file, unsealed
from indexes.sealed_rows import SealedRows
from indexes.sealed_stream import CHUNK_BYTES
from indexes.tensor_file import TensorWriter, open_tensor

ONE, TWO = Key(bytes(range(32))), Key(bytes(range(1, 33)))
HEADER, STEP = 52, CHUNK_BYTES + 16
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]


def content_of(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def write(path, content, key=ONE):
    with SealedWriter(path, key) as file:
        file.write(content)
    return path


def read(path, *keys):
    with open_file(path, keys or (ONE,)) as file:
        return file.read()


@pytest.fixture
def key(monkeypatch, tmp_path):
    monkeypatch.delenv(TEXT_VARIABLE, raising=False)
    write_key_file(tmp_path / "key", [ONE])
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "key"))


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_what_is_read(tmp_path, size):
    path = write(tmp_path / "x", content_of(size))

    assert read(path) == content_of(size)
    assert path.stat().st_size == HEADER + size + 16 * max(1, -(-size // CHUNK_BYTES))
    assert (is_sealed(path), key_id_of(path)) == (True, ONE.id.hex())


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 200_000), max_size=6),
    places=st.lists(st.tuples(st.integers(0, 210_000), st.integers(0, 140_000)), max_size=5),
)
def test_however_it_is_cut_and_wherever_it_is_read(tmp_path_factory, cuts, places):
    content, path = content_of(200_000), tmp_path_factory.mktemp("cut") / "x"
    edges = [0, *sorted(cuts), 200_000]
    with SealedWriter(path, ONE) as file:
        for start, end in pairwise(edges):
            file.write(content[start:end])

    with open_file(path, (ONE,)) as file:
        for start, count in places:
            assert file.seek(start) == start
            assert file.read(count) == content[start : start + count]
            assert file.tell() == start + len(content[start : start + count])
        assert file.seek(0, os.SEEK_END) == 200_000


def test_the_format_is_what_the_document_says(tmp_path):
    """Opened by hand, with the library alone, as docs/encryption.md describes it."""
    content = content_of(2 * CHUNK_BYTES + 5)
    sealed = write(tmp_path / "x", content).read_bytes()
    header, body = sealed[:HEADER], sealed[HEADER:]
    own = HKDF(SHA256(), 32, salt=header[20:52], info=header).derive(ONE.secret)

    parts = [
        AESGCM(own).decrypt(number.to_bytes(11, "big") + bytes([number == 2]), body[start : start + STEP], None)
        for number, start in enumerate(range(0, len(body), STEP))
    ]

    assert (header[:8], header[8:12], header[12:20]) == (b"ILSEAL1\n", b"\0\1\0\0", ONE.id)
    assert b"".join(parts) == content


def test_equal_content_is_not_equal_outside(tmp_path):
    first, second = (write(tmp_path / name, content_of(1000)).read_bytes() for name in "ab")

    assert first[20:52] != second[20:52]
    assert first[52:] != second[52:]
    assert content_of(1000)[:8] not in first


def test_the_beginning_can_be_written_again_and_nothing_else(tmp_path):
    for size in (100, CHUNK_BYTES, 2 * CHUNK_BYTES + 7):
        with SealedWriter(tmp_path / "x", ONE) as file:
            file.write(content_of(size))
            file.seek(0)
            file.write(b"begun")
            assert file.tell() == 5
        assert read(tmp_path / "x") == b"begun" + content_of(size)[5:]
    with SealedWriter(tmp_path / "y", ONE) as file:
        file.write(content_of(2 * CHUNK_BYTES))
        file.seek(CHUNK_BYTES - 1)
        with pytest.raises(io.UnsupportedOperation, match="only the first chunk"):
            file.write(b"ab")


def test_the_key_that_is_missing_is_named(tmp_path):
    path = write(tmp_path / "x", b"secret")

    for keys, held in (((), "no key is set"), ((TWO,), f"the keys at hand are {TWO.id.hex()}")):
        with pytest.raises(SealError) as caught:
            open_file(path, keys)
        assert str(caught.value) == (
            f"'{path}' is encrypted with the key {ONE.id.hex()}; {held}. "
            f"Name a key file that holds it in the variable {FILE_VARIABLE}."
        )
    assert read(path, TWO, ONE) == b"secret"


def changed(sealed: bytes, how: str) -> bytes:
    chunks = [sealed[start : start + STEP] for start in range(HEADER, len(sealed), STEP)]
    match how:
        case "exchanged":
            chunks[0], chunks[1] = chunks[1], chunks[0]
        case "left out":
            del chunks[1]
        case "repeated":
            chunks.insert(1, chunks[1])
        case "last cut off":
            chunks.pop()
        case "cut within":
            chunks[-1] = chunks[-1][:-1]
        case "longer":
            chunks.append(chunks[-1])
        case "header alone":
            chunks = []
        case "half a header":
            return sealed[:30]
    return sealed[:HEADER] + b"".join(chunks)


@pytest.mark.parametrize(
    "how",
    ["exchanged", "left out", "repeated", "last cut off", "cut within", "longer", "header alone", "half a header"],
)
def test_chunks_that_are_not_as_they_were_written_are_noticed(tmp_path, how):
    path = write(tmp_path / "x", content_of(3 * CHUNK_BYTES + 100))
    path.write_bytes(changed(path.read_bytes(), how))

    with pytest.raises(
        FormatError, match=r"the encrypted file '.*x' is damaged or was changed \(.*\). Restore it from"
    ):
        read(path)


def test_a_chunk_of_another_file_is_noticed(tmp_path):
    one, two = (write(tmp_path / name, content_of(2 * CHUNK_BYTES + 9)) for name in "ab")
    mixed = one.read_bytes()[: HEADER + STEP] + two.read_bytes()[HEADER + STEP :]
    one.write_bytes(mixed)

    with pytest.raises(FormatError, match="its chunk 2 is not what was written"):
        read(one)


@pytest.mark.parametrize("place", [*range(8, HEADER, 5), HEADER, HEADER + 40, HEADER + 70, HEADER + 99])
def test_no_flipped_bit_is_read(tmp_path, place):
    path = write(tmp_path / "x", content_of(84))
    sealed = bytearray(path.read_bytes())
    sealed[place] ^= 4
    path.write_bytes(bytes(sealed))

    with pytest.raises((FormatError, SealError)):
        read(path)


def test_only_the_end_and_what_is_looked_at_is_opened(tmp_path):
    """A flipped byte in the middle is noticed when its chunk is read, and the others still can be."""
    content = content_of(3 * CHUNK_BYTES)
    path = write(tmp_path / "x", content)
    sealed = bytearray(path.read_bytes())
    sealed[HEADER + STEP + 5] ^= 1
    path.write_bytes(bytes(sealed))

    with open_file(path, (ONE,)) as file:
        assert file.read(CHUNK_BYTES) == content[:CHUNK_BYTES]
        with pytest.raises(FormatError, match="its chunk 1 is not what was written"):
            file.read(1)
        file.seek(2 * CHUNK_BYTES)
        assert file.read() == content[2 * CHUNK_BYTES :]


@pytest.mark.filterwarnings("error")
def test_a_folder_that_is_not_there_is_said_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        SealedWriter(tmp_path / "none" / "x", ONE)
    gc.collect()


def test_without_a_key_files_are_plain(tmp_path, monkeypatch):
    monkeypatch.delenv(TEXT_VARIABLE, raising=False)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    with create(tmp_path / "x") as file:
        file.write(b"open")

    assert (tmp_path / "x").read_bytes() == b"open"
    assert (is_sealed(tmp_path / "x"), key_id_of(tmp_path / "x")) == (False, None)
    assert read(tmp_path / "x") == b"open"


@pytest.mark.usefixtures("key")
def test_any_open_file_that_can_be_moved_in_is_opened(tmp_path):
    with create(tmp_path / "x") as file:
        file.write(content_of(100_000))
    sealed = (tmp_path / "x").read_bytes()

    assert unsealed(io.BytesIO(sealed), "x").read() == content_of(100_000)
    assert unsealed(io.BytesIO(b"plain"), "x").read() == b"plain"


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_sealed_rows_are_those_of_a_memory_map(tmp_path, dtype):
    rows = (np.random.default_rng(0).normal(size=(3000, 37)) * 20).astype(dtype)
    with TensorWriter(tmp_path / "t", "t", np.dtype(dtype), 37) as writer:
        for start in range(0, 3000, 701):
            writer.write(rows[start : start + 701])

    found = open_tensor(tmp_path / "t", "t")

    assert isinstance(found, SealedRows)
    assert (found.shape, found.dtype, found.nbytes, found.ndim, len(found)) == (
        rows.shape,
        rows.dtype,
        rows.nbytes,
        2,
        3000,
    )
    assert np.asarray(found).tobytes() == rows.tobytes()
    assert np.asarray(found[900:1700]).tobytes() == rows[900:1700].tobytes()
    assert np.asarray(found[900:1700][50:60]).tobytes() == rows[950:960].tobytes()
    assert found[2990:9000].astype(np.float64).tolist() == rows[2990:].astype(np.float64).tolist()
    assert found[5:5].astype(np.float32).shape == (0, 37)
    some = np.array([2999, 0, 7, 8, 9, 7, 1500])
    assert found[some].tobytes() == rows[some].tobytes()
    assert found[np.empty(0, np.int64)].shape == (0, 37)
    with pytest.raises(ValueError, match="without a copy"):
        np.array(found, copy=False)
