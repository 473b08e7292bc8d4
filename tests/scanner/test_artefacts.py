"""Tables on disk: what is written is what is read; complete or absent; foreign, newer and damaged ones are refused."""

from __future__ import annotations

import json
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import artefacts, table_writer
from scanner.artefacts import MATCHES, REJECTS, TableWriter, embeddings_schema, stamped, table_of, write_tables
from scanner.errors import ArtefactError

REJECTS_STAMPED = stamped(REJECTS, "rejects")


def rejects(rows: int, *, first: int = 0) -> pa.Table:
    numbers = range(first, first + rows)
    return table_of(
        REJECTS,
        {
            "uri": [f"a/{n}.jpg" for n in numbers], "item_id": [f"{n:032x}" for n in numbers],
            "identity": [None if n % 3 else f"p{n}" for n in numbers], "level": ["item"] * rows,
            "reason": ["no_face"] * rows, "detail": ["no face seen"] * rows,
        },
    )  # fmt: skip


def faces(rows: int) -> pa.Table:
    """Rows with every type that we store: structs, lists of two kinds, bytes, nulls."""
    rng = np.random.default_rng(rows)
    vectors = rng.normal(size=(rows, 4)).astype(np.float32)
    columns: dict[str, Any] = {
        "id": [f"{n:032x}:0" for n in range(rows)], "item_id": [f"{n:032x}" for n in range(rows)],
        "uri": [f"{n}.jpg" for n in range(rows)], "other_uris": [[f"{n}-b.jpg"] * (n % 3) or None for n in range(rows)],
        "identity": [None if n % 2 else "x" for n in range(rows)], "face": [n % 5 for n in range(rows)],
        "box": [None if n % 4 == 1 else [1.0, 2.0, 3.0, 4.5] for n in range(rows)],
        "quality": [
            None if n % 7 == 1 else {"detection_score": 0.5, "size_px": 3.0, "sharpness": 9.0, "frontality": 1.0}
            for n in range(rows)
        ],
        "crop_png": [b"png" * n if n < 9 else None for n in range(rows)], "embedding": list(vectors),
    }  # fmt: skip
    return table_of(embeddings_schema(4, crops=True), columns)


FACES = faces(40)


def refused(path: Path, name: str) -> str:
    with pytest.raises(ArtefactError) as caught:
        artefacts.read_table(path, name)
    with pytest.raises(ArtefactError) as streamed:
        list(artefacts.iter_tables(path, name, rows_max=10))
    assert str(streamed.value) == str(caught.value)
    return str(caught.value)


