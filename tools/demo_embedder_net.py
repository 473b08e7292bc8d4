"""The demo embedder's network, its training loss and its ONNX form. Needs torch.

A small residual network: 112 px in, halved by the first layer, 28 -> 14 -> 7 px maps,
128 numbers out. About 20 million multiply-adds and half a million weights. The second
network, which judges what is re-created from the first, is narrower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

INPUT_NAME, OUTPUT_NAME = "crops", "embedding"
_OPSET = 17


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a straight wire."""

    def __init__(self, width: int) -> None:
        """Keep size and number of channels."""
        super().__init__()
        self.first = ConvNorm(width, width, stride=1)
        self.second = ConvNorm(width, width, stride=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Take and give float32 (n, width, h, w)."""
        return torch.relu(maps + self.second(torch.relu(self.first(maps))))


class ConvNorm(nn.Module):
    """A 3 x 3 convolution and its batch norm, which export folds into one layer."""

    def __init__(self, width_in: int, width_out: int, *, stride: int) -> None:
        """Pad by one, so stride 1 keeps and stride 2 halves the size."""
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(width_out)

    def forward(self, maps: Tensor) -> Tensor:
        """Take float32 (n, width_in, h, w), give (n, width_out, h / stride, w / stride)."""
        return self.norm(self.conv(maps))  # type: ignore[no-any-return]


class DemoEmbedder(nn.Module):
    """Halved crops to vectors; `write_onnx` puts the halving in front."""

    def __init__(self, widths: tuple[int, int, int], *, dim: int) -> None:
        """Choose the channels at 28, 14 and 7 pixels, and the length of a vector."""
        super().__init__()
        at_28, at_14, at_7 = widths
        self.stem = ConvNorm(3, at_28, stride=2)
        self.down_14 = ConvNorm(at_28, at_14, stride=2)
        self.block_14 = Residual(at_14)
        self.down_7 = ConvNorm(at_14, at_7, stride=2)
        self.block_7 = Residual(at_7)
        self.squeeze = nn.Conv2d(at_7, 32, 1)
        # Places matter in an aligned face, so the map is flattened, not averaged.
        self.project = nn.Linear(32 * 7 * 7, dim)

    def forward(self, halved: Tensor) -> Tensor:
        """Embed float32 (n, 3, 56, 56) in [-1, 1]: (n, dim), not normalised."""
        maps = torch.relu(self.stem(halved))
        maps = self.block_14(torch.relu(self.down_14(maps)))
        maps = self.block_7(torch.relu(self.down_7(maps)))
        return self.project(self.squeeze(maps).flatten(1))  # type: ignore[no-any-return]


def pair_loss(vectors: Tensor, *, scale: float, margin: float) -> Tensor:
    """Tell each photo's partner from everyone else in the batch (CosFace margin).

    The classes of a batch are its people, one prototype each: the other photo. This
    needs no table of class centres, which thousands of people and a few passes over the
    photos would leave untrained.

    Args:
        vectors: (2 * people, d), rows 2i and 2i + 1 show the same person.
        scale: inverse temperature of the softmax.
        margin: how much closer than needed a partner must be, in cosine.
    """
    unit = nn.functional.normalize(vectors)
    scores = unit @ unit.T
    rows = torch.arange(len(unit))
    partner = rows ^ 1
    scores = scores.index_put((rows, partner), scores[rows, partner] - margin)
    scores = scores.index_put((rows, rows), torch.tensor(-1e4))
    # Fill with a value no softmax sees: a photo is not its own partner.
    return nn.functional.cross_entropy(scale * scores, partner)


def write_onnx(model: DemoEmbedder, path: Path) -> None:
    """Write the network as ONNX: float32 (n, 3, 112, 112) RGB in, (n, dim) out.

    The graph is spelled out node by node, batch norms folded: thirteen nodes that any
    runtime of opset 17 reads, whichever exporter the installed torch prefers.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def store(name: str, values: NDArray[np.float32]) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolve(layer: ConvNorm, source: str, name: str, *, relu: bool = True) -> str:
        kernel, bias = _fold(layer)
        inputs = [source, store(f"{name}_kernel", kernel), store(f"{name}_bias", bias)]
        out = add("Conv", inputs, name, pads=[1, 1, 1, 1], strides=list(layer.conv.stride))
        return add("Relu", [out], f"{name}_relu") if relu else out

    def residual(block: Residual, source: str, name: str) -> str:
        inner = convolve(block.first, source, f"{name}_first")
        inner = convolve(block.second, inner, f"{name}_second", relu=False)
        return add("Relu", [add("Add", [source, inner], f"{name}_sum")], f"{name}_relu")

    flow = add("AveragePool", [INPUT_NAME], "halve", kernel_shape=[2, 2], strides=[2, 2])
    flow = convolve(model.down_14, convolve(model.stem, flow, "stem"), "down_14")
    flow = residual(model.block_14, flow, "block_14")
    flow = residual(model.block_7, convolve(model.down_7, flow, "down_7"), "block_7")
    for layer, name in ((model.squeeze, "squeeze"), (model.project, "project")):
        store(f"{name}_weight", layer.weight.detach().numpy())
        assert layer.bias is not None
        store(f"{name}_bias", layer.bias.detach().numpy())
    flow = add("Conv", [flow, "squeeze_weight", "squeeze_bias"], "squeeze")
    flow = add("Flatten", [flow], "flat", axis=1)
    add("Gemm", [flow, "project_weight", "project_bias"], OUTPUT_NAME, transB=1)

    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", model.project.out_features])],
        weights,
    )
    opset = helper.make_opsetid("", _OPSET)
    written = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(written, full_check=True)
    partial = path.with_suffix(".tmp")
    partial.write_bytes(written.SerializeToString())
    partial.replace(path)


def _fold(layer: ConvNorm) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fold a batch norm in its convolution: kernel (out, in, 3, 3) and bias (out,)."""
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    kernel = layer.conv.weight.detach() * gain[:, None, None, None]
    bias = norm.bias.detach() - gain * norm.running_mean
    return kernel.numpy(), bias.numpy()
