"""A JOB.toml that is wrong says everything that is wrong with it at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_job import document

from scanner.errors import UsageError
from scanner.nights.config import JobConfig, place_of, read_job

WRONG = """
[jobs]
folder = "x"
[job]
foldr = "state"
gone_max = 2
[embedder]
faces = "alligned"
[[candidates]]
name = "peo ple"
identity_from = "folders"
[candidate]
name = 3
[[queries]]
name = "a"
source = ["x"]
[scan]
threshhold = 0.5
fmr = 2
[after]
command = "curl x"
on = "sometimes"
"""


def test_every_problem_is_listed_with_its_key_and_the_nearest_right_name(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(WRONG)

    with pytest.raises(UsageError) as wrong:
        read_job(path)

    assert str(wrong.value).splitlines() == [
        f"{path} has 14 problems:",
        "  job.folder: missing",
        "  job.gone_max: input should be less than or equal to 1, got 2",
        "  job.foldr: unknown key. Did you mean 'folder'?",
        "  embedder.faces: input should be 'detect', 'aligned' or 'whole', got 'alligned'. Did you mean 'aligned'?",
        "  candidates[1].name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$', got 'peo ple'",
        "  candidates[1].identity_from: input should be 'labels', 'folder', 'name' or 'nothing', got 'folders'. "
        "Did you mean 'folder'?",
        "  queries[1].sources: missing",
        "  queries[1].source: unknown key. Did you mean 'sources'?",
        "  scan.fmr: input should be less than 1, got 2",
        "  scan.threshhold: unknown key. Did you mean 'threshold'?",
        "  after.command: write it as a list, in square brackets, got 'curl x'",
        "  after.on: input should be 'always', 'findings' or 'failure', got 'sometimes'",
        "  jobs: unknown key. Did you mean 'job'?",
        "  candidate: unknown key. Did you mean 'candidates'?",
        "Nothing was done. Mend the file and try again.",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"candidates": []}, "candidates: at least 1 needed"),
        (
            {"candidates": [{"name": "a"}]},
            "a needs either sources = [...], of which an index is kept, or index = a folder",
        ),
        ({"candidates": [{"name": "a", "sources": ["x"], "index": "y"}]}, "a needs either sources"),
        (
            {"queries": [{"name": "a", "sources": ["x"]}] * 2},
            "two of the queries are called a: give each a name of its own",
        ),
        ({"queries": [{"name": "a", "sources": ["generated:gen.toml?n=3"]}]}, "write them once with scanner generate"),
        ({"null": [{"name": "people", "index": "x"}]}, "two of the candidates and nulls are called people"),
        ({"null": [{"name": "x", "index": "far/people.idx/"}]}, "two of the indexes are called people.idx"),
        ({"scan": {}}, "scan: say how close counts"),
        ({"scan": {"fmr": 0.1}}, "calibrate_on"),
        ({"scan": {"threshold": 0.5, "memory": "lots"}}, "memory"),
        ({"queries": [{"name": "../x", "sources": ["x"]}]}, "queries[1].name"),
        ({"queries": [{"name": "night.json", "sources": ["x"]}]}, "ends like a file of the job's own"),
        ({"job": {"folder": ""}}, "job.folder"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, changes: dict, said: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(document(**changes)))

    with pytest.raises(UsageError) as wrong:
        read_job(path)

    assert said in str(wrong.value)


def test_paths_are_relative_to_the_file_and_urls_stay(tmp_path: Path) -> None:
    assert place_of("photos/", tmp_path) == str(tmp_path / "photos")
    assert place_of("/data/photos", tmp_path) == "/data/photos"
    assert place_of("s3://bucket/photos", tmp_path) == "s3://bucket/photos"
    (tmp_path / "face.onnx").touch()
    config = JobConfig.model_validate_json(json.dumps(document(embedder={"spec": "onnx:face.onnx"})))
    assert config.faces(tmp_path).embedder == f"onnx:{tmp_path / 'face.onnx'}"
