"""How columns are laid out in files: vectors by the significance of their bytes, the rest by what repeats."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.artefacts import FACE_FIELDS, MATCHES, embeddings_schema, samples_schema, write_tables

ROWS, DIM = 500, 64
VECTORS = np.random.default_rng(5).standard_normal((ROWS, DIM)).astype(np.float32)


def a_column(field: pa.Field) -> pa.Array:
    """Return rows of a field: vectors where it is one, else what is empty."""
    if field.name in ("embedding", "latent"):
        return pa.array(list(VECTORS), field.type)
    return pa.nulls(ROWS, field.type)


def encodings(path) -> dict[str, tuple[str, ...]]:
    columns = pq.read_metadata(path).row_group(0)
    chunks = [columns.column(n) for n in range(columns.num_columns)]
    return {chunk.path_in_schema: chunk.encodings for chunk in chunks}


@pytest.mark.parametrize("schema", [embeddings_schema(DIM), samples_schema(DIM)], ids=["embeddings", "samples"])
def test_vectors_have_no_dictionary_and_everything_else_has(tmp_path, schema):
    vectors = {name for name in ("embedding", "latent") if name in schema.names}
    loose = pa.schema([field.with_nullable(True) for field in schema])
    table = pa.table([a_column(field) for field in loose], schema=loose)

    write_tables(tmp_path / "t.parquet", loose, [table])

    laid = encodings(tmp_path / "t.parquet")
    assert {path.partition(".")[0] for path, how in laid.items() if "BYTE_STREAM_SPLIT" in how} == vectors
    assert all(("RLE_DICTIONARY" in how) != ("BYTE_STREAM_SPLIT" in how) for how in laid.values()), laid
    back = pq.read_table(tmp_path / "t.parquet")
    for name in vectors:
        assert np.array_equal(np.stack(back.column(name).to_numpy(zero_copy_only=False)), VECTORS)


def test_vectors_take_less_than_their_bytes(tmp_path):
    """pyarrow's own choice, a dictionary of components, takes more."""
    schema = pa.schema([pa.field("embedding", pa.list_(pa.float32(), DIM))])
    table = pa.table([a_column(schema.field(0))], schema=schema)

    write_tables(tmp_path / "t.parquet", schema, [table])
    pq.write_table(table, tmp_path / "twin.parquet", compression="zstd")

    assert (tmp_path / "t.parquet").stat().st_size < VECTORS.nbytes < (tmp_path / "twin.parquet").stat().st_size


def test_columns_inside_columns_are_named_as_parquet_names_them():
    """A name that Parquet does not know would leave its column without a dictionary, in silence."""
    from scanner.table_writer import _leaves

    for schema in (pa.schema(FACE_FIELDS), MATCHES, embeddings_schema(8), samples_schema(8)):
        names = [leaf for field in schema for leaf in _leaves(field)]
        assert names == _names(schema)


def _names(schema: pa.Schema) -> list[str]:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema) as writer:
        writer.write_table(schema.empty_table())
    columns = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(n).path for n in range(len(columns))]
