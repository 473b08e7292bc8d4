"""A network as training runs it: the same numbers with fewer passes over memory.

Converted ONNX files clip with `Max` and `Min` against a constant of one number, which as a general step costs more than
the convolution beside it.  `clamp` does the same, with the same gradients, in one pass.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, fx

from scanner.networks.cut import Block

_CLIPS = {"max_of": "min", "maximum": "min", "min_of": "max", "minimum": "max"}
"""Steps of two tensors, and what the second one is to `clamp` when it is a constant number."""
_BOTH = 2


def lighten(block: Block) -> Block:
    """Return a block that computes the same, bit for bit; the one given is left as it is."""
    module = copy.copy(block.module)
    graph = copy.deepcopy(block.module.graph)
    light = fx.GraphModule(module, graph)
    for node in list(graph.nodes):
        bound = _CLIPS.get(getattr(node.target, "__name__", "")) if node.op == "call_function" else None
        value = _number(module, node.args[1]) if bound and len(node.args) == _BOTH else None
        if bound is None or value is None:
            continue
        with graph.inserting_before(node):
            clip = graph.call_function(torch.clamp, (node.args[0],), {bound: value})
        node.replace_all_uses_with(clip)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    light.recompile()
    return replace(block, module=light.eval())


def _number(module: fx.GraphModule, node: object) -> float | None:
    """Return the number that a node of a graph stands for, if it is one and never changes."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    holder, _, name = str(node.target).rpartition(".")
    value = getattr(module.get_submodule(holder), name)
    fixed = isinstance(value, Tensor) and value.numel() == 1 and value.ndim <= 1 and not value.requires_grad
    return float(value) if fixed else None
