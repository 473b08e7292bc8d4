"""ONNX operations that become torch layers: convolution, linear, normalisation, activation, pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from scanner.networks.onnx_build import Builder, Untranslatable, Value

Attributes = dict[str, Any]
Translation = Callable[[Builder, list[str], Attributes], Any]
_IMAGE_RANK = 4
_MATRIX_RANK = 2


def _with_weight(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight.float().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.float().clone(), requires_grad=False)
    return layer


def _optional(builder: Builder, inputs: Sequence[str], index: int, what: str) -> Tensor | None:
    return builder.constant(inputs[index], what) if len(inputs) > index and inputs[index] else None


# --- windows: convolution and pooling -----------------------------------------------------------------------------


def _window(
    builder: Builder, value: Value, kernel: Sequence[int], attributes: Attributes
) -> tuple[Any, Any, list[int]]:
    """Return stride, dilation and the padding [top, left, bottom, right] of a window over images."""
    if builder.rank(value) != _IMAGE_RANK or len(kernel) != _IMAGE_RANK - 2:
        raise Untranslatable(f"it works on {builder.rank(value)} axes; images have 4")
    stride = tuple(attributes.get("strides", (1, 1)))
    dilation = tuple(attributes.get("dilations", (1, 1)))
    auto = attributes.get("auto_pad", "NOTSET")
    pads = list(attributes.get("pads", (0, 0, 0, 0)))
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        sizes = builder.example(value).shape[2:]
        totals = [
            max((math.ceil(size / step) - 1) * step + (width - 1) * hole + 1 - size, 0)
            for size, step, width, hole in zip(sizes, stride, kernel, dilation, strict=True)
        ]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = [*less, *more] if auto == "SAME_UPPER" else [*more, *less]
    elif auto == "VALID":
        pads = [0, 0, 0, 0]
    if min(pads) < 0:
        raise Untranslatable(f"its padding {pads} is negative")
    return stride, dilation, pads


def _padded(builder: Builder, value: Value, pads: list[int], fill: float) -> tuple[Value, tuple[int, int]]:
    """Return the value and the padding that the layer itself can do; one-sided padding becomes a step before it."""
    top, left, bottom, right = pads
    if top == bottom and left == right:
        return value, (top, left)
    return builder.function(functional.pad, value, [left, right, top, bottom], "constant", fill), (0, 0)


def conv(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Conv."""
    value, weight = builder.value(inputs[0]), builder.constant(inputs[1], "weight")
    bias = _optional(builder, inputs, 2, "bias")
    stride, dilation, pads = _window(builder, value, weight.shape[2:], attributes)
    value, padding = _padded(builder, value, pads, 0.0)
    groups = int(attributes.get("group", 1))
    layer = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride,
        padding,
        dilation,
        groups,
        bias=bias is not None,
    )
    return builder.layer(_with_weight(layer, weight, bias), value)


