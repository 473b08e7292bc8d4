"""An ONNX network as a torch graph: every node becomes a torch layer or function, weights become parameters.

Convolutions, linear layers, normalisations and activations become `nn` modules (so that BatchNorm statistics can be read
and layers counted); what depends on constants or fixed sizes alone is computed once, here.  The batch's axis stays
dynamic.  Nodes without a translation are all named in one message.

    module = module_from_onnx(Path("face.onnx"))
    vectors = module(crops)             # what onnxruntime gives, within rounding, and with gradients

The translations are in `onnx_layers`, `onnx_arrays` and `onnx_shapes`; this is the only file that reads ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx

from scanner.errors import ModelError
from scanner.networks.limits import check_input_shape, steps_limited
from scanner.networks.onnx_arrays import ARRAYS
from scanner.networks.onnx_build import Builder, Untranslatable
from scanner.networks.onnx_layers import LAYERS
from scanner.networks.onnx_shapes import SHAPES

ONNX_BYTES_MAX = 2 * 1024**3
_NODES_MAX = 100_000
_OPSET_MIN = 9
_TABLE = {**ARRAYS, **LAYERS, **SHAPES}


def module_from_onnx(
    path: Path, *, output: str | None = None, input_shape: Sequence[int] | None = None
) -> fx.GraphModule:
    """Convert an ONNX network.

    Args:
        path: the file, weights inside.
        output: an output or any inner tensor; None takes the only output.
        input_shape: without the batch's axis, where the file leaves it open.

    Returns:
        A graph from float32 (n, *input_shape) to the output's tensor, in eval mode.

    Raises:
        ModelError: not there, no ONNX, weights in other files, sizes left open, several inputs or outputs, or with
            operations that have no translation (all are named).
    """
    model = _read(path)
    graph = model.graph
    weights = {proto.name: _array(proto, path) for proto in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(str(value.name) for value in inputs)
        raise ModelError(f"{path} has {len(inputs)} inputs ({names}); exactly one (images or latents) is supported.")
    end = _output_name(model, output, path)
    nodes = _needed(graph, end)
    _refuse_unknown(nodes, path)
    shape = tuple(input_shape) if input_shape is not None else onnx_input_shape(inputs[0], path)
    check_input_shape(shape, path)
    builder = Builder(_opset(model), inputs[0].name, shape)
    for name, array in weights.items():
        builder.put_constant(name, torch.from_numpy(array))
    with torch.no_grad(), steps_limited():
        for index, node in enumerate(nodes):
            _translate(builder, node, index, path)
    try:
        return builder.finish(end)
    except (Untranslatable, RuntimeError, KeyError, SyntaxError) as error:
        raise ModelError(f"{path} cannot be turned into torch: {error}.") from error


def read_input_shape(path: Path) -> tuple[int, ...]:
    """Return the input's shape without the batch's axis; raises ModelError where the file leaves it open."""
    graph = _read(path).graph
    weights = {proto.name for proto in graph.initializer}
    return onnx_input_shape(next(value for value in graph.input if value.name not in weights), path)


def onnx_input_shape(value: Any, path: Path) -> tuple[int, ...]:
    """Return the sizes behind the batch's axis of a graph's input."""
    sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim][1:]
    if not sizes or min(sizes) < 1:
        raise ModelError(f"{path} leaves the size of its input {value.name!r} open. Write it as size under [input].")
    return tuple(sizes)


def _read(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        size = path.stat().st_size
        if size > ONNX_BYTES_MAX:
            raise ModelError(f"{path} has {size} bytes; networks over {ONNX_BYTES_MAX} bytes are not opened.")
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ModelError(f"The network {path} cannot be read: {error.strerror}.") from error
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{path} is no ONNX file: {error}. Export the network to ONNX, opset 11 or newer.") from error
    if not model.graph.output:
        raise ModelError(f"{path} is no ONNX network: its graph has no output.")
    if len(model.graph.node) > _NODES_MAX:
        raise ModelError(f"{path} has {len(model.graph.node)} nodes; {_NODES_MAX} are the most that are converted.")
    return model


def _array(proto: Any, path: Path) -> Any:
    """Return a weight as an array of its own; a path in a downloaded file could name any file of this machine."""
    import onnx
    from onnx import numpy_helper

    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.external_data:
        raise ModelError(f"{path} keeps its weights in other files. Save it as one file (onnx.save with its weights).")
    try:
        array = np.array(numpy_helper.to_array(proto))
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
        raise ModelError(
            f"{path}: {proto.name or 'a constant'} is damaged: {error}. Export the network again."
        ) from error
    if array.dtype == np.uint64 or array.dtype.kind not in "fiub":
        raise ModelError(f"{path}: {proto.name or 'a constant'} is of kind {array.dtype}; numbers are needed.")
    return array


def _opset(model: Any) -> int:
    """Return the version of the plain ONNX operations."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)


def _output_name(model: Any, output: str | None, path: Path) -> str:
    outputs = [str(value.name) for value in model.graph.output]  # bytes, where it is no UTF-8
    if output is None:
        if len(outputs) != 1:
            raise ModelError(
                f"{path} has {len(outputs)} outputs ({', '.join(outputs)}). Say which one is meant with `output`."
            )
        return str(outputs[0])
    made = {name for node in model.graph.node for name in node.output}
    if output not in made:
        raise ModelError(f"{path} has no tensor {output!r}. Its outputs are {', '.join(outputs)}.")
    return output


def _needed(graph: Any, end: str) -> list[Any]:
    """Return, in order, the nodes that the output depends on."""
    wanted = {end}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _refuse_unknown(nodes: Sequence[Any], path: Path) -> None:
    unknown = sorted(
        {str(node.op_type) for node in nodes if node.domain not in {"", "ai.onnx"} or node.op_type not in _TABLE}
    )
    if unknown:
        raise ModelError(
            f"{path} has operations that cannot be turned into torch: {', '.join(unknown)}. Known are "
            f"{', '.join(sorted(_TABLE))}. Export the network with torch.export (.pt2), or without its post-processing."
        )


def _translate(builder: Builder, node: Any, index: int, path: Path) -> None:
    label = node.name or (node.output[0] if node.output else f"node {index}")
    try:
        attributes = {attribute.name: _value(attribute, path) for attribute in node.attribute}
        builder.begin(node.name or node.output[0], node.op_type)
        results = _TABLE[node.op_type](builder, list(node.input), attributes)
        for name, result in zip(node.output, results if isinstance(results, tuple) else (results,), strict=False):
            builder.bind(name, result)
    except Untranslatable as error:
        raise ModelError(f"{path}: {node.op_type} {label!r} cannot be turned into torch: {error}.") from error
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError) as error:
        raise ModelError(f"{path}: {node.op_type} {label!r} does not fit its inputs: {error}.") from error


def _value(attribute: Any, path: Path) -> Any:
    """Return an attribute as a number, text, list or tensor."""
    from onnx import AttributeProto, helper

    if attribute.type == AttributeProto.TENSOR:
        return torch.from_numpy(_array(attribute.t, path))
    if attribute.type in {AttributeProto.GRAPH, AttributeProto.GRAPHS}:
        raise Untranslatable("it holds a graph of its own")
    value = helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