def test_what_was_written_is_what_is_read(tmp_path):
    schema = stamped(FACES.schema, "embeddings", fingerprint="ab" * 8)

    rows = write_tables(tmp_path / "e.parquet", schema, [FACES])
    table = artefacts.read_table(tmp_path / "e.parquet", "embeddings")

    assert rows == 40
    assert table.cast(FACES.schema).equals(FACES)
    assert table.schema.metadata[artefacts.FINGERPRINT_KEY] == b"ab" * 8
    assert table.schema.metadata[b"identity_leak.version"] == b"1"


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=6), group=st.integers(1, 45))
def test_equal_rows_give_equal_bytes_however_they_are_cut(tmp_path_factory, cuts, group):
    folder = tmp_path_factory.mktemp("cut")
    schema = stamped(FACES.schema, "embeddings")
    places = [0, *sorted(cuts), 40]
    parts = [FACES.slice(a, b - a) for a, b in pairwise(places)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_writer, "ROW_GROUP_ROWS", group)
        write_tables(folder / "whole.parquet", schema, [FACES])
        write_tables(folder / "cut.parquet", schema, parts)

    assert (folder / "cut.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert artefacts.read_table(folder / "cut.parquet", "embeddings").cast(FACES.schema).equals(FACES)


def test_row_groups_are_full_but_the_last(tmp_path):
    tables = [rejects(5000, first=n * 5000) for n in range(4)]

    write_tables(tmp_path / "r.parquet", REJECTS_STAMPED, tables)

    metadata = pq.read_metadata(tmp_path / "r.parquet")
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [8192, 8192, 3616]


def test_no_rows_are_an_artefact_too(tmp_path):
    assert write_tables(tmp_path / "r.parquet", REJECTS_STAMPED, []) == 0

    table = artefacts.read_table(tmp_path / "r.parquet", "rejects")
    assert (table.num_rows, table.column_names) == (0, REJECTS.names)
    assert list(artefacts.iter_tables(tmp_path / "r.parquet", "rejects", rows_max=10)) == []


@pytest.mark.parametrize("rows_max", [1, 7, 40, 1000])
def test_blocks_hold_at_most_the_rows_asked_and_all_of_them(tmp_path, rows_max):
    write_tables(tmp_path / "e.parquet", stamped(FACES.schema, "embeddings"), [FACES])

    blocks = list(artefacts.iter_tables(tmp_path / "e.parquet", "embeddings", rows_max=rows_max, columns=["uri"]))

    assert max(block.num_rows for block in blocks) == min(rows_max, 40)
    assert pa.concat_tables(blocks)["uri"].to_pylist() == FACES["uri"].to_pylist()


def test_a_file_is_its_owners_alone(tmp_path):
    write_tables(tmp_path / "r.parquet", REJECTS_STAMPED, [rejects(3)])

    assert stat.S_IMODE((tmp_path / "r.parquet").stat().st_mode) == 0o600


def test_a_private_folder_is_its_owners_alone_and_an_old_one_keeps_its_mode(tmp_path):
    (tmp_path / "old").mkdir(mode=0o755)
    (tmp_path / "old").chmod(0o755)

    artefacts.make_private_folder(tmp_path / "new" / "run")
    artefacts.make_private_folder(tmp_path / "old")

    assert stat.S_IMODE((tmp_path / "new" / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o755


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
@pytest.mark.parametrize("rows", [0, 10, 20_000])
def test_a_crash_while_writing_leaves_nothing(tmp_path, error, rows):
    with pytest.raises(type(error)) as caught, TableWriter(tmp_path / "r.parquet", REJECTS_STAMPED) as writer:  # noqa: PT012
        writer.write(rejects(rows))
        raise error

    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "r.parquet"
    write_tables(path, REJECTS_STAMPED, [rejects(3)])
    before = path.read_bytes()

    def breaks() -> Any:
        yield rejects(9000)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match=r"^boom$"):
        write_tables(path, REJECTS_STAMPED, breaks())

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_rows_of_another_schema_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="field names"):
        write_tables(tmp_path / "r.parquet", REJECTS_STAMPED, [rejects(3), pa.table({"uri": ["a"]})])

    assert list(tmp_path.iterdir()) == []


def test_nulls_where_none_may_be_leave_nothing(tmp_path):
    broken = rejects(2).set_column(0, "uri", pa.array([None, "a"], pa.string()))

    with pytest.raises(ValueError, match="uri"):
        write_tables(tmp_path / "r.parquet", REJECTS_STAMPED, [broken])

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "matches.parquet"

    assert refused(path, "matches") == f"{path} is not there. It is written last: the run has probably not finished."


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "theirs.parquet"
    pq.write_table(pa.table({"a": [1]}), path)

    assert refused(path, "matches") == f"{path} holds no artefact of ours, expected matches. Name another file."


def test_an_artefact_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "r.parquet"
    write_tables(path, REJECTS_STAMPED, [rejects(1)])

    assert refused(path, "matches") == f"{path} holds rejects, expected matches. Name another file."


@pytest.mark.parametrize("version", ["2", "10", "1.5", "new", "", "²", "-1"])
def test_an_artefact_of_a_newer_version_is_refused(tmp_path, version):
    path = tmp_path / "r.parquet"
    metadata = {b"identity_leak.schema": b"rejects", b"identity_leak.version": version.encode()}
    pq.write_table(rejects(1).replace_schema_metadata(metadata), path)

    assert refused(path, "rejects") == (
        f"{path} is a rejects file of version {version}; this scanner reads up to 1. "
        "Install the newer scanner that wrote it."
    )


def test_a_stamp_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "r.parquet"
    pq.write_table(rejects(1).replace_schema_metadata({b"identity_leak.schema": b"\xff\xfe"}), path)

    assert refused(path, "rejects") == f"{path} holds \ufffd\ufffd, expected rejects. Name another file."


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"no parquet at all, but long enough", b"PAR1" + b"\xff" * 90 + b"PAR1"]
)
def test_what_is_no_parquet_is_refused(tmp_path, data):
    path = tmp_path / "r.parquet"
    path.write_bytes(data)

    said = refused(path, "rejects")

    assert said.startswith(f"{path} is no readable Parquet file: ")
    assert said.endswith(". Make it again.")


def test_no_flipped_byte_changes_what_is_read(tmp_path):
    """Vectors do not compress: without checksums a flip in them would be read as another vector."""
    path = tmp_path / "e.parquet"
    write_tables(path, stamped(FACES.schema, "embeddings"), [FACES])
    sound = path.read_bytes()
    said = []
    for place in range(4, len(sound) - 8, 37):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        try:
            found = artefacts.read_table(path, "embeddings")
        except ArtefactError as error:
            said.append(str(error))
        else:
            assert found.cast(FACES.schema).equals(FACES), f"byte {place}"

    damaged = [s for s in said if s.startswith(f"{path} is damaged: ") and s.endswith(". Make it again.")]
    assert len(damaged) > 20


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "r.parquet"
    write_tables(path, REJECTS_STAMPED, [rejects(500)])
    path.write_bytes(path.read_bytes()[:-100])

    assert refused(path, "rejects").startswith(f"{path} is no readable Parquet file: ")


def test_a_table_is_filled_with_nulls_where_they_may_be():
    table = table_of(MATCHES, {"query_id": pa.array(["a"]), "p_value": [0.5]})

    assert table.schema == MATCHES
    assert table["p_value"].to_pylist() == [0.5]
    assert table["identity"].to_pylist() == [None]
    assert table_of(MATCHES, {}).num_rows == 0


def test_a_json_object_is_read(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"name": "Zoë"}), "utf-8")

    assert artefacts.read_json(tmp_path / "run.json") == {"name": "Zoë"}


def json_refused(path: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        artefacts.read_json(path)
    return str(caught.value)


def test_a_json_that_is_missing_broken_or_no_object_is_refused(tmp_path):
    path = tmp_path / "run.json"
    assert json_refused(path) == f"{path} is not there: is this a finished run?"

    path.write_text("[1]")
    assert json_refused(path) == f"{path} holds no JSON object. Make it again."

    path.write_text('{"a": ')
    assert json_refused(path) == (f"{path} cannot be read: Expecting value: line 1 column 7 (char 6). Make it again.")

    path.write_bytes(b"\xff\xfe{}")
    assert json_refused(path).startswith(f"{path} cannot be read: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", r'"half of a pair: \ud800"'])
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "run.json").write_text(f'{{"level": {value}}}')
    with pytest.raises(ArtefactError, match=r"run\.json cannot be read: .* (is no number of JSON|not allowed)"):
        artefacts.read_json(tmp_path / "run.json")
