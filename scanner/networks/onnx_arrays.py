"""ONNX operations on arrays: arithmetic, reductions, padding, resizing; shapes are in `onnx_shapes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from scanner.networks.onnx_build import BATCH, Builder, Untranslatable, Value
from scanner.networks.resize import resize, resize_plan

Attributes = dict[str, Any]
Translation = Callable[[Builder, list[str], Attributes], Any]
_KINDS = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float32, 11: torch.float32}
"""ONNX's numbers of kinds; half and double become float."""


def max_of(left: Tensor, right: Tensor) -> Tensor:
    """Return the larger; where both are equal the left one gets the gradient, as in a clip."""
    return torch.where(left >= right, left, right)


def min_of(left: Tensor, right: Tensor) -> Tensor:
    """Return the smaller; where both are equal the left one gets the gradient."""
    return torch.where(left <= right, left, right)


def chained(target: Callable[..., Tensor]) -> Translation:
    """Add, Mul, Sum, ...: two or more inputs, from left to right."""

    def translate(builder: Builder, inputs: list[str], _: Attributes) -> Value:
        result = builder.value(inputs[0])
        for name in inputs[1:]:
            result = builder.function(target, result, builder.value(name))
        return result

    return translate


def bounded(target: Callable[..., Tensor], side: str) -> Translation:
    """Max, Min: against one constant number it is a clip, which passes over memory once (same bits, same gradients)."""

    def translate(builder: Builder, inputs: list[str], _: Attributes) -> Value:
        result = builder.value(inputs[0])
        for name in inputs[1:]:
            other = builder.value(name)
            if isinstance(other, Tensor) and other.numel() == 1 and other.ndim <= builder.rank(result):
                result = builder.function(torch.clamp, result, **{side: other.item()})
            else:
                result = builder.function(target, result, other)
        return result

    return translate


def single(target: Callable[..., Tensor]) -> Translation:
    """Sqrt, Exp, ...: one input."""
    return lambda builder, inputs, _: builder.function(target, builder.value(inputs[0]))


def root_of_squares(value: Tensor, axes: Sequence[int], keep: bool) -> Tensor:  # noqa: FBT001 - as torch.mean takes them
    """Return the Euclidean length along axes."""
    length: Tensor = torch.linalg.vector_norm(value, dim=list(axes), keepdim=keep)
    return length


def divide(left: Tensor, right: Tensor) -> Tensor:
    """Return the quotient; whole numbers are cut towards zero, as ONNX does."""
    whole = not left.is_floating_point() and not right.is_floating_point()
    return torch.div(left, right, rounding_mode="trunc" if whole else None)


def axes_of(builder: Builder, inputs: Sequence[str], attributes: Attributes, index: int = 1) -> list[int] | None:
    """Return axes given as an attribute (old) or as an input (new)."""
    if "axes" in attributes:
        return list(attributes["axes"])
    return builder.ints(inputs[index], "axes") if len(inputs) > index and inputs[index] else None


def reduce(target: Callable[..., Tensor]) -> Translation:
    """ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceL2."""

    def translate(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
        value = builder.value(inputs[0])
        axes = axes_of(builder, inputs, attributes)
        if axes is None:
            if attributes.get("noop_with_empty_axes", 0):
                return value
            axes = list(range(builder.rank(value)))
        keep_batch(builder, value, axes)
        return builder.function(target, value, axes, bool(attributes.get("keepdims", 1)))

    return translate


def keep_batch(builder: Builder, value: Value, axes: Sequence[int]) -> None:
    """Refuse a step that mixes the images of a batch."""
    if isinstance(value, fx.Node) and 0 in {axis % builder.rank(value) for axis in axes}:
        raise Untranslatable("it works across the batch")


def pad(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Pad."""
    value = builder.value(inputs[0])
    pads = list(attributes["pads"]) if "pads" in attributes else builder.ints(inputs[1], "padding")
    rank = builder.rank(value)
    given = axes_of(builder, inputs, {}, 3)
    axes = [axis % rank for axis in given] if given is not None else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    if isinstance(value, fx.Node) and (before[0] or after[0]):
        raise Untranslatable("it adds images to the batch")
    flat = [side for axis in reversed(range(rank)) for side in (before[axis], after[axis])]
    while len(flat) > 2 and flat[-2:] == [0, 0]:  # noqa: PLR2004
        flat = flat[:-2]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(attributes.get("mode", "constant"))
    if mode is None:
        raise Untranslatable(f"its mode is {attributes['mode']!r}")
    if mode != "constant":
        return builder.function(functional.pad, value, flat, mode)
    fill = builder.constant(inputs[2], "fill") if len(inputs) > 2 and inputs[2] else attributes.get("value", 0.0)  # noqa: PLR2004
    return builder.function(functional.pad, value, flat, mode, float(fill))


def resize_of(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Resize and Upsample: by factors or to sizes, on the two axes of images."""
    value = builder.value(inputs[0])
    shape = list(builder.example(value).shape)
    last = builder.constant(inputs[-1], "size")
    by_size = len(inputs) == 4 and bool(inputs[3])  # noqa: PLR2004
    sizes = [int(size) for size in last] if by_size else [int(s * float(f)) for s, f in zip(shape, last, strict=True)]
    scales = [float(factor) for factor in last] if not by_size else [n / s for n, s in zip(sizes, shape, strict=True)]
    if len(shape) != 4 or "axes" in attributes or sizes[1] != shape[1] or sizes[0] not in {BATCH, shape[0], 1}:  # noqa: PLR2004
        raise Untranslatable("it resizes more than height and width")
    plan = resize_plan((shape[2], shape[3]), (sizes[2], sizes[3]), (scales[2], scales[3]), attributes)
    return builder.function(resize, value, *plan)


def cast(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Cast: changes of kind that change nothing for float images are left out."""
    kind = _KINDS.get(int(attributes["to"]))
    if kind is None:
        raise Untranslatable(f"its target is kind {attributes['to']}")
    value = builder.value(inputs[0])
    if builder.example(value).dtype is kind:
        return value
    return builder.function(torch.Tensor.to, value, kind)


def constant(_: Builder, __: list[str], attributes: Attributes) -> Value:
    """Constant."""
    for key in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if key in attributes:
            value: Tensor = torch.as_tensor(attributes[key])
            return value
    raise Untranslatable("it holds no numbers")


ARRAYS: dict[str, Translation] = {
    "Abs": single(torch.abs),
    "Add": chained(torch.add),
    "Cast": cast,
    "Ceil": single(torch.ceil),
    "Constant": constant,
    "Div": chained(divide),
    "Erf": single(torch.erf),
    "Exp": single(torch.exp),
    "Floor": single(torch.floor),
    "Log": single(torch.log),
    "Max": bounded(max_of, "min"),
    "Min": bounded(min_of, "max"),
    "Mul": chained(torch.mul),
    "Neg": single(torch.neg),
    "Pad": pad,
    "Pow": chained(torch.pow),
    "Reciprocal": single(torch.reciprocal),
    "ReduceL2": reduce(root_of_squares),
    "ReduceMax": reduce(torch.amax),
    "ReduceMean": reduce(torch.mean),
    "ReduceMin": reduce(torch.amin),
    "ReduceSum": reduce(torch.sum),
    "Resize": resize_of,
    "Sqrt": single(torch.sqrt),
    "Sub": chained(torch.sub),
    "Sum": chained(torch.add),
    "Upsample": resize_of,
}
