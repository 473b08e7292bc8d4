"""Steps of an exported graph that are layers: convolution, linear, BatchNorm, PReLU, with weights from the archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_IMAGE_RANK = 4
Layer = tuple[str, nn.Module, Any]
"""Path, module, and the value that goes in."""


def as_layer(target: str, given: Mapping[str, Any]) -> Layer | None:
    """Return the layer that a step is, or None for a step that is a plain function.

    Args:
        target: `torch.ops.aten.NAME.OVERLOAD`.
        given: the arguments by name; weights have `key` (their path) and `tensor`.
    """
    make = _MAKERS.get(target)
    weight = given.get("weight")
    if make is None or weight is None or not _all_tensors(given) or hasattr(given["input"], "tensor"):
        return None
    layer = make(weight.tensor, given)
    if layer is None:
        return None
    for name in ("weight", "bias"):
        if given.get(name) is not None:
            setattr(layer, name, nn.Parameter(given[name].tensor, requires_grad=False))
    path = weight.key.rpartition(".")[0]
    return path, layer, given["input"]


def _all_tensors(given: Mapping[str, Any]) -> bool:
    """Return whether every weight of a step is one of the archive's."""
    names = ("weight", "bias", "running_mean", "running_var")
    return "input" in given and all(given.get(name) is None or hasattr(given[name], "tensor") for name in names)


def _pair(value: Any, default: int) -> Any:
    sizes = value if value is not None else default
    if isinstance(sizes, str | int):
        return sizes
    return tuple(sizes) if len(sizes) > 1 else int(sizes[0])


def _conv(weight: Tensor, given: Mapping[str, Any]) -> nn.Module | None:
    groups = given.get("groups", 1)
    return nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        _pair(given.get("stride"), 1),
        _pair(given.get("padding"), 0),
        _pair(given.get("dilation"), 1),
        groups,
        bias=given.get("bias") is not None,
    )


def _conv_transpose(weight: Tensor, given: Mapping[str, Any]) -> nn.Module | None:
    groups = given.get("groups", 1)
    return nn.ConvTranspose2d(
        weight.shape[0],
        weight.shape[1] * groups,
        (weight.shape[2], weight.shape[3]),
        _pair(given.get("stride"), 1),
        _pair(given.get("padding"), 0),
        _pair(given.get("output_padding"), 0),
        groups,
        bias=given.get("bias") is not None,
        dilation=_pair(given.get("dilation"), 1),
    )


def _convolution(weight: Tensor, given: Mapping[str, Any]) -> nn.Module | None:
    if weight.ndim != _IMAGE_RANK:
        return None
    return (_conv_transpose if given["transposed"] else _conv)(weight, given)


def _linear(weight: Tensor, given: Mapping[str, Any]) -> nn.Module | None:
    return nn.Linear(weight.shape[1], weight.shape[0], bias=given.get("bias") is not None)


def _batch_norm(weight: Tensor, given: Mapping[str, Any]) -> nn.Module | None:
    mean, var = given.get("running_mean"), given.get("running_var")
    if mean is None or var is None or given.get("training", False) or given.get("bias") is None:
        return None
    layer = nn.BatchNorm2d(weight.numel(), eps=given["eps"])
    layer.running_mean, layer.running_var = mean.tensor, var.tensor
    return layer


def _prelu(weight: Tensor, _: Mapping[str, Any]) -> nn.Module | None:
    return nn.PReLU(weight.numel())


_MAKERS = {
    "torch.ops.aten.conv2d.default": _conv,
    "torch.ops.aten.conv2d.padding": _conv,
    "torch.ops.aten.conv_transpose2d.input": _conv_transpose,
    "torch.ops.aten.convolution.default": _convolution,
    "torch.ops.aten.linear.default": _linear,
    "torch.ops.aten.batch_norm.default": _batch_norm,
    "torch.ops.aten.prelu.default": _prelu,
}
