"""In-place steps of a traced graph made plain, so that a block never changes the features that it is given.

`nn.ReLU(inplace=True)` and `x.clamp_(0)` overwrite their input.  Cut right before one, a block would overwrite its
caller's features; each becomes the step that makes a new tensor, and whoever read the overwritten one reads that.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch._ops import OpOverload


def make_pure(graph: fx.GraphModule) -> None:
    """Replace every in-place step by its plain twin, in this graph."""
    for module in graph.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
            for node in graph.graph.nodes:
                if node.op == "call_module" and graph.get_submodule(str(node.target)) is module:
                    _read_result(node)
    for node in graph.graph.nodes:
        if node.op in {"call_function", "call_method"} and _made_plain(node):
            _read_result(node)
    graph.graph.lint()
    graph.recompile()


def _made_plain(node: fx.Node) -> bool:
    """Turn one step into its plain twin; return whether it was in place."""
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
        return True
    if isinstance(node.target, OpOverload):
        _, packet, overload = str(node.target).split(".")
        twin = getattr(getattr(torch.ops.aten, packet[:-1], None), overload, None) if packet.endswith("_") else None
        if twin is not None:
            node.target = twin
        return twin is not None
    name = str(node.target)
    if node.op == "call_method" and name.endswith("_") and not name.endswith("__") and hasattr(Tensor, name[:-1]):
        node.target = name[:-1]
        return True
    return False


def _read_result(node: fx.Node) -> None:
    """Let the steps behind `node` that read its overwritten input read its result."""
    source = node.args[0] if node.args else None
    if isinstance(source, fx.Node):
        later = set()
        following = node.next
        while following.op != "root":
            later.add(following)
            following = following.next
        source.replace_all_uses_with(node, delete_user_cb=lambda user: user in later)
