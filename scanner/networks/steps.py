"""What a step of a graph is: a layer with weights, or something that belongs with the layer before it."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.nn import functional

WEIGHTED = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)
"""Layers that mix channels or places with learned numbers."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_FOLLOWING = (
    *NORMS,
    nn.InstanceNorm2d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Softmax,
    nn.LogSoftmax,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
    nn.Identity,
)
_FOLLOWING_NAMES = frozenset(
    [
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "leaky_relu_",
        "prelu",
        "elu",
        "elu_",
        "selu",
        "gelu",
        "silu",
        "silu_",
        "mish",
        "hardtanh",
        "hardtanh_",
        "hardswish",
        "hardswish_",
        "hardsigmoid",
        "sigmoid",
        "tanh",
        "softplus",
        "softmax",
        "log_softmax",
        "clamp",
        "clip",
        "maximum",
        "minimum",
        "max_of",
        "min_of",
        "batch_norm",
        "instance_norm",
        "group_norm",
        "layer_norm",
        "normalize",
        "dropout",
        "dropout2d",
        "flatten",
        "squeeze",
        "unsqueeze",
        "view",
        "reshape",
        "contiguous",
        "identity",
        "permute",
        "transpose",
        "to",
        "type_as",
        "float",
        "add_constant",
        "sub",
        "mul",
        "div",
    ]
)
_WEIGHTED_FUNCTIONS = (
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
    functional.linear,
    functional.bilinear,
    torch.addmm,
)


def adds_a_layer(module: fx.GraphModule, node: fx.Node) -> int:
    """Return 1 for a layer with weights, else 0."""
    if node.op == "call_module":
        return int(isinstance(module.get_submodule(str(node.target)), WEIGHTED))
    return int(node.op == "call_function" and node.target in _WEIGHTED_FUNCTIONS)


def follows_on(module: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a step belongs with what is before it: one input, no choice of neighbours, no learned mixing."""
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), _FOLLOWING)
    if node.op not in {"call_function", "call_method"}:
        return False
    fed = [source for source in node.all_input_nodes if source.op != "get_attr"]
    return len(fed) == 1 and step_name(node) in _FOLLOWING_NAMES | {"add"}


def step_name(node: fx.Node) -> str:
    """Return what a function or method is called, without its overload: `relu` for `aten.relu.default`."""
    if isinstance(node.target, OpOverload):
        return str(node.target).split(".")[1]
    return str(node.target) if isinstance(node.target, str) else getattr(node.target, "__name__", "").strip("_")
