"""Ready embeddings: every row comes out at unit length or is a reject that says why."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.errors import SourceError
from scanner.sources import EmbeddingSource, open_embeddings

ROWS, DIM = 50, 6
VECTORS = np.random.default_rng(3).normal(size=(ROWS, DIM))
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)


def message(path: Path, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        open_embeddings(str(path), **options)
    return str(caught.value)


def write_npy(path: Path, kind: str) -> Path:
    np.save(path / "v.npy", VECTORS.astype(kind))
    (path / "v.ids.txt").write_text("".join(f"id{row}\n" for row in range(ROWS)))
    return path / "v.npy"


def write_parquet(path: Path, kind: pa.DataType) -> Path:
    table = pa.table(
        {
            "id": [f"id{row}" for row in range(ROWS)],
            "embedding": pa.array(VECTORS.tolist(), pa.float64())
            if False
            else pa.array([[float(x) for x in row] for row in VECTORS], kind),
        }
    )
    pq.write_table(table, path / "v.parquet", row_group_size=13)
    return path / "v.parquet"


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "npy float32": lambda path: write_npy(path, "<f4"),
    "npy float64": lambda path: write_npy(path, "<f8"),
    "npy big endian": lambda path: write_npy(path, ">f4"),
    "parquet fixed": lambda path: write_parquet(path, pa.list_(pa.float32(), DIM)),
    "parquet list": lambda path: write_parquet(path, pa.list_(pa.float64())),
    "parquet large list": lambda path: write_parquet(path, pa.large_list(pa.float32())),
}


@pytest.fixture(params=list(BUILDERS))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddingSource:
    return open_embeddings(str(BUILDERS[request.param](tmp_path)), dim=DIM)


def test_rows_come_in_order_at_unit_length(source: EmbeddingSource) -> None:
    blocks = list(source.batches(rows_max=7))

    vectors = np.concatenate([block.vectors for block in blocks])
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, UNIT, atol=1e-6)
    assert np.concatenate([block.rows for block in blocks]).tolist() == list(range(ROWS))
    assert [own for block in blocks for own in block.ids] == [f"id{row}" for row in range(ROWS)]
    assert [own for block in blocks for own in block.uris] == [f"{source.uri}!/id{row}" for row in range(ROWS)]
    assert {own for block in blocks for own in block.identities} == {None}
    assert max(len(block.rows) for block in blocks) == 7
    assert all(block.vectors.flags["C_CONTIGUOUS"] and not block.rejects for block in blocks)


def test_skipping_is_slicing(source: EmbeddingSource) -> None:
    for skip in range(ROWS + 2):
        rows = [row for block in source.batches(rows_max=9, skip=skip) for row in block.rows.tolist()]
        assert rows == list(range(skip, ROWS))


def test_description_is_stable_and_sees_content(source: EmbeddingSource, tmp_path: Path) -> None:
    path = Path(source.uri)
    first = source.describe()
    assert open_embeddings(source.uri).describe() == first

    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at] ^= 1
    path.write_bytes(data)

    assert open_embeddings(source.uri).describe() != first
    assert (first["entries"], first["dim"]) == (ROWS, DIM)


def test_another_length_than_asked_is_refused(source: EmbeddingSource) -> None:
    assert message(Path(source.uri), dim=512) == (
        f"{source.uri} holds vectors of {DIM} numbers, 512 were expected.  "
        "They were made by another embedder: embed the images again, or name the right file."
    )


def test_rows_that_are_no_vectors_are_rejects(tmp_path: Path) -> None:
    rows = [[1.0, 0], None, [0, 0], [float("nan"), 1], [float("inf"), 1], [1.0, 2, 3], [None, 1.0], [], [3e300, 4e300]]
    pq.write_table(pa.table({"embedding": pa.array(rows, pa.list_(pa.float64()))}), tmp_path / "v.parquet")

    (block,) = open_embeddings(str(tmp_path / "v.parquet"), dim=2).batches()

    assert block.rows.tolist() == [0, 8]
    assert np.allclose(block.vectors, [[1, 0], [0.6, 0.8]])
    assert [(reject.uri.rpartition("/")[2], reject.reason.value, reject.detail) for reject in block.rejects] == [
        ("row-1", "bad_embedding", "row 1: no vector"),
        ("row-2", "bad_embedding", "row 2: zero vector"),
        ("row-3", "bad_embedding", "row 3: not finite"),
        ("row-4", "bad_embedding", "row 4: not finite"),
        ("row-5", "bad_embedding", "row 5: 3 numbers, expected 2"),
        ("row-6", "bad_embedding", "row 6: not finite"),
        ("row-7", "bad_embedding", "row 7: 0 numbers, expected 2"),
    ]


def test_null_rows_of_fixed_lists_are_rejects(tmp_path: Path) -> None:
    rows = pa.array([[1.0, 0], None, [0, 1.0]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"embedding": rows, "identity": ["a", "b", None]}), tmp_path / "v.parquet")

    (block,) = open_embeddings(str(tmp_path / "v.parquet")).batches()

    assert (block.rows.tolist(), block.identities) == ([0, 2], ("a", None))
    assert [reject.detail for reject in block.rejects] == ["row 1: no vector"]


def test_names_and_fingerprint_of_our_own_files(tmp_path: Path) -> None:
    table = pa.table(
        {
            "uri": ["a.tar!/1.jpg", "a.tar!/2.jpg"],
            "identity": pa.array([7, 8], pa.int32()),
            "embedding": pa.array([[1.0, 0], [0, 1.0]], pa.list_(pa.float16(), 2)),
        }
    ).replace_schema_metadata({b"identity_leak.fingerprint": b"arcface@3f2a91"})
    pq.write_table(table, tmp_path / "v.parquet")

    source = open_embeddings(str(tmp_path / "v.parquet"))
    (block,) = source.batches()

    assert source.fingerprint == "arcface@3f2a91"
    assert block.uris == ("a.tar!/1.jpg", "a.tar!/2.jpg")
    assert block.identities == ("7", "8")
    assert block.ids == ("0", "1")


def test_names_beside_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    path = tmp_path / "v.npy"

    def names() -> tuple[Any, ...]:
        (block,) = open_embeddings(str(path)).batches()
        return block.ids, block.uris, block.identities

    plain = (("0", "1", "2"), tuple(f"{path}!/row-{row}" for row in range(3)), (None,) * 3)
    assert names() == plain

    np.save(tmp_path / "v.ids.npy", np.array([10, 20, 30]))
    assert names()[0] == ("10", "20", "30")
    (tmp_path / "v.ids.npy").unlink()

    out = io.StringIO()
    csv.writer(out).writerows([["uri", "identity", "other"], ["x,1", "007", "z"], ["x2", "", "z"], ["x3", "b", "z"]])
    (tmp_path / "v.npy.csv").write_text(out.getvalue())
    assert names() == (("0", "1", "2"), ("x,1", "x2", "x3"), ("007", None, "b"))
    (tmp_path / "v.npy.csv").unlink()

    pq.write_table(pa.table({"id": [5, 6, 7], "identity": ["a", "b", None]}), tmp_path / "v.parquet")
    assert names() == (("5", "6", "7"), tuple(f"{path}!/{own}" for own in (5, 6, 7)), ("a", "b", None))


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.eye(3, dtype=np.float32))
    ids = tmp_path / "v.ids.txt"

    ids.write_text("a\nb\n")
    assert message(path) == (
        f"{path} has 3 rows, {ids} names 2.  They do not belong together: name the right file of ids."
    )
    ids.write_bytes(b"\xff\n\n\n")
    assert message(path) == f"{ids} is no text: one id a line in UTF-8 is needed."
    np.save(tmp_path / "v.ids.npy", np.array(["a", "b", "c"], dtype=object), allow_pickle=True)
    assert message(path) == (
        f"The rows of {path} are named by {ids} and {tmp_path}/v.ids.npy.  Name the one that holds, or remove one."
    )
    assert message(path, ids=str(tmp_path / "v.ids.npy")) == (
        f"{tmp_path}/v.ids.npy is no array of ids: (n,) texts or whole numbers are needed, without pickle."
    )
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert message(path, ids=str(tmp_path / "x.csv")) == (
        f"{tmp_path}/x.csv names no rows: a column id, uri or identity is needed, there are ['a', 'b']."
    )


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((2, 2), np.int64), "its numbers are <i8, floats are needed"),
        (np.zeros(4, np.float32), "its shape is (4,), (rows, dim) is needed"),
        (np.asfortranarray(np.ones((2, 3))), "its numbers stand column by column; write numpy.ascontiguousarray of it"),
        (np.zeros((2, 0), np.float32), "its vectors have 0 numbers, 1 to 65536 are read"),
    ],
)
def test_arrays_that_are_no_embeddings_are_refused(tmp_path: Path, array: Any, problem: str) -> None:
    np.save(tmp_path / "v.npy", array)

    assert message(tmp_path / "v.npy") == f"{tmp_path}/v.npy holds no embeddings: {problem}."


def test_pickles_and_nonsense_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.array([[1.0, "x"]], dtype=object), allow_pickle=True)
    assert message(path) == f"{path} holds no embeddings: its numbers are |O, floats are needed."

    for data in (b"", b"\x93NUMPY", b"nonsense" * 20, b"\x93NUMPY\x01\x00\xff\xff{"):
        path.write_bytes(data)
        assert message(path) == f"{path} is no .npy file that numpy can read.  Write it with numpy.save."


def test_a_shape_of_numbers_without_commas_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.ones((5, 8), np.float32))
    path.write_bytes(path.read_bytes().replace(b"(5, 8)", b"(5  8)"))

    assert message(path) == f"{path} is no .npy file that numpy can read.  Write it with numpy.save."


def test_ids_of_letters_beyond_unicode_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((1, 4), np.float32))
    ids = tmp_path / "v.ids.npy"
    np.save(ids, np.array(["a"]))
    ids.write_bytes(ids.read_bytes()[:-4] + b"a\0\0\x80")

    assert message(tmp_path / "v.npy") == (
        f"{ids} is no array of ids: (n,) texts or whole numbers are needed, without pickle."
    )


def test_cut_and_empty_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.ones((10, 4), np.float32))
    path.write_bytes(path.read_bytes()[:-1])
    assert message(path) == f"{path} is cut: 287 bytes of 288.  Fetch it again."

    np.save(path, np.ones((0, 4), np.float32))
    assert message(path) == f"{path} holds not one row; what was looked for: vectors of 4 numbers."


def test_wrong_columns_are_named_with_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"vec": [[1.0]], "n": [1]}), path)

    assert message(path).startswith(f"Column 'embedding' of {path} is not there.  The columns are: vec (list<")
    assert message(path, column="n") == f"Column 'n' of {path} holds int64; lists of floats are needed."


def test_rows_of_a_damaged_group_are_rejects(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    table = pa.table({"embedding": pa.array(VECTORS[:30].tolist(), pa.list_(pa.float64(), DIM))})
    pq.write_table(table, path, row_group_size=10, use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)

    blocks = list(open_embeddings(str(path)).batches(rows_max=8))

    assert [row for block in blocks for row in block.rows.tolist()] == [*range(10), *range(20, 30)]
    assert [reject.detail for block in blocks for reject in block.rejects] == [
        f"row {row}: row group 1 cannot be read" for row in range(10, 20)
    ]


def test_embeddings_on_s3(tmp_path: Path, s3_options: dict[str, Any]) -> None:
    import fsspec

    system = fsspec.filesystem("s3", **s3_options)
    for build in ("npy float32", "parquet fixed"):
        path = BUILDERS[build](tmp_path)
        for file in tmp_path.iterdir():
            system.pipe_file(f"bucket/vectors/{file.name}", file.read_bytes())
        source = open_embeddings(f"s3://bucket/vectors/{path.name}", storage_options=s3_options)
        blocks = list(source.batches(rows_max=20))
        assert np.allclose(np.concatenate([block.vectors for block in blocks]), UNIT, atol=1e-6)
        assert blocks[0].uris[0] == f"s3://bucket/vectors/{path.name}!/id0"
        system.rm(f"bucket/vectors/{path.name}")
        path.unlink()


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_broken_arrays_are_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("npy") / "v.npy"
    np.save(path, VECTORS.astype(np.float32))
    broken = bytearray(path.read_bytes())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 140), st.integers(0, 255)), max_size=5)):
        broken[at] = value
    path.write_bytes(broken[: data.draw(st.integers(0, len(broken)))])

    try:
        source = open_embeddings(str(path))
    except SourceError:
        return
    assert sum(len(block.rows) + len(block.rejects) for block in source.batches(rows_max=11)) == source.count()
