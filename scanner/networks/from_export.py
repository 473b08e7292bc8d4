"""A torch.export archive (.pt2) as a torch graph, read without torch.export.load: nothing in the file can run.

torch's own loader unpickles the sample inputs (and any weight that says so), evaluates size formulas as Python, and looks
up any function of `torch` that the file names.  Here the JSON graph is read instead, raw weights are taken as numbers,
and only torch's tensor operations (`aten`) are allowed; sample inputs are never opened.  Layers become `nn` modules under
their own paths, so that BatchNorm statistics can be read and layers counted.
"""

from __future__ import annotations

import math
import operator
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from scanner.errors import ModelError
from scanner.networks.export_archive import KINDS, ExportArchive, Unreadable
from scanner.networks.export_layers import as_layer
from scanner.networks.limits import ZIP_DAMAGE, steps_limited
from scanner.networks.safe_ops import aten_operation

_MEMORY = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_ON_SIZES: dict[str, Callable[..., Any]] = {
    **{f"_operator.{op.__name__}": op for op in (operator.add, operator.sub, operator.mul, operator.floordiv)},
    "math.trunc": math.trunc,
    "torch.sym_max": max,
    "torch.sym_min": min,
}
"""What may be done with sizes; the file can name nothing else."""
_CHECKS = ("torch.ops.aten._assert", "torch.ops.aten.sym_constrain", "torch.ops.aten.lift_fresh_copy_check")


def module_from_export(path: Path) -> fx.GraphModule:
    """Read a .pt2 file.

    Returns:
        A graph from the model's one input to its one output, in eval mode.

    Raises:
        ModelError: not there, damaged, too large, with pickled parts that the graph needs, with operations other than
            torch's own, or with several inputs or outputs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(ExportArchive(archive, path.stat().st_size)).module()
    except OSError as error:
        raise ModelError(f"The network {path} cannot be read: {error.strerror}.") from error
    except Unreadable as error:
        raise ModelError(f"{path} cannot be used: {error}.") from error
    except (*ZIP_DAMAGE, TypeError, AttributeError, ArithmeticError, AssertionError, SyntaxError) as error:
        raise ModelError(
            f"{path} is no complete torch.export archive: {type(error).__name__}: {error}. "
            "Save it again with torch.export.save of torch 2.9 or newer."
        ) from error


class _Reader:
    """One archive on its way to a graph."""

    def __init__(self, archive: ExportArchive) -> None:
        self._tensors = {**archive.tensors("constants"), **archive.tensors("weights")}
        self._graph: dict[str, Any] = archive.document["graph_module"]["graph"]
        self._signature: dict[str, Any] = archive.document["graph_module"]["signature"]
        self._root = nn.Module()
        self._made = fx.Graph()
        self._values: dict[str, Any] = {}
        self._batch_sizes: set[fx.Node] = set()

    def module(self) -> fx.GraphModule:
        self._read_inputs()
        for node in self._graph["nodes"]:
            if not node["target"].startswith(_CHECKS):
                self._add(node)
        outputs = [self._argument(entry) for entry in self._graph["outputs"]]
        if len(outputs) != 1 or not isinstance(outputs[0], fx.Node):
            raise Unreadable(f"it has {len(outputs)} outputs; a single tensor is needed")
        self._made.output(outputs[0])
        module = fx.GraphModule(self._root, self._made)
        _fold(module)
        module.graph.eliminate_dead_code()
        module.delete_all_unused_submodules()
        module.graph.lint()
        module.recompile()
        return module.eval().requires_grad_(requires_grad=False)

    def _read_inputs(self) -> None:
        users = 0
        for spec in self._signature["input_specs"]:
            ((kind, entry),) = spec.items()
            if kind == "user_input":
                name = entry["arg"]["as_tensor"]["name"]
                self._values[name] = self._made.placeholder("x")
                users += 1
                continue
            keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
            if kind not in keys:
                raise Unreadable(f"its graph takes a {kind}, which is no tensor")
            key = entry[keys[kind]]
            self._values[entry["arg"]["name"]] = _Weight(key, self._tensors[key])
        if users != 1:
            raise Unreadable(f"it has {users} inputs; exactly one (images or latents) is supported")
        if len(self._signature["output_specs"]) != 1:
            raise Unreadable(
                "it changes its own buffers as it runs: it was exported in training mode. Call eval() first"
            )

    def _add(self, node: Mapping[str, Any]) -> None:
        target: str = node["target"]
        args = [self._argument(entry["arg"]) for entry in node["inputs"] if entry.get("kind") != 2]  # noqa: PLR2004
        named = {entry["name"]: self._argument(entry["arg"]) for entry in node["inputs"] if entry.get("kind") == 2}  # noqa: PLR2004
        by_name = {entry["name"]: self._argument(entry["arg"]) for entry in node["inputs"]}
        named.pop("device", None)
        if by_name.get("training") or by_name.get("train"):
            raise Unreadable("it was exported in training mode. Call eval() before torch.export")
        layer = as_layer(target, by_name)
        if layer is not None:
            path, module, value = layer
            made = self._made.call_module(self._place(path, module), (value,))
        else:
            operation = _ON_SIZES.get(target) or aten_operation(target)
            if operation is None:
                raise Unreadable(f"its step {target} is no plain tensor operation of torch")
            _refuse_names(named, operation, target)
            made = self._made.call_function(operation, *self._open_batch(target, args, named))
        made.meta["nn_module_stack"] = _stack(node)
        if node.get("name"):
            made.meta["origin"] = tidy(node["name"])
        self._name_outputs(node["outputs"], made, unpack=layer is None)
        if target == "torch.ops.aten.sym_size.int" and args[1] == 0:
            self._batch_sizes.add(made)

    def _place(self, path: str, module: nn.Module) -> str:
        """Put a layer under its path, or beside it when the path is taken (a layer used twice)."""
        path = tidy(path)
        taken = dict(self._root.named_modules())
        while path in taken or not path:
            path += "_again" if path else "layer"
        *folders, name = path.split(".")
        root = self._root
        for folder in folders:
            if not hasattr(root, folder):
                root.add_module(folder, nn.Module())
            root = root.get_submodule(folder)
        root.add_module(name, module.eval())
        return path

    def _name_outputs(self, outputs: list[Any], made: fx.Node, *, unpack: bool) -> None:
        if len(outputs) == 1 and "as_tensors" in outputs[0]:
            outputs = [{"as_tensor": entry} for entry in outputs[0]["as_tensors"]]
            several = True
        else:
            several = len(outputs) > 1
        for index, entry in enumerate(outputs):
            ((kind, value),) = entry.items()
            name = value["as_name"] if kind == "as_sym_int" else value["name"] if kind == "as_tensor" else None
            if name is not None:
                self._values[name] = (
                    self._made.call_function(operator.getitem, (made, index)) if several and unpack else made
                )

    def _open_batch(
        self, target: str, args: list[Any], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a step's arguments; a batch size that was read far away becomes "what is left", which cuts need."""
        if target.startswith(("torch.ops.aten.view.", "torch.ops.aten.reshape.")) and len(args) > 1:
            sizes = list(args[1])
            if sizes and sizes[0] in self._batch_sizes and all(isinstance(s, int) and s > 0 for s in sizes[1:]):
                args = [args[0], [-1, *sizes[1:]], *args[2:]]
        return tuple(self._held(args)), self._held(named)

    def _held(self, arguments: Any) -> Any:
        if isinstance(arguments, _Weight):
            if arguments.node is None:
                name = f"constant_{sum(1 for _ in self._root.buffers(recurse=False))}"
                self._root.register_buffer(name, arguments.tensor)
                arguments.node = self._made.get_attr(name)
            return arguments.node
        if isinstance(arguments, list | tuple):
            return type(arguments)(self._held(part) for part in arguments)
        if isinstance(arguments, dict):
            return {key: self._held(part) for key, part in arguments.items()}
        return arguments

    def _argument(self, entry: Mapping[str, Any]) -> Any:
        ((kind, value),) = entry.items()
        match kind:
            case "as_none":
                return None
            case "as_tensor":
                return self._values[value["name"]]
            case "as_tensors":
                return [self._values[part["name"]] for part in value]
            case "as_optional_tensor" | "as_sym_int" | "as_sym_float":
                return self._symbol(value)
            case "as_optional_tensors" | "as_sym_ints":
                return [self._symbol(part) for part in value]
            case "as_int" | "as_ints" | "as_float" | "as_floats" | "as_bool" | "as_bools" | "as_string":
                return float(value) if kind == "as_float" else value
            case "as_scalar_type":
                return KINDS[value]
            case "as_memory_format":
                return _MEMORY[value]
            case "as_layout":
                return torch.strided
            case "as_device":
                return None
            case _:
                raise Unreadable(f"a step takes {kind.removeprefix('as_')}, which is not supported")

    def _symbol(self, entry: Mapping[str, Any]) -> Any:
        ((kind, value),) = entry.items()
        if kind == "as_none":
            return None
        if kind == "as_name":
            return self._values[value]
        return self._values[value["name"]] if kind == "as_tensor" else value


