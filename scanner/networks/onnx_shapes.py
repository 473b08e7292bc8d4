"""ONNX operations on shapes: reshaping, slicing, joining, picking; the batch's axis stays first and open."""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx

from scanner.networks.onnx_arrays import Attributes, Translation, axes_of, keep_batch
from scanner.networks.onnx_build import BATCH, Builder, Untranslatable, Value

_FOLDED_MAX = 2**28
"""Numbers in a constant that is made here; a file of a few bytes could ask for any amount of memory."""


def reshape(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Reshape: 0 keeps a size, -1 is what is left; the batch's size stays open."""
    value, sizes = builder.value(inputs[0]), builder.ints(inputs[1], "shape")
    shape = builder.example(value).shape
    if not attributes.get("allowzero", 0):
        sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if isinstance(value, Tensor):
        return builder.function(torch.reshape, value, sizes)
    rows = shape[0]
    known = math.prod(size for size in sizes[1:] if size != -1)
    if BATCH in sizes[1:] or (sizes[0] not in {BATCH, rows, -1, 1}):
        raise Untranslatable(f"its shape {sizes} does not keep the batch's axis first")
    if -1 in sizes[1:]:
        sizes[sizes.index(-1, 1)] = math.prod(shape[1:]) // known
    if math.prod(sizes[1:]) != math.prod(shape[1:]):
        raise Untranslatable(f"its shape {sizes} mixes the images of a batch")
    return builder.function(torch.reshape, value, [-1, *sizes[1:]])


def shape_of(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Shape: sizes are fixed and known, all but the batch's."""
    value = builder.value(inputs[0])
    sizes = list(builder.example(value).shape)
    if isinstance(value, fx.Node):
        sizes[0] = BATCH
    return torch.tensor(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))])


def flatten(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Flatten: to rows."""
    if attributes.get("axis", 1) != 1:
        raise Untranslatable(f"it flattens from axis {attributes['axis']}")
    return builder.function(torch.flatten, builder.value(inputs[0]), 1)


def transpose(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Transpose."""
    value = builder.value(inputs[0])
    order = list(attributes.get("perm", reversed(range(builder.rank(value)))))
    if isinstance(value, fx.Node) and order[0] != 0:
        raise Untranslatable("it moves the batch's axis")
    return builder.function(torch.permute, value, order)


def squeeze(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Squeeze."""
    value = builder.value(inputs[0])
    axes = axes_of(builder, inputs, attributes)
    if axes is None:
        axes = [axis for axis, size in enumerate(builder.example(value).shape) if size == 1]
    keep_batch(builder, value, axes)
    return builder.function(torch.squeeze, value, axes)


def unsqueeze(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Unsqueeze."""
    value = builder.value(inputs[0])
    axes = axes_of(builder, inputs, attributes) or []
    rank = builder.rank(value) + len(axes)
    places = sorted(axis % rank for axis in axes)
    if isinstance(value, fx.Node) and 0 in places:
        raise Untranslatable("it adds an axis before the batch's")
    for axis in places:
        value = builder.function(torch.unsqueeze, value, axis)
    return value


def concat(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Concat."""
    values = [builder.value(name) for name in inputs]
    axis = int(attributes["axis"])
    for value in values:
        keep_batch(builder, value, [axis])
    if any(isinstance(value, fx.Node) for value in values) and any(isinstance(value, Tensor) for value in values):
        raise Untranslatable("it puts a constant beside the input, once for each image")
    return builder.function(torch.cat, values, axis)


def slice_of(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Slice: bounds are inputs (opset 10) or attributes (older)."""
    value = builder.value(inputs[0])
    if "starts" in attributes:
        starts, ends = list(attributes["starts"]), list(attributes["ends"])
        axes, steps = list(attributes.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = builder.ints(inputs[1], "starts"), builder.ints(inputs[2], "ends")
        given = axes_of(builder, inputs, {}, 3)
        axes = given if given is not None else list(range(len(starts)))
        steps = axes_of(builder, inputs, {}, 4) or [1] * len(starts)
    keep_batch(builder, value, axes)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        value = _sliced(builder, value, axis, (start, end, step))
    return value


def _sliced(builder: Builder, value: Value, axis: int, bounds: tuple[int, int, int]) -> Value:
    size, rank = builder.example(value).shape[axis], builder.rank(value)
    start, end, step = slice(*_inside(bounds, size)).indices(size)
    places = range(start, end, step)
    if step > 0:
        return builder.function(
            torch.Tensor.__getitem__, value, (*[slice(None)] * (axis % rank), slice(start, end, step))
        )
    return builder.function(torch.index_select, value, axis, torch.tensor(places))


def _inside(bounds: tuple[int, int, int], size: int) -> tuple[int, int | None, int]:
    """Return ONNX's bounds as Python's: an end before the first element has no number there."""
    start, end, step = bounds
    return start, (None if step < 0 and end < -size else end), step


def gather(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """Gather along one axis with constant indices."""
    value, index = builder.value(inputs[0]), builder.constant(inputs[1], "index").long()
    axis = int(attributes.get("axis", 0)) % builder.rank(value)
    keep_batch(builder, value, [axis])
    size = builder.example(value).shape[axis]
    flat = torch.where(index < 0, index + size, index).reshape(-1)
    taken = builder.function(torch.index_select, value, axis, flat)
    if index.ndim == 1:
        return taken
    shape = list(builder.example(value).shape)
    sizes = [*shape[:axis], *index.shape, *shape[axis + 1 :]]
    if isinstance(value, fx.Node):
        sizes[0] = -1
    return builder.function(torch.reshape, taken, sizes)


def split(builder: Builder, inputs: list[str], attributes: Attributes) -> tuple[Value, ...]:
    """Split along one axis."""
    value = builder.value(inputs[0])
    axis = int(attributes.get("axis", 0))
    keep_batch(builder, value, [axis])
    sizes = attributes.get("split") or (builder.ints(inputs[1], "split") if len(inputs) > 1 else None)
    if sizes is None:
        raise Untranslatable("it does not say how long the pieces are")
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return tuple(
        _sliced(builder, value, axis, (start, start + size, 1)) for start, size in zip(starts, sizes, strict=True)
    )


def expand(builder: Builder, inputs: list[str], _: Attributes) -> Value:
    """Expand."""
    value, sizes = builder.value(inputs[0]), builder.ints(inputs[1], "shape")
    shape = builder.example(value).shape
    if isinstance(value, fx.Node):
        if len(sizes) > len(shape):
            raise Untranslatable("it adds an axis before the batch's")
        sizes = [-1 if axis == len(sizes) - len(shape) else size for axis, size in enumerate(sizes)]
    return builder.function(torch.Tensor.expand, value, [-1 if size == 1 else size for size in sizes])


def constant_of_shape(builder: Builder, inputs: list[str], attributes: Attributes) -> Value:
    """ConstantOfShape."""
    sizes = builder.ints(inputs[0], "shape")
    if BATCH in sizes:
        raise Untranslatable("its size is the batch's")
    if math.prod(sizes) > _FOLDED_MAX:
        raise Untranslatable(f"it would fill {math.prod(sizes)} numbers")
    fill: Tensor = attributes.get("value", torch.zeros(1))
    return fill.reshape(1).expand(sizes).clone()


SHAPES: dict[str, Translation] = {
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Reshape": reshape,
    "Shape": shape_of,
    "Slice": slice_of,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
