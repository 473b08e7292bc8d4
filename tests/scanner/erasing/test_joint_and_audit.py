"""Joint statements of several embedders, audits, and documents in general."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from everything_folder import AT

from indexes.atomic import write_json
from scanner import ScanOptions, artefacts, build
from scanner.erasing import Wanted, erase_everywhere
from scanner.erasing.documents import scrub
from scanner.erasing.known import Known
from scanner.jobs.checking.verify import verify
from scanner.jobs.scanning.witness import scan_with_witnesses
from scanner.records import content_id

DIM, PEOPLE, NULLS = 16, 20, 150
RECEIPT = "ef" * 32


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_embeddings(path: Path, vectors: np.ndarray, labels: list[str | None], *, net: str, what: str) -> str:
    """Write what `scanner embed` would: the same pictures for every network."""
    n = len(vectors)
    columns = {
        "id": [f"{content_id(f'{what}{row}'.encode())}:0" for row in range(n)],
        "item_id": [content_id(f"{what}{row}".encode()) for row in range(n)],
        "uri": [f"{what}/{row}.png" for row in range(n)], "identity": labels, "face": [0] * n,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), DIM),
    }  # fmt: skip
    schema = artefacts.stamped(artefacts.embeddings_schema(DIM), "embeddings", fingerprint=net)
    artefacts.write_tables(path, schema, [artefacts.table_of(schema, columns)])
    return str(path)


@pytest.fixture
def joint(tmp_path: Path) -> Path:
    """A run of two embedders on 20 people, two of whom leaked."""
    rng, state = np.random.default_rng(3), tmp_path / "state"
    state.mkdir()
    truth = {
        "cand": np.repeat(rng.normal(size=(PEOPLE, DIM)), 2, axis=0),
        "null": np.repeat(rng.normal(size=(NULLS, DIM)), 2, axis=0),
    }
    labels = {
        "cand": [f"cand-{row // 2:03d}" for row in range(2 * PEOPLE)],
        "null": [f"null-{row // 2:03d}" for row in range(2 * NULLS)],
    }
    truth["query"] = np.concatenate([truth["cand"][[6, 10]], rng.normal(size=(30, DIM))])
    queries = []
    for net in ("net-a", "net-b"):
        for name, what in truth.items():
            path = tmp_path / f"{name}-{net}.parquet"
            seen = unit(what + 0.2 * rng.normal(size=what.shape))
            spec = write_embeddings(path, seen, labels.get(name, [None] * len(what)), net=net, what=name)
            if name == "query":
                queries.append(spec)
            else:
                build(state / f"{name}-{net}.idx", spec)
    scan_with_witnesses(
        queries, against=[str(state / f"cand-{net}.idx") for net in ("net-a", "net-b")],
        null=[str(state / f"null-{net}.idx") for net in ("net-a", "net-b")], out=state / "run",
        options=ScanOptions(threshold=0.8),
    )  # fmt: skip
    return state


def test_a_person_goes_from_the_joint_statement_and_all_its_runs(joint: Path) -> None:
    kept = verify(joint / "run").evidence_sha256
    assert "cand-003" in (joint / "run" / "joint.json").read_text() + (joint / "run" / "report.html").read_text()

    done = erase_everywhere([joint], Wanted(identities=("cand-003",)), clock=lambda: AT, receipt=lambda: RECEIPT)

    assert done.complete, done.left
    assert done.counts["joint"] == 1
    for path in joint.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".html"):
            assert "cand-003" not in path.read_text(), path
    assert pq.read_metadata(joint / "run" / "joint.parquet").num_rows == PEOPLE - 1
    verified = verify(joint / "run")
    assert verified.differences == ()
    assert "the joint statement" not in verified.checked
    assert verified.evidence_sha256_before == kept
    assert verify(joint / "run" / "witness-2").holds


def test_of_a_source_the_joint_statement_loses_everybody_of_whom_nothing_is_left(joint: Path) -> None:
    done = erase_everywhere([joint], Wanted(sources=("cand/",)), clock=lambda: AT, receipt=lambda: RECEIPT)

    assert done.complete, done.left
    assert pq.read_metadata(joint / "run" / "joint.parquet").num_rows == 0
    assert verify(joint / "run").holds


def test_an_audit_loses_the_person_and_photos_that_could_be_anybodys(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    schema = pa.schema([pa.field("identity", pa.string()), pa.field("best_score", pa.float32())])
    schema = artefacts.stamped(schema, "scores")
    table = artefacts.table_of(schema, {"identity": ["p-17", "p-18"], "best_score": [0.5, 0.25]})
    artefacts.write_tables(folder / "scores.parquet", schema, [table])
    people = [{"identity": "p-17", "share": 0.5}, {"identity": "p-18", "share": 0.5}]
    document = {
        "generators": [{"name": "g", "dose": {"people": people}}], "files": {"scores.parquet": "0" * 64},
        "split": {"pictures": {"originals": ["iVBORw0"]}, "verdict": {"state": "pass"}},
    }  # fmt: skip
    write_json(folder / "audit.json", document)
    (folder / "report.html").write_text("<p>p-17</p>")

    done = erase_everywhere([tmp_path], Wanted(identities=("p-17",)), clock=lambda: AT, receipt=lambda: RECEIPT)

    after = json.loads((folder / "audit.json").read_text())
    assert done.complete, done.left
    assert after["generators"][0]["dose"]["people"] == [{"identity": "p-18", "share": 0.5}]
    assert after["split"] == {"pictures": None, "verdict": {"state": "pass"}}
    assert after["erasures"][0]["rows"] == {"scores.parquet": 1}
    assert after["erasures"][0]["files_before"] == {"scores.parquet": "0" * 64}
    assert after["files"]["scores.parquet"] != "0" * 64
    assert not (folder / "report.html").exists()  # it could not be made again from so little


def test_words_are_taken_out_where_they_name_somebody_and_left_where_they_are_other_words() -> None:
    known = Known(labels={"none"}, items={"0" * 32}, sources=("s3://bucket/anna/",), uris={"a/1.png"})
    document = {
        "state": "none", "identity": "none", "first": ["none", "other"], "queries": ["s3://bucket/anna", "s3://bucket/b"],
        "findings": [{"identity": "none", "reason": "x"}, {"uri": "a/1.png"}, {"identity": "other"}],
        "item": "0" * 32, "face": f"{'0' * 32}:1", "deep": {"a": {"uri": "a/1.png"}}, "count": 3,
    }  # fmt: skip

    clean, hits = scrub(document, known)

    assert clean is None
    inside, hits_inside = scrub({"body": document}, known)
    assert inside == {"body": "(erased)"}
    assert hits == hits_inside == 1
    named = document.pop("identity")
    clean, hits = scrub(document, known)
    assert named == "none"
    assert clean == {
        "state": "none", "first": ["other"], "queries": ["s3://bucket/b"], "findings": [{"identity": "other"}],
        "item": "(erased)", "face": "(erased)", "deep": {"a": "(erased)"}, "count": 3,
    }  # fmt: skip
    assert hits == 7
