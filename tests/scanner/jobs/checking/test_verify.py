"""`report verify`: a run holds as it was written, and every change of it is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from check_run import vector_column

from scanner import BuildOptions, ScanOptions, artefacts, build, scan
from scanner.errors import ArtefactError, UsageError
from scanner.jobs.checking.verify import verify
from scanner.jobs.checking.verify_tables import TABLES

DIM = 32


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with five leaked people, 40 candidates and a null of 400."""
    folder = tmp_path_factory.mktemp("verify")
    rng = np.random.default_rng(0)
    people = {"cand": np.repeat(np.arange(40), 2), "null": np.repeat(np.arange(400), 2)}
    vectors = {}
    for name, codes in people.items():
        vectors[name] = unit(
            unit(rng.normal(size=(codes.max() + 1, DIM)))[codes] + 0.1 * rng.normal(size=(len(codes), DIM))
        )
    leaked = vectors["cand"][[0, 10, 20, 30, 40]] + 0.02 * rng.normal(size=(5, DIM))
    vectors["queries"] = unit(np.concatenate([rng.normal(size=(60, DIM)), leaked]))
    specs = {}
    for name, values in vectors.items():
        labels = [f"{name}{code}" for code in people[name]] if name in people else [None] * len(values)
        table = {"embedding": vector_column(values), "identity": pa.array(labels, pa.string())}
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
        specs[name] = str(folder / f"{name}.parquet")
    for name in people:
        build(folder / f"{name}.idx", specs[name], options=BuildOptions(embedded_by="net"))
    options = ScanOptions(threshold=0.75, embedded_by="net", null=(str(folder / "null.idx"),))
    scan(specs["queries"], against=folder / "cand.idx", out=folder / "run", options=options)
    scan(
        specs["queries"],
        against=folder / "cand.idx",
        out=folder / "plain",
        options=ScanOptions(threshold=0.75, embedded_by="net"),
    )
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit(run: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((run / name).read_text())
    change(document)
    (run / name).write_text(json.dumps(document))


def rewrite(run: Path, name: str, change: Callable[[list[dict[str, Any]]], Any], *, cover: bool = True) -> None:
    """Change rows of a table and, to cover it up, its hash in evidence.json."""
    from scanner.jobs.scanning.evidence import file_sha256

    path = run / f"{name}.parquet"
    table = artefacts.read_table(path, name)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    if cover:
        edit(run, "evidence.json", lambda d: d["files"].update({path.name: file_sha256(path)}))


def expect(run: Path, *wanted: str) -> None:
    """All of these are among the differences."""
    found = verify(run).differences
    assert [what for what in wanted if not any(what in difference for difference in found)] == []


def test_a_run_holds_as_it_was_written(finished: Path):
    verified = verify(finished)

    assert verified.differences == ()
    assert verified.holds
    assert verified.notes == ()
    assert len(verified.checked) == 12
    assert json.loads((finished / "evidence.json").read_text())["verdict"]["state"] == "named"


def test_a_changed_byte_in_any_table_is_found(run: Path):
    for name in TABLES:
        path = run / f"{name}.parquet"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    expect(run, *(f"{name}.parquet: sha256" for name in TABLES))


def test_a_dropped_table_is_found(run: Path):
    for name in TABLES:
        (run / f"{name}.parquet").unlink()
    edit(run, "evidence.json", lambda d: d.update(files={}))

    expect(run, *(f"{name}.parquet: sha256: recorded 'nothing', worked out 'no file'" for name in TABLES))


@pytest.mark.parametrize("name", ["photos", "samples", "queries", "matches", "identities"])
def test_a_dropped_row_is_found_even_when_the_hash_is_mended(run: Path, name: str):
    rewrite(run, name, lambda rows: rows.pop())

    differences = verify(run).differences
    assert differences
    assert not any("sha256" in difference for difference in differences)


def test_a_changed_score_is_found_even_when_the_hash_is_mended(run: Path):
    rewrite(run, "photos", lambda rows: [row.update(best_score=0.1) for row in rows[:2]])

    expect(run, "identities.parquet: best_score", "evidence.json: identities: below_level: recorded 5, worked out 4")


def test_changed_values_are_found_and_named(run: Path):
    changes = {
        "identities": {"p_value": 0.5, "q_value": 0.4, "clusters": 9},
        "queries": {"p_paired": 0.5, "matches": 7},
        "matches": {"score": 0.1, "q_value": 0.9, "rank": 2},
        "samples": {"cluster": 3, "null_score": 0.99},
    }
    for table, change in changes.items():
        rewrite(run, table, lambda rows, change=change: rows[0].update(change))

    expect(
        run,
        "identities.parquet: p_value: row 0: recorded 0.5",
        "identities.parquet: q_value: row 0: recorded 0.4",
        "identities.parquet: clusters: row 0: recorded 9",
        "queries.parquet: p_paired: row 0",
        "queries.parquet: null_score: row 0",
        "queries.parquet: matches: row 0: recorded 7, worked out 0",
        "matches.parquet: verdict: row 0: recorded 'match', worked out 'clear'",
        "matches.parquet: q_value: row 0",
        "matches.parquet: rank: row 0",
        "samples.parquet: cluster: row 0",
    )


def test_an_edited_statement_is_found(run: Path):
    def change(document: dict[str, Any]) -> None:
        document["verdict"].update(sentence="Nobody.", state="none")
        document["power"].update(wanted=0.1)
        document["guards"].pop()
        document["rates"]["fpir"].update(value=0.123)
        document["inputs"].update(queries=["x"])
        document["fits"]["null_fit"].update(auc=0.9, p_value=1e-9)
        document["fits"].update(candidate_references=81)
        document["blessing"] = "all is well"

    edit(run, "evidence.json", change)

    expect(
        run,
        "evidence.json: verdict: sentence: recorded 'Nobody.'",
        "evidence.json: verdict: state: recorded 'none', worked out 'named'",
        "evidence.json: power: wanted: recorded 0.1",
        "evidence.json: guards",
        "evidence.json: rates: fpir: value: recorded 0.123",
        "evidence.json: inputs: queries",
        "evidence.json: fits: null_fit: differ: recorded False, worked out True",
        "evidence.json: fits: candidate_references: recorded 81, worked out 80",
        "evidence.json: blessing: recorded 'all is well', worked out 'nothing'",
    )


def test_what_is_missing_from_a_statement_is_found(run: Path):
    edit(run, "evidence.json", lambda d: (d.pop("files"), d.pop("population")))

    expect(
        run,
        "hashes of the tables: could not be worked out again",
        "evidence.json: population: recorded 'nothing'",
    )


def test_words_in_place_of_objects_are_found(run: Path):
    edit(run, "run.json", lambda d: d.update(evidence={**d["evidence"], "verdict": 3}))
    expect(run, "the page: could not be worked out again")

    edit(run, "run.json", lambda d: d.update(evidence="all is well"))
    expect(run, "could not be worked out again: 'str' object has no attribute")


def test_a_changed_policy_is_found(run: Path):
    edit(run, "policy.json", lambda d: d.update(level=0.2))

    expect(run, "policy.json: sha256", "evidence.json: identities: level: recorded 0.05, worked out 0.2")


def test_a_changed_policy_with_its_hash_mended_is_found_where_the_run_shows_it(run: Path):
    from scanner.jobs.scanning.policy import policy_sha256

    edit(run, "policy.json", lambda d: (d.update(seed=9), d["threshold"].update(value=0.5)))
    policy = json.loads((run / "policy.json").read_text())
    edit(run, "evidence.json", lambda d: d.update(policy_sha256=policy_sha256(policy)))

    expect(
        run,
        "run.json against policy.json: seed: recorded 0, worked out 9",
        "run.json: threshold.value: recorded 0.75, worked out 0.5",
    )


def test_an_edited_account_is_found(run: Path):
    def change(document: dict[str, Any]) -> None:
        document["counts"].update(rejected=3)
        document["results"].update(matches=1)
        document["threshold"].update(value=0.9999)
        document["evidence"].update(below_level=0)
        document["evidence"]["verdict"].update(sentence="Nobody.")
        document["indexes"][0]["canaries"].update(found=0)

    edit(run, "run.json", change)

    expect(
        run,
        "run.json: counts",
        "run.json: results: matches: recorded 1",
        "run.json: threshold.value: recorded 0.9999, worked out 0.75",
        "matches.parquet: verdict",
        "run.json: evidence: below_level: recorded 0",
        "run.json: evidence: verdict: sentence",
        "run.json: canaries of cand.idx",
    )


def test_an_edited_page_is_found(run: Path):
    page = run / "report.html"
    page.write_text(page.read_text().replace("5 of 40", "0 of 40"))

    assert verify(run).differences == (
        "report.html: is not the page of these files; make it again with scanner report html",
    )


def test_a_run_without_a_null_has_nothing_to_verify_and_a_missing_manifest_is_no_such_run(run: Path, finished: Path):
    with pytest.raises(UsageError, match="it holds matches, but no evidence to verify"):
        verify(finished.parent / "plain")
    (run / "evidence.json").unlink()
    with pytest.raises(ArtefactError, match=r"evidence\.json is not there"):
        verify(run)


def test_the_hash_of_the_manifest_changes_with_any_of_it(run: Path):
    before = verify(run).evidence_sha256
    edit(run, "evidence.json", lambda d: d["code"].update(sha256="0"))
    after = verify(run)

    assert after.evidence_sha256 != before
    assert after.notes == (
        "the run was made by another version of the scanner; the values are those of the present one",
    )
