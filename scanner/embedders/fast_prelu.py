"""PReLU in steps that onnxruntime runs fast on a CPU; same numbers, bit for bit.

Recognisers of ArcFace's kind have a PReLU behind every convolution.  onnxruntime (1.32) runs it as a step of its own in
the plain layout, so that every convolution is repacked before and after it: two thirds of the time of a small network.
A ReLU it fuses into the convolution, and depthwise convolutions stay in the packed layout.  So with one slope for all
channels the step becomes a LeakyReLU, and with a slope s for each channel

    PReLU(x) = ReLU(x) + (-s) · ReLU((-1) · x)

with both products as depthwise convolutions of one pixel.  One of the two terms is always zero and the products are
those of the definition, so nothing is rounded otherwise.  A NaN stays one, so that a broken network's answers are still
rejected; the tests watch this, for it is a habit of onnxruntime's ReLU and not a promise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_PER_CHANNEL_NDIM = 3


def rewrite_prelu(graph_file: Any) -> int:
    """Rewrite the PReLUs of an `onnx.ModelProto` in place; return how many.

    Slopes of one number, or of shape (channels, 1, 1), which makes the input (n, channels, height, width); others, and
    slopes that are computed, are left alone.
    """
    from onnx import numpy_helper

    graph = graph_file.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    count = 0
    for node in graph.node:
        slope = stored.get(node.input[1]) if node.op_type == "PRelu" else None
        new = None if slope is None else _steps(graph, node, np.asarray(numpy_helper.to_array(slope)))
        count += new is not None
        nodes += [node] if new is None else new
    del graph.node[:]
    graph.node.extend(nodes)
    return count


def _steps(graph: Any, node: Any, slope: Any) -> list[Any] | None:
    """Return the steps that stand for one PReLU, or None where it is to stay."""
    from onnx import helper, numpy_helper

    (x, _), (y,) = node.input, node.output
    if slope.dtype != np.float32:
        return None
    if slope.size == 1:
        return [helper.make_node("LeakyRelu", [x], [y], name=node.name, alpha=float(slope.reshape(()).item()))]
    if slope.ndim != _PER_CHANNEL_NDIM or slope.shape[1:] != (1, 1):
        return None
    channels = len(slope)

    def depthwise(source: str, target: str, factors: Any) -> Any:
        weight = f"{y}/prelu/{target}/weight"
        graph.initializer.append(numpy_helper.from_array(factors.reshape(channels, 1, 1, 1), weight))
        return helper.make_node("Conv", [source, weight], [f"{y}/prelu/{target}"], group=channels, kernel_shape=[1, 1])

    return [
        helper.make_node("Relu", [x], [f"{y}/prelu/above"]),
        depthwise(x, "turned", np.full(channels, -1, np.float32)),
        helper.make_node("Relu", [f"{y}/prelu/turned"], [f"{y}/prelu/below"]),
        depthwise(f"{y}/prelu/below", "sloped", -slope),
        helper.make_node("Add", [f"{y}/prelu/above", f"{y}/prelu/sloped"], [y], name=node.name),
    ]
