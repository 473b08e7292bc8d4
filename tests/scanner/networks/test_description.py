"""A network and how to feed it, from a file; every mistake in it at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from scanner.errors import ModelError
from scanner.networks.description import open_network, read_network
from scanner.networks.tensors import write_tensors
from scanner.networks.tiny import tiny_vgg

TEXT = """
[network]
weights = "net.safetensors"
factory = "scanner.networks.tiny:tiny_vgg"
classes = 10
[input]
size = [8, 8]
channel_order = "BGR"
mean = [104, 117, 123]
scale = 0.5
"""
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "net.safetensors", tiny_vgg(seed=3).state_dict())
    (tmp_path / "net.toml").write_text(TEXT)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    (folder / "net.toml").write_text(text)
    return folder / "net.toml"


def test_a_network_is_opened_with_its_preprocessing(folder: Path) -> None:
    network = open_network(folder / "net.toml")
    images = torch.rand(2, 3, 8, 8)

    mean = torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
    expected = tiny_vgg(seed=3)((images.flip(1) * 255 - mean) * 0.5)

    torch.testing.assert_close(network(images), expected)
    assert (network.name, network.classes, network.input_shape) == ("net", 10, (3, 8, 8))


def test_json_says_the_same_as_toml(folder: Path) -> None:
    document = read_network(folder / "net.toml").model_dump(mode="json")
    (folder / "other.json").write_text(
        json.dumps({**document, "network": {**document["network"], "weights": "net.safetensors"}})
    )

    assert open_network(folder / "other.json").fingerprint == open_network(folder / "net.toml").fingerprint


def test_the_fingerprint_is_of_weights_and_description_not_of_place_or_name(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    (other / "moved.safetensors").write_bytes((folder / "net.safetensors").read_bytes())
    moved = TEXT.replace("net.safetensors", "moved.safetensors").replace("classes", 'name = "other"\nclasses')

    here = open_network(folder / "net.toml").fingerprint

    assert open_network(write(other, moved)).fingerprint == here
    assert open_network(write(other, moved.replace("0.5", "0.25"))).fingerprint != here
    write_tensors(other / "moved.safetensors", tiny_vgg(seed=4).state_dict())
    assert open_network(write(other, moved)).fingerprint != here


def test_every_problem_is_listed_with_its_key(folder: Path) -> None:
    bad = """
    [network]
    weigths = "net.safetensors"
    factory = "not a factory"
    classes = 0
    [input]
    size = [8, 8]
    chanel_order = "RGB"
    mean = [1, 2]
    scale = [1, 0, 1]
    [extra]
    """

    with pytest.raises(ModelError) as caught:
        read_network(write(folder, bad))

    message = str(caught.value)
    assert "net.toml has 8 problems" in message
    assert "network.weigths: unknown key. Did you mean 'weights'?" in message
    assert "network.weights: missing" in message
    assert "network.classes: " in message
    assert "got 0" in message
    assert "input.chanel_order: unknown key. Did you mean 'channel_order'?" in message
    assert "blinds the network" in message
    assert "extra: unknown key. Known here: network, input." in message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("size = [8, 8]", "", "either size"),
        ("size = [8, 8]", "size = [8, 8]\nlatent = 3", "either size"),
        ("[network]", "[network", "is no TOML"),
        ("net.safetensors", "absent.safetensors", "absent.safetensors cannot be read"),
        ("size = [8, 8]", "size = [9, 99]", "does not run on an input of the shape"),
        ("classes = 10", "classes = 3", "3 classes"),
        ("classes = 10", f'sha256 = "{"0" * 64}"', "is not the file that"),
        ("classes = 10", 'output = "relu"', "is for ONNX files"),
        ("scanner.networks.tiny:tiny_vgg", "theirs.nets:net", "not trusted"),
    ],
)
def test_a_wrong_description_is_a_sentence(folder: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        open_network(write(folder, TEXT.replace(old, new)))


def test_the_right_sha256_is_accepted(folder: Path) -> None:
    digest = hashlib.sha256((folder / "net.safetensors").read_bytes()).hexdigest()
    assert open_network(write(folder, TEXT.replace("classes = 10", f'sha256 = "{digest}"'))).classes is None


def test_a_generator_takes_latents(folder: Path) -> None:
    from scanner.networks.tiny import tiny_decoder

    write_tensors(folder / "net.safetensors", tiny_decoder().state_dict())
    text = (
        '[network]\nweights = "net.safetensors"\nfactory = "scanner.networks.tiny:tiny_decoder"\n[input]\nlatent = 4\n'
    )

    assert open_network(write(folder, text)).output_shape == (3, 8, 8)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_no_network(folder: Path) -> None:
    torch.jit.save(torch.jit.trace(tiny_vgg(), torch.zeros(1, 3, 8, 8)), str(folder / "net.ts.pt"))

    with pytest.raises(ModelError, match=r"cannot be taken apart into a graph.*torch\.export"):
        open_network(write(folder, '[network]\nweights = "net.ts.pt"\n[input]\nsize = [8, 8]\n'))


def test_an_onnx_file_is_described_by_its_sidecar(write_onnx: Callable[..., Path]) -> None:
    kernel = numpy_helper.from_array(np.random.default_rng(1).standard_normal((5, 3, 3, 3)).astype(np.float32), "w")
    path = write_onnx([helper.make_node("Conv", ["x", "w"], ["y"])], weights=[kernel], shape=("n", 3, 6, 5))
    path.with_suffix(".json").write_text(
        json.dumps(
            {"input_size": [5, 6], "mean": [1, 2, 3], "scale": 0.1, "channel_order": "BGR", "pooling": "max", "dim": 5}
        )
    )
    images = np.random.default_rng(2).random((2, 3, 6, 5), np.float32)
    fed = (images[:, ::-1] * 255 - np.array([1, 2, 3], np.float32).reshape(3, 1, 1)) * np.float32(0.1)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": fed.astype(np.float32)})[0].max((2, 3))

    network = open_network(path)

    assert network.input_shape == (3, 6, 5)
    np.testing.assert_allclose(network(torch.from_numpy(images)).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_drawn_recogniser_opens_as_a_network() -> None:
    network = open_network(ROOT / "scanner" / "world" / "models" / "drawn-face-128.onnx")

    assert (network.input_shape, network.output_shape, network.name) == ((3, 112, 112), (128,), "drawn-face-128")