def _refuse_names(named: Mapping[str, Any], operation: Callable[..., Any], target: str) -> None:
    """Refuse names of arguments that the operation has not: torch.fx writes them into Python code as they are."""
    schema = getattr(operation, "_schema", None)
    known = {argument.name for argument in schema.arguments} if schema is not None else set()
    if not known.issuperset(named):
        raise Unreadable(f"its step {target} is given an argument that this operation does not have")


def _fold(module: fx.GraphModule) -> None:
    """Compute once what does not depend on the input, so that it moves to another device with the weights."""
    known: dict[fx.Node, Tensor] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known[node] = module.get_buffer(str(node.target))
        elif node.op == "call_function" and all(source in known for source in node.all_input_nodes):
            if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                continue
            with steps_limited():
                result = node.target(*fx.node.map_arg(node.args, known.get), **fx.node.map_arg(node.kwargs, known.get))
            if isinstance(result, Tensor):
                name = f"folded_{len(known)}"
                module.register_buffer(name, result)
                known[node] = result
                with module.graph.inserting_before(node):
                    constant = module.graph.get_attr(name)
                known[constant] = result
                node.replace_all_uses_with(constant)


class _Weight:
    """A tensor of the archive; it becomes a layer's weight, or a constant of the graph when it is used otherwise."""

    __slots__ = ("key", "node", "tensor")

    def __init__(self, key: str, tensor: Tensor) -> None:
        self.key, self.tensor = key, tensor
        self.node: fx.Node | None = None


def _stack(node: Mapping[str, Any]) -> dict[str, tuple[str, None]]:
    """Return the modules around a step from the archive's note `key,path,class;...`, from outside to inside."""
    paths = [
        part.split(",")[1] for part in node.get("metadata", {}).get("nn_module_stack", "").split(";") if "," in part
    ]
    return {tidy(path): (tidy(path), None) for path in paths if path}


def tidy(path: str) -> str:
    """Return a module's path with nothing in it but letters, digits and `_`: torch.fx writes it into code as it is."""
    return ".".join(re.sub(r"\W", "_", part) or "_" for part in path.split(".")) if path else ""