def conv_transpose(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """ConvTranspose."""
    value, weight = builder.value(inputs[0]), builder.constant(inputs[1], "weight")
    bias = _optional(builder, inputs, 2, "bias")
    if "output_shape" in attributes or attributes.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise Untranslatable("its padding follows from an output size")
    stride, dilation, (top, left, bottom, right) = _window(builder, value, weight.shape[2:], attributes)
    if (top, left) != (bottom, right):
        raise Untranslatable("it pads one side more than the other")
    groups = int(attributes.get("group", 1))
    layer = nn.ConvTranspose2d(
        weight.shape[0],
        weight.shape[1] * groups,
        (weight.shape[2], weight.shape[3]),
        stride,
        (top, left),
        tuple(attributes.get("output_padding", (0, 0))),
        groups,
        bias=bias is not None,
        dilation=dilation,
    )
    return builder.layer(_with_weight(layer, weight, bias), value)


def max_pool(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """MaxPool."""
    value, kernel = builder.value(inputs[0]), tuple(attributes["kernel_shape"])
    stride, dilation, pads = _window(builder, value, kernel, attributes)
    if any(pad > width // 2 for pad, width in zip(pads, (*kernel, *kernel), strict=True)):
        value, padding = builder.function(functional.pad, value, _sides(pads), "constant", -math.inf), (0, 0)
    else:
        value, padding = _padded(builder, value, pads, -math.inf)
    whole = bool(attributes.get("ceil_mode", 0))
    return builder.layer(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=whole), value)


def average_pool(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """AveragePool."""
    value, kernel = builder.value(inputs[0]), tuple(attributes["kernel_shape"])
    stride, dilation, pads = _window(builder, value, kernel, attributes)
    if dilation != (1, 1):
        raise Untranslatable("its window has holes")
    counted = bool(attributes.get("count_include_pad", 0))
    one_sided = pads[:2] != pads[2:]
    if one_sided and not counted:
        raise Untranslatable("it pads one side more than the other and does not count the padding")
    value, padding = _padded(builder, value, pads, 0.0)
    whole = bool(attributes.get("ceil_mode", 0))
    return builder.layer(nn.AvgPool2d(kernel, stride, padding, whole, counted), value)


def _sides(pads: Sequence[int]) -> list[int]:
    top, left, bottom, right = pads
    return [left, right, top, bottom]


def global_pool(layer: type[nn.Module]) -> Translation:
    """GlobalAveragePool, GlobalMaxPool."""
    return lambda builder, inputs, _: builder.layer(layer(1), builder.value(inputs[0]))


# --- linear -------------------------------------------------------------------------------------------------------


def gemm(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Gemm: a linear layer where its weight is a constant."""
    value, weight = builder.value(inputs[0]), builder.value(inputs[1])
    addend = builder.value(inputs[2]) if len(inputs) > 2 and inputs[2] else None  # noqa: PLR2004
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    if attributes.get("transA", 0):
        raise Untranslatable("it transposes the batch away")
    if isinstance(weight, Tensor):
        matrix = (weight if attributes.get("transB", 0) else weight.t()).contiguous() * alpha
        bias = addend * beta if isinstance(addend, Tensor) else None
        if bias is not None and bias.numel() in {1, matrix.shape[0]}:
            bias = bias.reshape(-1).expand(matrix.shape[0])
            addend = None
        else:
            bias = None
        result = builder.layer(_linear(matrix, bias), value)
    else:
        turned = builder.function(torch.t, weight) if attributes.get("transB", 0) else weight
        result = builder.function(torch.mul, builder.function(torch.matmul, value, turned), alpha)
    if addend is None:
        return result
    return builder.function(torch.add, result, builder.function(torch.mul, addend, beta))


def _linear(matrix: Tensor, bias: Tensor | None) -> nn.Module:
    return _with_weight(nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None), matrix, bias)


def matmul(builder: Builder, inputs: list[str], _: Attributes) -> Value:
    """MatMul: a linear layer where its second factor is a constant matrix."""
    value, weight = builder.value(inputs[0]), builder.value(inputs[1])
    if isinstance(weight, Tensor) and isinstance(value, fx.Node) and weight.ndim == _MATRIX_RANK:
        return builder.layer(_linear(weight.t().contiguous(), None), value)
    return builder.function(torch.matmul, value, weight)


# --- normalisation ------------------------------------------------------------------------------------------------


def batch_norm(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """BatchNormalization, as it runs after training."""
    if attributes.get("training_mode", 0):
        raise Untranslatable("it is in training mode")
    value = builder.value(inputs[0])
    scale, shift, mean, var = (builder.constant(name, "statistics").float() for name in inputs[1:5])
    kind = nn.BatchNorm2d if builder.rank(value) == _IMAGE_RANK else nn.BatchNorm1d
    layer = kind(len(scale), eps=float(attributes.get("epsilon", 1e-5)))
    _with_weight(layer, scale, shift)
    layer.running_mean, layer.running_var = mean.clone(), var.clone()
    return builder.layer(layer, value)


def instance_norm(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """InstanceNormalization."""
    value = builder.value(inputs[0])
    scale, shift = builder.constant(inputs[1], "scale"), builder.constant(inputs[2], "shift")
    layer = nn.InstanceNorm2d(len(scale), eps=float(attributes.get("epsilon", 1e-5)), affine=True)
    return builder.layer(_with_weight(layer, scale, shift), value)


# --- activations --------------------------------------------------------------------------------------------------


class PRelu(nn.PReLU):
    """PReLU whose slopes may have any shape that broadcasts: `x` where positive, else `slope * x`."""

    def forward(self, value: Tensor) -> Tensor:
        """Return the activation."""
        return torch.where(value >= 0, value, self.weight * value)


def prelu(builder: Builder, inputs: list[str], _: Attributes) -> Value:
    """PRelu: with one slope a channel it is torch's own."""
    value, slope = builder.value(inputs[0]), builder.constant(inputs[1], "slope").float()
    shape = builder.example(value).shape
    by_channel = slope.numel() == 1 or (slope.ndim == len(shape) - 1 and slope.numel() == shape[1] == slope.shape[0])
    layer = nn.PReLU(slope.numel()) if by_channel else PRelu()
    return builder.layer(_with_weight(layer, slope.reshape(-1) if by_channel else slope, None), value)


def clip(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Clip: bounds are attributes (opset 6) or inputs (opset 11)."""
    low, high = _optional(builder, inputs, 1, "bound"), _optional(builder, inputs, 2, "bound")
    least = float(low) if low is not None else float(attributes.get("min", -math.inf))
    most = float(high) if high is not None else float(attributes.get("max", math.inf))
    return builder.layer(nn.Hardtanh(least, most), builder.value(inputs[0]))


def activation(make: Callable[[Attributes], nn.Module]) -> Translation:
    """Return the translation of an operation that is a torch layer already."""
    return lambda builder, inputs, attributes: builder.layer(make(attributes), builder.value(inputs[0]))


def softmax(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Softmax; before opset 13 it flattened what is behind its axis."""
    value = builder.value(inputs[0])
    axis = int(attributes.get("axis", 1 if builder.opset < 13 else -1))  # noqa: PLR2004
    if builder.opset < 13 and axis % builder.rank(value) != builder.rank(value) - 1:  # noqa: PLR2004
        raise Untranslatable("before opset 13 it is a softmax over several axes")
    return builder.layer(nn.Softmax(axis), value)


def hard_sigmoid(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """HardSigmoid."""
    scaled = builder.function(torch.mul, builder.value(inputs[0]), float(attributes.get("alpha", 0.2)))
    moved = builder.function(torch.add, scaled, float(attributes.get("beta", 0.5)))
    return builder.layer(nn.Hardtanh(0.0, 1.0), moved)


LAYERS: dict[str, Translation] = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Clip": clip,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Elu": activation(lambda a: nn.ELU(float(a.get("alpha", 1.0)))),
    "Gelu": activation(lambda a: nn.GELU(a.get("approximate", "none"))),
    "Gemm": gemm,
    "GlobalAveragePool": global_pool(nn.AdaptiveAvgPool2d),
    "GlobalMaxPool": global_pool(nn.AdaptiveMaxPool2d),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": activation(lambda _: nn.Hardswish()),
    "Identity": lambda builder, inputs, _: builder.value(inputs[0]),
    "InstanceNormalization": instance_norm,
    "LeakyRelu": activation(lambda a: nn.LeakyReLU(float(a.get("alpha", 0.01)))),
    "MatMul": matmul,
    "MaxPool": max_pool,
    "PRelu": prelu,
    "Relu": activation(lambda _: nn.ReLU()),
    "Selu": activation(lambda _: nn.SELU()),
    "Sigmoid": activation(lambda _: nn.Sigmoid()),
    "Softmax": softmax,
    "Softplus": activation(lambda _: nn.Softplus()),
    "Tanh": activation(lambda _: nn.Tanh()),
}
LAYERS["Dropout"] = LAYERS["Identity"]
