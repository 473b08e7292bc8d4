"""TorchScript archives, opened only when everything that they call works on tensors and numbers alone.

torch.jit.load unpickles nothing of Python's, but the code in the file runs, some of it while it is loaded, and may call
`aten::save` or `aten::from_file`, which write and map files.  So its text is read first.  A sampler or a gradient is all
that TorchScript is good for here: it cannot be cut.
"""

from __future__ import annotations

import ast
import io
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from scanner.errors import ModelError
from scanner.networks.limits import ZIP_DAMAGE, unpacked_bytes
from scanner.networks.safe_ops import is_harmless
from scanner.networks.script_tensors import ARCHIVES, check_tensors

SCRIPT_BYTES_MAX = 4 * 1024**3
_BUILT_IN = frozenset(
    [
        "annotate",
        "uninitialized",
        "unchecked_cast",
        "getattr",
        "isinstance",
        "int",
        "float",
        "bool",
        "len",
        "range",
        "list",
        "dict",
        "tuple",
        "min",
        "max",
        "abs",
        "round",
        "sum",
        "any",
        "all",
        "zip",
        "enumerate",
        "sorted",
        "reversed",
        "Exception",
        "AssertionError",
        "RuntimeError",
        "ValueError",
    ]
)
_PRIM = frozenset(
    [
        "data",
        "NumToTensor",
        "min",
        "max",
        "unchecked_cast",
        "RaiseException",
        "device",
        "dtype",
        "layout",
        "is_cuda",
        "requires_grad",
    ]
)


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Load a TorchScript file on the CPU, in eval mode, without gradients of its weights.

    Raises:
        ModelError: damaged, too large, or its code calls what could touch files or anything else outside the network.
    """
    try:
        entries = _entries(path)
        _refuse_harm(entries, path)
        check_tensors(entries)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
            module: torch.jit.ScriptModule = torch.jit.load(_packed(entries), map_location="cpu")  # type: ignore[no-untyped-call]
    except (*ZIP_DAMAGE, SyntaxError, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise ModelError(f"{path} is no complete TorchScript file: {first_line}. Save it again.") from error
    for weight in module.parameters():
        weight.requires_grad_(False)
    return module.eval()


def _entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > SCRIPT_BYTES_MAX or unpacked_bytes(archive, path.stat().st_size):
            raise ModelError(
                f"{path} unpacks to {size} bytes; networks over {SCRIPT_BYTES_MAX} bytes, or much larger than their file, are "
                "not opened. Save it again with torch.jit.save, which does not compress."
            )
        return {name: archive.read(name) for name in archive.namelist() if _is_needed(name.partition("/")[2])}


def _is_needed(name: str) -> bool:
    """Say whether the network is in it; not, for instance, where its code was written, or what it was traced with."""
    folder, _, rest = name.partition("/")
    if folder == "code":
        return name.endswith(".py")
    return (
        name in {"version", "byteorder"}
        or (folder in ARCHIVES and rest != "")
        or folder.removesuffix(".pkl") in ARCHIVES
    )


def _packed(entries: dict[str, bytes]) -> io.BytesIO:
    """Return the entries as an archive of ours: torch must see the very bytes that were looked at.

    A zip file can be made so that two readers find different entries in it.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    packed.seek(0)
    return packed


def _refuse_harm(entries: dict[str, bytes], path: Path) -> None:
    trees = [ast.parse(text.decode("utf-8")) for name, text in entries.items() if name.endswith(".py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    aliases = _aliases(nodes)
    calls = {_called(node) for node in nodes if isinstance(node, ast.Call)}
    calls |= {text for node in nodes if isinstance(node, ast.Attribute) and _of_torch(text := ast.unparse(node))}
    refused = sorted(name for name in calls if not _allowed(name, own | aliases))
    if refused:
        raise ModelError(
            f"{path} is TorchScript that calls {', '.join(refused)}: not known to work on tensors alone, so it is not run. "
            "Export the network with torch.export (.pt2) or to ONNX."
        )


def _aliases(nodes: Sequence[ast.AST]) -> set[str]:
    """Return the variables that stand for functions of the archive, wherever they are called.

    The exporter writes `_0 = __torch__.module.function` and calls `_0`.  A name that is ever given another attribute of
    anything (`_0 = x.save`) is no such variable.
    """
    ours: set[str] = set()
    others: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Attribute | ast.Name):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            (ours if ast.unparse(node.value).startswith("__torch__.") else others).update(names)
    return ours - others


def _called(node: ast.Call) -> str:
    """Return the dotted name of what is called; of a method on a value, the method with a dot before it."""
    text = ast.unparse(node.func)
    if not isinstance(node.func, ast.Attribute):
        return text
    named = text.partition(".")[0] in {"torch", "ops", "__torch__"} and text.replace(".", "").isidentifier()
    return text if named else f".{node.func.attr}"


def _of_torch(text: str) -> bool:
    """Return whether an attribute, called or not, is one of torch's operations."""
    root, *parts = text.split(".")
    return (root == "torch" and len(parts) == 1) or (root == "ops" and len(parts) == 2)  # noqa: PLR2004


def _allowed(name: str, own: set[str]) -> bool:
    space, _, last = name.rpartition(".")
    if space == "ops.prim":
        return last in _PRIM
    if space.startswith("__torch__"):
        return last in own
    if space in {"torch", ""} and "." in name:
        return last in own or is_harmless(last)
    return not space and (name in _BUILT_IN or name in own)
