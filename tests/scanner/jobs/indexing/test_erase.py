"""Erasing leaves no trace of the erased in the index folder."""

from pathlib import Path

import pytest
from drawn_people import BY_FOLDER, FACES, name, write_people

from indexes import open_index
from scanner import FaceOptions, ScanOptions, artefacts, build, scan
from scanner.errors import UsageError
from scanner.jobs.indexing.erase import erase


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """People 1 to 3; of person 2 a picture under two names and a broken one."""
    folder = write_people(tmp_path / "people", [(1, 0), (2, 0), (3, 0)])
    (folder / name(2) / "again.png").write_bytes((folder / name(2) / "0.png").read_bytes())
    (folder / name(2) / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / name(3) / "empty.png").write_bytes(b"")
    return build(tmp_path / "idx", str(folder), faces=FACES, sources=BY_FOLDER).path


def test_after_erasing_and_compacting_no_file_names_the_erased(index: Path) -> None:
    before = [p for p in index.rglob("*") if p.is_file() and name(2).encode() in p.read_bytes()]

    done = erase(index, identities=[name(2)], request="17")
    opened = open_index(index).compact()

    assert before != []
    assert (done.erased, done.rows) == (1, 2)
    assert opened.column("identity").to_pylist() == [name(1), name(3)]
    assert [p.name for p in index.rglob("*") if p.is_file() and name(2).encode() in p.read_bytes()] == []
    (rejects,) = (index / "intake").glob("*.rejects.parquet")
    assert artefacts.read_table(rejects, "rejects")["reason"].to_pylist() == ["empty_file"]
    assert opened.verify() == []


def test_by_uri_the_rows_of_the_same_picture_go_too(index: Path) -> None:
    uri = open_index(index).column("uri").to_pylist()[1]

    erase(index, uris=[uri])

    (rejects,) = (index / "intake").glob("*.rejects.parquet")
    assert sorted(artefacts.read_table(rejects, "rejects")["reason"].to_pylist()) in (
        ["empty_file", "truncated"], ["empty_file", "not_an_image"],
    )  # fmt: skip


def test_a_mistyped_name_among_others_is_told_and_nothing_is_erased(index: Path) -> None:
    uri = open_index(index).column("uri").to_pylist()[0]

    with pytest.raises(UsageError) as caught:
        erase(index, identities=[name(2), "person-2"])
    with pytest.raises(UsageError, match=r"no reference of uri elsewhere/1\.png, so nothing"):
        erase(index, uris=["elsewhere/1.png", uri])

    assert str(caught.value) == (
        f"{index} has no reference of identity person-2, so nothing was erased. Write it as the index has it, or leave it out."
    )
    assert open_index(index).rows == 3


def test_what_to_erase_is_said_in_one_way(index: Path) -> None:
    with pytest.raises(UsageError, match="Say what to erase by one of --id, --identity, --uri"):
        erase(index, ids=[0], identities=["x"])


def test_the_same_file_on_both_sides_is_flagged(index: Path, tmp_path: Path) -> None:
    options = ScanOptions(threshold=0.9)

    result = scan(str(tmp_path / "people"), against=index, out=tmp_path / "run", options=options, faces=FACES)

    assert [row["flags"] for row in result.matches().to_pylist()] == [["same_bytes"]] * 3
    assert result.summary["results"]["same_bytes"] == 3
    assert (tmp_path / "run" / "report.html").read_text().count("the same file") == 3


def test_whole_pictures_need_a_described_network(tmp_path: Path) -> None:
    from scanner.embedders import DRAWN_PATH

    bare = tmp_path / "bare.onnx"
    bare.write_bytes(DRAWN_PATH.read_bytes())
    folder = write_people(tmp_path / "people", [(1, 0)])

    with pytest.raises(UsageError, match="needs the JSON beside the network"):
        build(tmp_path / "idx", str(folder), faces=FaceOptions(embedder=f"onnx:{bare}", faces="whole"))


def test_an_erasure_that_was_killed_half_way_is_finished_by_the_same_command(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexes import Index

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "remove", die)
        with pytest.raises(KeyboardInterrupt):
            erase(index, identities=[name(2)])
    erase(index, identities=[name(2)])
    open_index(index).compact()

    assert [p.name for p in index.rglob("*") if p.is_file() and name(2).encode() in p.read_bytes()] == []
