"""`scan --null`: p-values of identities, against the same numbers worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner import BuildOptions, ScanOptions, artefacts, build, scan
from scanner.errors import CalibrationError
from scanner.evidence.identities import weigh_identities

DIM = 32


def write_vectors(path: Path, vectors: np.ndarray, identities: list[str | None]) -> str:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), DIM)
    uris = [f"{path.stem}/{row}" for row in range(len(vectors))]
    pq.write_table(pa.table({"embedding": column, "uri": uris, "identity": pa.array(identities, pa.string())}), path)
    return str(path)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("null")
    rng = np.random.default_rng(0)
    people = {"cand": [f"c{i // 2}" for i in range(80)], "null": [f"n{i // 2}" for i in range(2400)]}
    vectors = {name: unit(rng.normal(size=(len(labels), DIM))) for name, labels in people.items()}
    leaked = vectors["cand"][[0, 10]] + 0.05 * rng.normal(size=(2, DIM))
    vectors["queries"] = unit(np.concatenate([rng.normal(size=(50, DIM)), leaked]))
    specs = {name: write_vectors(folder / f"{name}.parquet", vectors[name], labels) for name, labels in people.items()}
    specs["queries"] = write_vectors(folder / "queries.parquet", vectors["queries"], [None] * 52)
    for name in people:
        build(folder / f"{name}.idx", specs[name], options=BuildOptions(embedded_by="net"))
    return {"folder": folder, "vectors": vectors, "people": people, "specs": specs}


def run(world: dict[str, Any], out: Path, **options: Any) -> Any:
    chosen: dict[str, Any] = {"threshold": 0.8, "embedded_by": "net", "null": (str(world["folder"] / "null.idx"),)}
    return scan(
        world["specs"]["queries"],
        against=world["folder"] / "cand.idx",
        out=out,
        options=ScanOptions(**{**chosen, **options}),
    )


def test_p_values_are_those_of_the_scores_worked_out_by_hand(world: dict[str, Any], tmp_path: Path):
    result = run(world, tmp_path / "run")

    table = artefacts.read_table(tmp_path / "run" / "identities.parquet", "identities").to_pylist()
    best = {name: (world["vectors"][name] @ world["vectors"]["queries"].T).max(1) for name in ("cand", "null")}
    codes = {name: np.unique(labels, return_inverse=True) for name, labels in world["people"].items()}
    found = weigh_identities(best["cand"], codes["cand"][1], best["null"], codes["null"][1], seed=0)
    expected = dict(zip(codes["cand"][0].tolist(), found.p_value.tolist(), strict=True))
    assert {row["identity"]: row["p_value"] for row in table} == pytest.approx(expected, rel=1e-3)
    assert [row["identity"] for row in table[:2]] in (["c0", "c5"], ["c5", "c0"])
    assert [row["identity"] for row in table if row["q_value"] <= 0.05] == [row["identity"] for row in table[:2]]
    assert result.summary["evidence"]["below_level"] == 2
    assert result.summary["evidence"]["null_identities"] == 1200


def test_matches_carry_the_values_of_their_identity_and_the_page_says_them(world: dict[str, Any], tmp_path: Path):
    result = run(world, tmp_path / "run")

    rows = artefacts.read_table(tmp_path / "run" / "identities.parquet", "identities").to_pylist()
    values = {row["identity"]: (row["p_value"], row["q_value"]) for row in rows}
    matches = result.matches().to_pylist()
    assert len(matches) == 2
    assert all((row["p_value"], row["q_value"]) == values[row["identity"]] for row in matches)
    page = (tmp_path / "run" / "report.html").read_text()
    assert (
        "2 of 40 candidate identities are closer to the scanned faces than people known not to be in training" in page
    )


def test_without_a_null_nothing_is_claimed(world: dict[str, Any], tmp_path: Path):
    result = run(world, tmp_path / "run", null=())

    assert result.summary["evidence"] is None
    assert result.matches()["p_value"].null_count == 2
    assert not (tmp_path / "run" / "identities.parquet").exists()


def test_people_who_are_candidates_cannot_be_the_null(world: dict[str, Any], tmp_path: Path):
    with pytest.raises(CalibrationError, match="40 identities are in the candidates and in the null"):
        run(world, tmp_path / "run", null=(str(world["folder"] / "cand.idx"),))


def test_a_null_of_another_kind_makes_the_run_inconclusive(world: dict[str, Any], tmp_path: Path):
    rng = np.random.default_rng(7)
    other = rng.normal(size=(2400, DIM))
    other[:, 0] += 3.0
    spec = write_vectors(tmp_path / "other.parquet", unit(other), [f"o{row}" for row in range(2400)])
    build(tmp_path / "other.idx", spec, options=BuildOptions(embedded_by="net"))

    result = run(world, tmp_path / "run", null=(str(tmp_path / "other.idx"),))

    assert result.summary["evidence"]["null_fit"]["differ"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Inconclusive: a classifier tells the candidates" in page
    assert "<td>c0</td>" in page
    assert "<td><b>c0</b>" not in page


def test_a_null_too_small_to_name_anybody_leaves_the_run_undecided(world: dict[str, Any], tmp_path: Path):
    rng = np.random.default_rng(8)
    spec = write_vectors(tmp_path / "few.parquet", unit(rng.normal(size=(120, DIM))), [f"f{row}" for row in range(120)])
    build(tmp_path / "few.idx", spec, options=BuildOptions(embedded_by="net"))

    result = run(world, tmp_path / "run", null=(str(tmp_path / "few.idx"),))

    # k people with two photos each have p-values of 2 / 121 at least, and are named where that is 0.05 k / 40 at most.
    assert result.summary["evidence"]["fewest_nameable"] == 14
    page = (tmp_path / "run" / "report.html").read_text()
    assert (
        "Undecided: with 120 people in the null, nobody is named unless at least 14 of 40 candidate identities" in page
    )


def test_where_one_leak_of_a_person_with_many_photos_could_not_be_named_nobody_is_cleared(tmp_path: Path):
    """An identity's p-value is that of its best photo times the number of its photos: here 20 / 161, even of a copy."""
    rng = np.random.default_rng(9)
    people = {"cand": [f"c{i // 20}" for i in range(200)], "null": [f"n{i}" for i in range(160)]}
    vectors = {name: unit(rng.normal(size=(len(labels), DIM))) for name, labels in people.items()}
    for name, labels in people.items():
        spec = write_vectors(tmp_path / f"{name}.parquet", vectors[name], labels)
        build(tmp_path / f"{name}.idx", spec, options=BuildOptions(embedded_by="net"))
    queries = write_vectors(tmp_path / "queries.parquet", vectors["cand"][:1], [None])

    result = scan(
        queries, against=tmp_path / "cand.idx", out=tmp_path / "run",
        options=ScanOptions(threshold=0.8, embedded_by="net", null=(str(tmp_path / "null.idx"),)),
    )  # fmt: skip

    assert result.matches().num_rows == 1
    assert result.summary["evidence"]["fewest_nameable"] == 11
    assert result.summary["evidence"]["verdict"] == {
        "state": "undecided",
        "sentence": "Undecided: with 160 people in the null, nobody is named even if all 10 candidate identities are given "
        "away together (false discovery rate 5 %).",
    }


def test_no_null_pair_seen_is_not_said_to_be_none_ever(world: dict[str, Any], tmp_path: Path):
    """The chance pairs are bounded by the rate of searches beside them, not by a bootstrap of zeros."""
    run(world, tmp_path / "run")

    rates = json.loads((tmp_path / "run" / "evidence.json").read_text())["rates"]
    searches, photos = artefacts.read_table(tmp_path / "run" / "samples.parquet", "samples").num_rows, 80
    assert rates["false_pairs_expected"] == 0.0
    assert rates["fpir"]["high"] > 0.0
    assert rates["false_pairs_interval"] == pytest.approx([0.0, rates["fpir"]["high"] * searches * photos / 40])
