"""`scanner check`: the answer on stderr in words, on stdout as JSON, in a file when asked."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from check_run import vector_column, write_run
from click.testing import CliRunner, Result

from scanner.cli.check import command
from scanner.errors import UsageError

DIM = 32


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    rng = np.random.default_rng(0)
    samples = unit(rng.normal(size=(60, DIM)))
    write_run(
        folder / "run",
        samples=samples,
        null=unit(rng.normal(size=(240, DIM))),
        null_identities=[f"n{r // 2}" for r in range(240)],
    )
    near = unit(samples[:1] + 0.1 * rng.normal(size=(2, DIM)))
    pq.write_table(pa.table({"embedding": vector_column(near)}), folder / "photos.parquet")
    return folder


def call(place: Path, *words: object) -> Result:
    arguments = [str(place / "photos.parquet"), "--run", str(place / "run"), "--embedded-by", "net", *map(str, words)]
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def test_the_answer_is_said_and_the_last_line_is_json(place: Path, tmp_path: Path):
    ran = call(place, "--out", tmp_path / "answer.json")

    assert ran.return_value == 0
    document = json.loads(ran.stdout.splitlines()[-1])
    assert document["state"] == "closer"
    assert document["sentence"] in ran.stderr
    assert all(word in ran.stderr for word in document["words"])
    assert json.loads((tmp_path / "answer.json").read_text()) == document
    assert document["evidence"]["photos"] == 2
    assert document["level"] == 0.01


def test_json_alone_and_other_options(place: Path):
    ran = call(place, "--json", "--photos-of", "many", "--level", "0.05", "--seed", "3")

    assert ran.stderr == ""
    document = json.loads(ran.stdout)
    assert document["evidence"]["of"] == "many"
    assert document["level"] == 0.05


def test_an_answer_that_is_there_is_replaced_only_by_force(place: Path, tmp_path: Path):
    (tmp_path / "answer.json").write_text("mine")

    refused = call(place, "--out", tmp_path / "answer.json")
    forced = call(place, "--out", tmp_path / "answer.json", "--force")

    assert isinstance(refused.exception, UsageError)
    assert forced.return_value == 0
    assert json.loads((tmp_path / "answer.json").read_text())["state"] == "closer"
