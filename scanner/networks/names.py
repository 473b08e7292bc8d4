"""Names for the places of a graph: the module that ends there, where a module does; else the node's own name."""

from __future__ import annotations

from torch import fx, nn

_STACK = "nn_module_stack"


def point_names(module: fx.GraphModule) -> dict[fx.Node, str]:
    """Return a name for every node: unique, and the same whenever the same network is loaded.

    A residual block that ends in a node gives it its name (`layer2.0`); a layer, its own path (`features.3`); what
    belongs to no module is called as its node is.
    """
    last: dict[str, fx.Node] = {}
    kinds: dict[str, type | None] = {}
    for node in module.graph.nodes:
        for path, kind in _stack(node):
            last[path] = node
            kinds[path] = kind
    names: dict[fx.Node, str] = {}
    taken: set[str] = set()
    for node in module.graph.nodes:
        name = _name(node, last, kinds)
        while name in taken:
            name = node.name if node.name not in taken else f"{name}_"
        taken.add(name)
        names[node] = name
    return names


def _name(node: fx.Node, last: dict[str, fx.Node], kinds: dict[str, type | None]) -> str:
    own = str(node.target) if node.op == "call_module" else None
    blocks = [
        path
        for path, _ in _stack(node)
        if path and path != own and last[path] is node and kinds[path] is not nn.Sequential
    ]
    # The innermost block says most: "layer1.2" rather than the stage "layer1" that ends there as well.
    return blocks[-1] if blocks else own or node.meta.get("origin", node.name)


def _stack(node: fx.Node) -> list[tuple[str, type | None]]:
    """Return the modules around a node, from outside to inside, as (path, class)."""
    return [
        (str(entry[0]), entry[1] if isinstance(entry[1], type) else None)
        for entry in node.meta.get(_STACK, {}).values()
    ]
