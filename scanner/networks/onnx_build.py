"""A torch graph under construction: ONNX names on one side, graph nodes and constants on the other.

Every value is either a constant (a tensor that is known now) or a node with an example of what it will hold (two
rows), from which sizes are read.  A step whose inputs are all constants is computed at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

PROBES = 2
"""Rows of the examples."""
BATCH = 7_654_321
"""Stands for the batch's size in folded shapes: no axis is as long, and arithmetic on it is refused where it matters."""

Value = Tensor | fx.Node


class Untranslatable(Exception):
    """A step that has no translation; the message says why."""


class Builder:
    """Collects nodes, layers and constants; `finish` makes the module."""

    def __init__(self, opset: int, input_name: str, input_shape: Sequence[int]) -> None:
        self.opset = opset
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._values: dict[str, Value] = {}
        self._examples: dict[fx.Node, Tensor] = {}
        self._held: dict[int, fx.Node] = {}
        self._keep: list[Tensor] = []
        self._taken: dict[str, bool] = {}  # paths of submodules; True for layers, False for what holds them
        self._label = "x"
        self._folders: list[str] = []
        start = self._graph.placeholder("x")
        # Noise rather than zeros: a wrong translation that divides or roots shows itself at once.
        self._examples[start] = torch.rand(PROBES, *input_shape, generator=torch.Generator().manual_seed(1))
        self._values[input_name] = start

    def begin(self, label: str, kind: str) -> None:
        """Say which ONNX node the next steps come from."""
        *scopes, last = [re.sub(r"[^0-9A-Za-z_.]+", "_", part).strip("_.") for part in label.split("/")]
        path: list[str] = []
        for before, scope in zip(["", *scopes], scopes, strict=False):
            # torch's exporter writes /layer1/layer1.0/conv1/Conv for the module layer1.0.conv1
            if before and scope.startswith(f"{before}."):
                path[-1] = scope
            elif scope:
                path.append(scope)
        self._folders = [".".join(path[: end + 1]) for end in range(len(path))]
        self._label = ".".join([*path, last or kind.lower()])

    # --- values -----------------------------------------------------------------------------------------------------

    def put_constant(self, name: str, tensor: Tensor) -> None:
        """Give a constant its ONNX name."""
        self._values[name] = tensor.double().float() if tensor.dtype is torch.float64 else tensor

    def bind(self, name: str, value: Value) -> None:
        """Give the result of a step its ONNX name."""
        if name:
            self._values[name] = value

    def value(self, name: str) -> Value:
        """Return what stands under an ONNX name."""
        if name not in self._values:
            raise Untranslatable(f"its input {name!r} comes from nowhere")
        return self._values[name]

    def constant(self, name: str, what: str) -> Tensor:
        """Return a value that must be known now."""
        value = self.value(name)
        if isinstance(value, fx.Node):
            raise Untranslatable(f"its {what} depends on the input")
        return value

    def ints(self, name: str, what: str) -> list[int]:
        """Return a constant list of whole numbers."""
        return [int(number) for number in self.constant(name, what).reshape(-1).tolist()]

    def example(self, value: Value) -> Tensor:
        """Return a tensor like the one that will be there: shape and kind are right, two rows."""
        return self._examples[value] if isinstance(value, fx.Node) else value

    def rank(self, value: Value) -> int:
        """Return the number of axes."""
        return self.example(value).ndim

    # --- steps ------------------------------------------------------------------------------------------------------

    def function(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Value:
        """Add a call of `target`; computed at once when nothing in it depends on the input."""
        found: list[fx.Node] = []
        fx.node.map_arg([*args, *kwargs.values()], found.append)
        if not found:
            result = target(*args, **kwargs)
            assert isinstance(result, Tensor)
            return result
        node = self._graph.create_node(
            "call_function", target, self._held_all(args), self._held_all(kwargs), name=self._node_name()
        )
        return self._remember(node, target(*self._shown(args), **self._shown(kwargs)))

    def layer(self, layer: nn.Module, value: Value) -> Value:
        """Add a layer behind a value, under the ONNX node's name."""
        layer = layer.eval().requires_grad_(requires_grad=False)
        if isinstance(value, Tensor):
            result: Tensor = layer(value)
            return result
        path = self._free_path()
        _add_submodule(self._root, path, layer)
        parts = path.split(".")
        self._taken.update({".".join(parts[:end]): end == len(parts) for end in range(1, len(parts) + 1)})
        node = self._graph.create_node("call_module", path, (value,), {}, name=self._node_name())
        return self._remember(node, layer(self._examples[value]))

    def finish(self, end: str) -> fx.GraphModule:
        """Return the module that ends in the tensor of this ONNX name."""
        value = self._values[end]
        if isinstance(value, Tensor):
            raise Untranslatable("the output does not depend on the input")
        self._graph.output(value)
        module = fx.GraphModule(self._root, self._graph)
        module.graph.eliminate_dead_code()
        module.delete_all_unused_submodules()
        module.graph.lint()
        module.recompile()
        return module.eval().requires_grad_(requires_grad=False)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _remember(self, node: fx.Node, example: Tensor) -> fx.Node:
        node.meta["origin"] = self._label
        node.meta["nn_module_stack"] = {path: (path, None) for path in self._folders}
        self._examples[node] = example
        return node

    def _node_name(self) -> str:
        return re.sub(r"\W", "_", self._label)

    def _free_path(self) -> str:
        """Return the label as a path of a submodule that is not taken, and not inside a layer."""
        path = ".".join(part or "_" for part in self._label.split("."))
        while path in self._taken or self._layers_above(path):
            path = f"{path.replace('.', '_')}_"
        return path

    def _layers_above(self, path: str) -> list[str]:
        parts = path.split(".")
        above = [".".join(parts[:end]) for end in range(1, len(parts))]
        return [place for place in above if self._taken.get(place)]

    def _held_all(self, arguments: Any) -> Any:
        """Return the arguments with constants as nodes that read them."""
        return fx.node.map_aggregate(arguments, lambda item: self._hold(item) if isinstance(item, Tensor) else item)

    def _hold(self, tensor: Tensor) -> fx.Node:
        """Return the node that reads a constant; equal tensors (by identity) are held once."""
        if id(tensor) not in self._held:
            name = f"constant_{len(self._held)}"
            self._root.register_buffer(name, tensor)
            self._keep.append(tensor)
            self._held[id(tensor)] = self._graph.create_node("get_attr", name, (), {})
        return self._held[id(tensor)]

    def _shown(self, arguments: Any) -> Any:
        return fx.node.map_aggregate(
            arguments, lambda item: self._examples[item] if isinstance(item, fx.Node) else item
        )


def _add_submodule(root: nn.Module, path: str, layer: nn.Module) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        if not hasattr(root, folder):
            root.add_module(folder, nn.Module())
        root = root.get_submodule(folder)
    root.add_module(name, layer)
