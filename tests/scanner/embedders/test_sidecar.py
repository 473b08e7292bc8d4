"""The JSON beside a network: read, or refused with every problem in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scanner.embedders.sidecar import Sidecar, read_sidecar
from scanner.errors import ModelError

KNOWN = "Known keys: sha256, licence, input_size, channel_order, mean, scale, output, pooling, dim."


def beside(tmp_path: Path, text: str) -> Path:
    (tmp_path / "face.json").write_text(text, "utf-8")
    return tmp_path / "face.onnx"


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ModelError) as caught:
        read_sidecar(beside(tmp_path, text))
    return str(caught.value)


def test_without_a_json_arcfaces_conventions_hold(tmp_path):
    sidecar, described = read_sidecar(tmp_path / "face.onnx")

    assert not described
    assert (sidecar.channel_order, sidecar.mean, sidecar.scale) == ("RGB", (127.5, 127.5, 127.5), 1 / 127.5)
    assert (sidecar.input_size, sidecar.output, sidecar.pooling, sidecar.dim, sidecar.sha256) == (None,) * 5
    assert sidecar.licence == "not stated"


def test_a_whole_description_is_read(tmp_path):
    text = {
        "sha256": "a" * 64, "licence": "MIT", "input_size": [96, 112], "channel_order": "BGR", "mean": [1, 2, 3],
        "scale": [0.1, 0.2, 0.3], "output": "fc1", "pooling": "max", "dim": 512,
    }  # fmt: skip

    assert read_sidecar(beside(tmp_path, json.dumps(text))) == (
        Sidecar(
            sha256="a" * 64, licence="MIT", input_size=(96, 112), channel_order="BGR", mean=(1.0, 2.0, 3.0),
            scale=(0.1, 0.2, 0.3), output="fc1", pooling="max", dim=512,
        ),
        True,
    )  # fmt: skip


def test_all_problems_are_listed_with_their_keys(tmp_path):
    said = refused(tmp_path, '{"chanel_order": "BGR", "mean": [1, 2], "pooling": "median", "sha256": "abc", "dim": 0}')

    assert said == (
        f"{tmp_path / 'face.json'} does not describe a network: "
        "sha256: String should match pattern '^[0-9a-f]{64}$'; mean.2: Field required; "
        "pooling: Input should be 'mean' or 'max'; dim: Input should be greater than or equal to 1; "
        f"chanel_order: Extra inputs are not permitted. {KNOWN}"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"mean": [NaN, 0, 0]}', "mean.0: Input should be a finite number"),
        ('{"input_size": [0, 112]}', "input_size.0: Input should be greater than 0"),
        ('{"input_size": [112, -1]}', "input_size.1: Input should be greater than 0"),
        ('{"input_size": [112]}', "input_size.1: Field required"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, text, problem):
    assert refused(tmp_path, text) == f"{tmp_path / 'face.json'} does not describe a network: {problem}. {KNOWN}"


@pytest.mark.parametrize("text", ["", "{", "{'mean': 1}", "\ufeff{}"])
def test_what_is_no_json_is_refused(tmp_path, text):
    said = refused(tmp_path, text)

    assert said.startswith(f"{tmp_path / 'face.json'} is no readable JSON: ")


def test_a_json_that_is_no_object_is_refused(tmp_path):
    said = refused(tmp_path, "[1]")

    assert said.startswith(f"{tmp_path / 'face.json'} does not describe a network: ")
    assert "valid dictionary" in said


@pytest.mark.parametrize("scale", ["0", "[1, 0, 1]"])
def test_a_scale_that_blinds_the_network_is_refused(tmp_path, scale):
    assert refused(tmp_path, f'{{"scale": {scale}}}') == (
        f"{tmp_path / 'face.json'} does not describe a network: scale: Value error, a scale of 0 blinds the network: "
        f"every picture would get the same vector. {KNOWN}"
    )
