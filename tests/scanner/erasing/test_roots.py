"""What is named is erased from, however it is named: files, folders, the same twice."""

import base64
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from everything_folder import AT, GONE, ITEMS

from indexes.errors import IndexesError
from indexes.keys import TEXT_VARIABLE
from scanner import artefacts
from scanner.erasing import Wanted, erase_everywhere, search_everywhere

PERSON = Wanted(identities=(GONE,), item_ids=ITEMS)


def erase(*roots: Path):
    return erase_everywhere(list(roots), PERSON, clock=lambda: AT)


def rows(folder: Path) -> list[int]:
    return [pq.read_metadata(folder / f"{name}.parquet").num_rows for name in "abc"]


def files(state: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in state.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.fixture
def faces(everything: Path, tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        for suffix in (".parquet", ".rejects.parquet", ".json"):
            if (everything / "state" / f"faces{suffix}").exists():
                shutil.copy(everything / "state" / f"faces{suffix}", tmp_path / f"{name}{suffix}")
    return tmp_path


def test_two_files_of_one_folder_are_both_erased_from_and_others_are_not(faces: Path) -> None:
    done = erase(faces / "a.parquet", faces / "b.parquet")

    assert done.complete
    assert rows(faces) == [22, 22, 24]


def test_a_file_that_is_named_beside_its_folder_leaves_nothing_of_the_folder_out(faces: Path) -> None:
    done = erase(faces, faces / "a.parquet")

    assert done.complete
    assert rows(faces) == [22, 22, 22]


def test_crops_that_a_killed_retention_was_removing_go(state: Path) -> None:
    run = state / "nights" / "000001" / "gen"
    (run / "crops.parquet").rename(run / ".crops.parquet.gone")

    done = erase(state)

    assert done.complete
    assert not (run / ".crops.parquet.gone").exists()


def test_a_second_erasure_finds_nothing_and_changes_nothing(state: Path) -> None:
    erase(state)
    before = files(state)
    done = erase(state)

    after = files(state)
    assert done.counts == {}
    assert done.complete
    assert {path.name for path in after.keys() - before.keys()} == {"0002.json"}
    assert {path: after[path] for path in before} == before


def test_with_another_key_nothing_is_begun(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = artefacts.read_table(state / "faces.parquet", "embeddings")
    schema = artefacts.open_artefact(state / "faces.parquet", "embeddings").schema_arrow
    keys = [base64.b64encode(bytes(range(start, start + 32))).decode() for start in (0, 1)]
    monkeypatch.setenv(TEXT_VARIABLE, keys[0])
    artefacts.write_tables(state / "faces.parquet", schema, [table])
    monkeypatch.setenv(TEXT_VARIABLE, keys[1])
    before = files(state)

    with pytest.raises(IndexesError, match="key"):
        erase(state)
    with pytest.raises(IndexesError, match="key"):
        search_everywhere([state], PERSON)

    assert files(state) == before
