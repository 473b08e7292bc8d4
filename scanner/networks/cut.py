"""A network cut into blocks at places through which everything passes.

A cut point is a node of the graph on every path from input to output: the end of a residual block or of a fire module,
a pooling, the logits.  Activation, batch normalisation and other steps without a choice stay with the layer before them.
Run one after the other, the blocks do exactly what the network does, bit for bit.

    for block in cut(network):
        x = block.module(x)
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from scanner.errors import ModelError, UsageError
from scanner.networks.names import point_names
from scanner.networks.network import Network
from scanner.networks.steps import adds_a_layer, follows_on

_PROBES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A piece of a network.

    Attributes:
        name: of the cut point at its end.
        module: (n, *input_shape) to (n, *output_shape); shares its weights with the network.
        input_shape: without the batch's axis.
        output_shape: without the batch's axis.
        layers: layers with weights on the longest path from the network's input to the end of this block.
    """

    name: str
    module: fx.GraphModule = field(repr=False)
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    layers: int


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """A place where a network can be cut: right after `node`."""

    name: str
    node: fx.Node
    shape: tuple[int, ...]
    layers: int
    joins: bool


def cut_points(network: Network) -> tuple[str, ...]:
    """Return the names of all places where the network can be cut, from input to output; the last is the output."""
    return tuple(point.name for point in _points(network))


def cut(network: Network, at: Sequence[str] | None = None, *, layers_max: int = 2) -> tuple[Block, ...]:
    """Cut the network.

    Args:
        network: to be cut.
        at: names out of `cut_points`, in any order; the last block always ends at the output.  None finds them.
        layers_max: with `at=None`: weighted layers in sequence in a block, where cut points allow so few.

    Returns:
        The blocks, from input to output.

    Raises:
        UsageError: a name that is no cut point, or `layers_max` below 1.
        ModelError: the network has no layer with weights.
    """
    if layers_max < 1:
        raise UsageError(f"layers_max is {layers_max}; a block has at least 1 layer.")
    points = _points(network)
    chosen = _found(points, layers_max) if at is None else _named(points, at, network.name)
    start = next(node for node in network.module.graph.nodes if node.op == "placeholder")
    shape = network.input_shape
    blocks = []
    for point in chosen:
        module = _piece(network.module, start, point.node)
        blocks.append(Block(point.name, module, shape, point.shape, point.layers))
        start, shape = point.node, point.shape
    return tuple(blocks)


def _found(points: Sequence[_Point], layers_max: int) -> list[_Point]:
    """Return points so that blocks end where branches join, and else as far on as `layers_max` allows.

    Steps without weights (pooling, flattening) go with the layer before them, so of the points with equal layers only
    the last one counts.
    """
    last = {point.layers: point for point in points}
    joins = {point.layers for point in points if point.joins}
    steps = sorted(last)
    chosen: list[_Point] = []
    layers = 0
    while layers < steps[-1]:
        near = [step for step in steps if layers < step <= layers + layers_max]
        joined = [step for step in near if step in joins]
        next_join = min((step for step in joins if step > layers), default=None)
        fitting = [step for step in near if next_join is not None and next_join - step <= layers_max]
        if joined:
            layers = joined[-1]
        elif fitting:
            layers = fitting[0]  # what is left up to the join is a block then
        else:
            layers = near[-1] if near else min(step for step in steps if step > layers)
        chosen.append(last[layers])
    return chosen


def _named(points: Sequence[_Point], at: Sequence[str], network: str) -> list[_Point]:
    known = [point.name for point in points]
    wrong = [name for name in at if name not in known]
    if wrong:
        near = difflib.get_close_matches(wrong[0], known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"{network} cannot be cut at {', '.join(map(repr, wrong))}. {hint}It can be cut at: {', '.join(known)}."
        )
    return [point for point in points if point.name in at or point is points[-1]]


def _points(network: Network) -> list[_Point]:
    graph = network.module.graph
    end = _output(graph)
    live = _live(graph)
    place = {node: index for index, node in enumerate(live)}
    layers = _layers(network.module, live)
    shapes = _shapes(network)
    reach = 0
    names = point_names(network.module)
    points: list[_Point] = []
    joins = False
    for index, node in enumerate(live):
        joins = joins or len([source for source in node.all_input_nodes if source in place]) > 1
        # No edge from before `node` to behind it: whatever reaches the output passes through.
        passed = reach <= index and layers[node] > 0 and node in shapes
        if passed and (node is end or not _followed(network.module, node)):
            points.append(_Point(names[node], node, shapes[node], layers[node], joins))
            joins = False
        reach = max(reach, max((place[user] for user in node.users if user in place), default=index))
    if not points:
        raise ModelError(f"{network.name} has no layer with weights: there is nothing to cut.")
    return points


def _output(graph: fx.Graph) -> fx.Node:
    """Return the node whose tensor is the network's answer."""
    answer = next(node for node in graph.nodes if node.op == "output").args[0]
    assert isinstance(answer, fx.Node)
    return answer


def _live(graph: fx.Graph) -> list[fx.Node]:
    """Return, in order, the nodes that depend on the input and that the output depends on."""
    needed = {_output(graph)}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    fed: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(before in fed for before in node.all_input_nodes):
            fed.add(node)
    return [node for node in graph.nodes if node in needed and node in fed]


def _layers(module: fx.GraphModule, live: Sequence[fx.Node]) -> dict[fx.Node, int]:
    """Return the weighted layers on the longest path from the input to each node, itself included."""
    depth: dict[fx.Node, int] = {}
    for node in live:
        before = max((depth[source] for source in node.all_input_nodes if source in depth), default=0)
        depth[node] = before + adds_a_layer(module, node)
    return depth


def _followed(module: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether the only step behind `node` belongs with it: an activation, a normalisation, a flattening."""
    users = list(node.users)
    return len(users) == 1 and follows_on(module, users[0])


def _shapes(network: Network) -> dict[fx.Node, tuple[int, ...]]:
    """Return the shapes, without the batch's axis, of all nodes that are float tensors with a row for each input."""
    seen: dict[fx.Node, tuple[int, ...]] = {}

    class Look(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor) and result.is_floating_point() and result.shape[:1] == (_PROBES,):
                seen[n] = tuple(result.shape[1:])
            return result

    with torch.no_grad():
        Look(network.module).run(torch.zeros(_PROBES, *network.input_shape, device=network.device))
    return seen


def _piece(module: fx.GraphModule, start: fx.Node, end: fx.Node) -> fx.GraphModule:
    """Return the nodes behind `start` up to `end` as a module from the one to the other."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {start: graph.placeholder("x")}

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copies:
            for before in node.all_input_nodes:
                copy_of(before)
            copies[node] = graph.node_copy(node, copies.__getitem__)
        return copies[node]

    needed = {end}
    order = list(module.graph.nodes)
    for node in reversed(order):
        if node in needed and node is not start:
            needed.update(node.all_input_nodes)
    for node in order:
        if node in needed:
            copy_of(node)
    graph.output(copies[end])
    graph.lint()
    return fx.GraphModule(_parts(module, graph), graph).eval()


def _parts(module: fx.GraphModule, graph: fx.Graph) -> nn.Module:
    """Return the module as root, so that the piece shares the network's layers and constants."""
    return module if any(node.op in {"call_module", "get_attr"} for node in graph.nodes) else nn.Module()
