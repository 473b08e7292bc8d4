"""A rewritten PReLU gives the same bits as onnxruntime's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from scanner.embedders.fast_prelu import rewrite_prelu

RNG = np.random.default_rng(3)


def drawn(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def answer(model: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


@pytest.mark.parametrize(
    ("slope", "kinds"),
    [
        (drawn(8, 1, 1), ["Conv", "Relu", "Conv", "Relu", "Conv", "Add", "Conv"]),
        (drawn(1, 1, 1), ["Conv", "LeakyRelu", "Conv"]),
        (drawn(1), ["Conv", "LeakyRelu", "Conv"]),
        (drawn(8, 6, 1), ["Conv", "PRelu", "Conv"]),
        (drawn(6), ["Conv", "PRelu", "Conv"]),
    ],
)
def test_the_same_bits(write_onnx: Callable[..., Path], slope: NDArray[np.float32], kinds: list[str]) -> None:
    weights = [
        numpy_helper.from_array(a, n) for n, a in (("w", drawn(8, 3, 1, 1)), ("s", slope), ("v", drawn(5, 8, 3, 3)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("PRelu", ["h", "s"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["y"]),
    ]
    path = write_onnx(nodes, shape=("n", 3, 6, 6), weights=weights)
    before, after = onnx.load(str(path)), onnx.load(str(path))
    x = np.concatenate([drawn(4, 3, 6, 6), np.zeros((1, 3, 6, 6), np.float32), drawn(1, 3, 6, 6) * 1e30])

    count = rewrite_prelu(after)

    assert [node.op_type for node in after.graph.node] == kinds
    assert count == ("PRelu" not in kinds)
    assert np.array_equal(answer(before, x), answer(after, x))


@pytest.mark.parametrize("channels", [8, 16])
def test_nan_stays_nan(write_onnx: Callable[..., Path], channels: int) -> None:
    """The road rejects faces whose vector is not finite; a ReLU that made 0 of NaN would hide a broken network."""
    broken = drawn(channels, 3, 3, 3)
    broken[3] = np.nan
    arrays = {"w": broken, "s": drawn(channels, 1, 1), "v": drawn(5, channels, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("PRelu", ["h", "s"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["y"]),
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    model = onnx.load(str(write_onnx(nodes, shape=("n", 3, 8, 8), weights=weights)))

    assert rewrite_prelu(model) == 1

    assert np.isnan(answer(model, drawn(2, 3, 8, 8))).all()


@pytest.mark.real
@pytest.mark.parametrize(("name", "count"), [("face-reid-0095.onnx", 48), ("mobilefacenet.onnx", 33)])
def test_real_recognisers_give_the_same_bits(real: Path, name: str, count: int) -> None:
    before, after = (onnx.load(str(real / "models" / name)) for _ in range(2))

    assert rewrite_prelu(after) == count

    x = RNG.uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    assert np.array_equal(answer(before, x), answer(after, x))
