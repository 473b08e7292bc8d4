"""Recognisers and detectors made by somebody who means harm: refused with a sentence before onnxruntime opens them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from scanner.embedders import open_embedder
from scanner.embedders.sidecar import read_sidecar
from scanner.errors import ModelError
from scanner.sessions import choose_device, read_model

WriteOnnx = Callable[..., Path]
CPU = choose_device("cpu")


def ints(name: str, *numbers: int) -> TensorProto:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


@pytest.mark.parametrize(
    ("kind", "numbers", "shape"),
    [
        ("ConstantOfShape", (60_000, 60_000), r"\[60000, 60000\]"),
        ("Tile", (1, 1, 100_000, 100_000), r"\[0, 3, 400000, 400000\]"),
    ],
)
def test_a_tensor_of_billions_of_numbers_is_refused(
    write_onnx: WriteOnnx, kind: str, numbers: tuple[int, ...], shape: str
) -> None:
    """A graph of 200 bytes; onnxruntime asked for 14 GB when it was opened or first run."""
    inputs = ["s"] if kind == "ConstantOfShape" else ["x", "s"]
    path = write_onnx([helper.make_node(kind, inputs, ["y"])], weights=[ints("s", *numbers)])

    with pytest.raises(ModelError, match=rf"makes a tensor of the shape {shape} at 'y'"):
        read_model(path)


@pytest.mark.parametrize("shape", [("n", 3, 4096, 4096), (2000, 3, 4, 4)])
def test_pictures_or_batches_that_no_face_needs_are_refused(
    write_onnx: WriteOnnx, shape: tuple[int | str, ...]
) -> None:
    path = write_onnx([helper.make_node("Relu", ["x"], ["y"])], shape=shape)

    with pytest.raises(ModelError, match="at most 1024 of 2048 pixels a side are supported"):
        open_embedder(f"onnx:{path}", CPU)


def test_a_prelu_that_is_damaged_is_a_sentence(write_onnx: WriteOnnx) -> None:
    slope = TensorProto(name="s", data_type=TensorProto.FLOAT, dims=[7], raw_data=b"abcd")
    for inputs in (["x", "s"], ["x", "s", "x"]):
        path = write_onnx([helper.make_node("PRelu", inputs, ["y"])], weights=[slope])

        with pytest.raises(ModelError, match=r"net\.onnx"):
            open_embedder(f"onnx:{path}", CPU)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 10_000])
def test_a_description_nested_too_deeply_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "net.json").write_text(text)

    with pytest.raises(ModelError, match=r"net\.json is no readable JSON"):
        read_sidecar(tmp_path / "net.onnx")
