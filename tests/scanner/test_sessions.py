"""ONNX files: what is opened, on which device, and what is refused before it runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from scanner.errors import ModelError, UsageError
from scanner.sessions import Device, choose_device, open_session, read_model

CUDA = Device("cuda", "CUDAExecutionProvider", "cuda: onnxruntime has the CUDA provider")
RELU = helper.make_node("Relu", ["x"], ["y"])


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model(path)
    return str(caught.value)


def elsewhere(name: str) -> TensorProto:
    """A weight whose numbers lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "secret.bin"), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def providers(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(names))


def test_what_is_hashed_is_what_is_read(write_onnx):
    path = write_onnx([RELU])

    model = read_model(path)

    assert (model.path, model.data) == (path, path.read_bytes())
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_missing_file_is_named_with_those_that_are_there(tmp_path):
    missing = f"There is no network {tmp_path / 'no.onnx'}. Networks in {tmp_path}:"
    assert refused(tmp_path / "no.onnx") == f"{missing} none."

    for name in ("b.onnx", "a.onnx", "a.json"):
        (tmp_path / name).touch()
    assert refused(tmp_path / "no.onnx") == f"{missing} a.onnx, b.onnx."


def test_a_folder_is_no_network(tmp_path):
    assert refused(tmp_path) == f"The network {tmp_path} cannot be read: Is a directory."


@pytest.mark.parametrize("data", [b"\x00" * 64, b"GIF89a not a network", bytes(range(256)) * 9, b"\x80\x04\x95pickle."])
def test_bytes_that_are_no_network_are_refused(tmp_path, data):
    path = tmp_path / "bytes.onnx"
    path.write_bytes(data)

    said = refused(path)

    assert said.startswith(f"{path} is no ONNX file: ")
    assert said.endswith(" Export the network to ONNX, opset 11 or newer.")


def test_an_empty_file_has_no_output(tmp_path):
    path = tmp_path / "empty.onnx"
    path.write_bytes(b"")

    assert refused(path) == f"{path} is no ONNX network: its graph has no output."


def test_a_file_beyond_the_limit_is_not_opened(write_onnx, monkeypatch):
    path = write_onnx([RELU])
    monkeypatch.setattr("scanner.sessions.MODEL_BYTES_MAX", 10)

    assert refused(path) == f"{path} has {path.stat().st_size} bytes; networks over 10 bytes are not opened."


def in_the_weights(graph: onnx.GraphProto) -> None:
    graph.initializer.append(elsewhere("w"))


def in_a_constant(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Constant", [], ["c"], value=elsewhere("c")))


def in_a_branch(graph: onnx.GraphProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=elsewhere("c"))
    branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("c", 1, [3])])
    graph.node.append(helper.make_node("If", ["yes"], ["c"], then_branch=branch, else_branch=branch))


def in_sparse_weights(graph: onnx.GraphProto) -> None:
    indexes = numpy_helper.from_array(np.arange(3), "i")
    graph.sparse_initializer.append(helper.make_sparse_tensor(elsewhere("w"), indexes, [9]))


@pytest.mark.parametrize("hide", [in_the_weights, in_a_constant, in_a_branch, in_sparse_weights])
def test_a_graph_that_reaches_into_other_files_is_refused_wherever_it_hides_that(write_onnx, hide):
    path = write_onnx([RELU])
    model = onnx.load(str(path))
    hide(model.graph)
    path.write_bytes(model.SerializeToString())
    (path.parent / "secret.bin").write_bytes(b"\x01" * 12)

    assert (
        refused(path) == f"{path} keeps its weights in other files. Save it as one file (onnx.save with its weights)."
    )


def test_a_function_that_reaches_into_other_files_is_refused(write_onnx):
    path = write_onnx([RELU])
    model = onnx.load(str(path))
    constant = helper.make_node("Constant", [], ["c"], value=elsewhere("c"))
    model.functions.append(helper.make_function("mine", "F", [], ["c"], [constant], [helper.make_opsetid("", 13)]))
    path.write_bytes(model.SerializeToString())

    assert (
        refused(path) == f"{path} keeps its weights in other files. Save it as one file (onnx.save with its weights)."
    )


def test_an_unknown_operator_is_a_sentence(write_onnx):
    path = write_onnx([helper.make_node("RunThis", ["x"], ["y"], domain="evil")])

    with pytest.raises(ModelError) as caught:
        open_session(path.read_bytes(), choose_device("cpu"), threads=1, what="net.onnx")
    assert str(caught.value).startswith("net.onnx cannot be run by onnxruntime: ")
    assert "RunThis" in str(caught.value)


@pytest.mark.parametrize(
    ("want", "has", "device"),
    [
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], Device("cpu", "CPUExecutionProvider", "cpu: asked for")),
        ("auto", ["CPUExecutionProvider"], Device("cpu", "CPUExecutionProvider", "auto: onnxruntime has no CUDA provider")),
        (
            "auto", ["CUDAExecutionProvider", "CPUExecutionProvider"],
            Device("cuda", "CUDAExecutionProvider", "auto: onnxruntime has the CUDA provider"),
        ),
        ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"], CUDA),
    ],
)  # fmt: skip
def test_the_device_carries_its_reason(monkeypatch, want, has, device):
    providers(monkeypatch, *has)

    assert choose_device(want) == device


def test_cuda_that_is_not_there_says_what_to_install(monkeypatch):
    providers(monkeypatch, "AzureExecutionProvider", "CPUExecutionProvider")

    with pytest.raises(ModelError) as caught:
        choose_device("cuda")
    assert str(caught.value) == (
        "--device cuda was asked for, but this onnxruntime has no CUDA provider (it has: AzureExecutionProvider, "
        "CPUExecutionProvider). Install onnxruntime-gpu in place of onnxruntime, or pass --device cpu."
    )


def test_an_unknown_device_lists_the_known_ones():
    with pytest.raises(UsageError) as caught:
        choose_device("tpu")
    assert str(caught.value) == "--device 'tpu' is not one of auto, cpu, cuda."


def test_a_session_that_fell_back_to_the_cpu_is_refused(monkeypatch, write_onnx):
    class FallsBack:
        def __init__(self, _model: bytes, _options: Any, *, providers: list[str]) -> None:
            self.asked = providers

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", FallsBack)

    with pytest.raises(ModelError) as caught:
        open_session(b"", CUDA, threads=1, what="net.onnx")
    assert str(caught.value) == (
        "net.onnx was to run on cuda, but onnxruntime opened it with ['CPUExecutionProvider']. "
        "The CUDA and cuDNN libraries that onnxruntime-gpu needs are probably missing; or pass --device cpu."
    )


def test_a_session_runs_on_the_cpu_when_asked(write_onnx):
    session = open_session(write_onnx([RELU]).read_bytes(), choose_device("cpu"), threads=2, what="net.onnx")

    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 2
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert np.array_equal(session.run(["y"], {"x": np.full((1, 3, 4, 4), -2, np.float32)})[0], np.zeros((1, 3, 4, 4)))
