"""`scanner erase`: what it says, and its exit codes."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexes import open_index
from indexes.lock import write_lock
from scanner import BuildOptions, ScanOptions, build, scan
from scanner.cli import main
from scanner.erasing import Wanted
from scanner.erasing.journal import commitment_of


def said(capsys: pytest.CaptureFixture[str]) -> tuple[dict, str]:
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]) if out else {}, err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of four people from ready embeddings, and two nights of runs against it."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(8, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 16)
    labels = [f"p-00{row // 2}" for row in range(8)]
    sources = tmp_path / "sources"
    sources.mkdir()
    pq.write_table(pa.table({"embedding": column, "identity": labels}), sources / "people.parquet")
    pq.write_table(pa.table({"embedding": column.slice(0, 3)}), sources / "queries.parquet")
    root = tmp_path / "state"
    root.mkdir()
    build(root / "people.idx", str(sources / "people.parquet"), options=BuildOptions(embedded_by="net"))
    for night in (1, 2):
        place = root / "nights" / f"{night:06d}"
        place.mkdir(parents=True)
        options = ScanOptions(threshold=0.8, embedded_by="net")
        scan(str(sources / "queries.parquet"), against=root / "people.idx", out=place / "gen", options=options)
        (place / "costs.json").write_text('{"ended_at": "2026-01-01T00:00:00+00:00"}')
        (place / "night.json").write_text('{"format": "identity-leak-night", "runs": {}}')
    return root


def test_it_counts_then_erases_then_finds_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person = [str(folder), "--identity", "p-000"]

    assert main(["erase", *person, "--verify"]) == 1
    before, text = said(capsys)
    assert before["found"] > 2
    assert "still there: " in text
    assert main(["erase", *person, "--dry-run"]) == 0
    planned, _ = said(capsys)
    assert main(["erase", *person, "--everywhere", "--request", "17"]) == 0
    done, text = said(capsys)
    assert main(["erase", *person, "--verify"]) == 0
    after, _ = said(capsys)

    assert done["erased"] == planned["erased"]
    assert done["erased"]["references"] == 2
    assert done["erased"]["matches"] == 4
    assert done["complete"] is True
    assert (after["found"], after["left"]) == (0, [])
    assert len(done["receipt"]) == 64
    assert done["receipt"] in text
    assert json.loads((folder / "erasures" / "0001.json").read_text())["request"] == "17"
    assert open_index(folder / "people.idx").rows == 6


@pytest.mark.parametrize("how", ["--dry-run", "--everywhere"])
def test_a_label_that_nobody_has_is_told(folder: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    assert main(["erase", str(folder), "--identity", "P-000", how]) == 0

    done, text = said(capsys)
    assert done["erased"] == {}
    assert "nothing was found: it is gone already, or written otherwise here" in text
    assert "nothing is left" not in text


def test_what_it_cannot_reach_makes_it_incomplete(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "export.csv").write_text("p-000,0.9\n")

    code = main(["erase", str(folder), "--identity", "p-000", "--everywhere"])

    done, text = said(capsys)
    assert code == 4
    assert done["complete"] is False
    assert "export.csv: a word" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Say either whom or what to erase"),
        (["--identity", "p-000"], "Pass --everywhere to do it"),
        (["--identity", "p-000", "--keep-nights", "3"], "Say either whom or what to erase"),
        (["--item-id", "xyz", "--everywhere"], "32 hex digits"),
        (["--older-than", "soon"], "no age"),
        (["--keep-nights", "0"], "The newest night is always kept"),
    ],
)
def test_what_is_not_clear_is_refused(
    folder: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["erase", str(folder), *arguments]) == 2
    assert says in said(capsys)[1]
    assert open_index(folder / "people.idx").rows == 8


def test_old_nights_go(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", str(folder), "--older-than", "1d", "--dry-run"]) == 0
    planned, _ = said(capsys)
    assert main(["erase", str(folder), "--older-than", "1d"]) == 0
    done, text = said(capsys)

    assert planned["states"] == done["states"]
    assert not (folder / "nights" / "000001" / "gen").exists()
    assert (folder / "nights" / "000002" / "gen" / "run.json").exists()
    assert "1 runs and crops of 0 runs removed" in text


def test_old_nights_stay_while_a_night_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with write_lock(folder):
        assert main(["erase", str(folder), "--older-than", "1d"]) == 2

    assert "is being written by process" in said(capsys)[1]
    assert (folder / "nights" / "000001" / "gen").exists()


def test_names_that_hold_the_label_in_a_longer_word_are_told_and_stay(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(5, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 16)
    names = ["gen/p-000_01.png", "gen/p-0001.png", "gen/xp-000.png", "p-000/1.png", "p-000/2.png"]
    people = [None, None, None, "p-000", "p-000"]
    pq.write_table(pa.table({"embedding": column, "uri": names, "identity": people}), tmp_path / "more.parquet")
    build(folder / "more.idx", str(tmp_path / "more.parquet"), options=BuildOptions(embedded_by="net"))
    person = [str(folder), "--identity", "p-000"]

    assert main(["erase", *person, "--verify"]) == 1
    before, text = said(capsys)
    assert main(["erase", *person, "--everywhere"]) == 0
    done, _ = said(capsys)
    assert main(["erase", *person, "--verify"]) == 0
    after, _ = said(capsys)

    assert before["alike"] == done["alike"] == after["alike"] == ["gen/p-000_01.png"], before
    assert "look yourself: 1 name holds the label" in text


def test_the_receipt_is_told_though_the_search_for_names_was_interrupted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    person = [str(folder), "--identity", "p-000", "--everywhere"]

    def interrupted(*_given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("scanner.erasing.erase.names_alike", interrupted)
        assert main(["erase", *person]) == 130
    said(capsys)
    assert main(["erase", *person]) == 0
    done, _ = said(capsys)

    assert done["finished_before"]
    record = json.loads((folder / "erasures" / "0001.json").read_text())
    assert commitment_of(done["receipt"], Wanted(identities=("p-000",))) == record["commitment"]
