"""Weights files opened without running what is in them; the kind is told by the content, not by the name.

| file | what is done |
|---|---|
| .safetensors | raw numbers; the class comes from a factory of this package or of a package that the user trusts |
| .onnx | converted to a torch graph (`from_onnx`) |
| .pt2 | torch.export's graph is read from its JSON (`from_export`); pickled parts are never opened |
| TorchScript | run as a closed box, after a look at what it calls (`torchscript`) |
| pickles (.pth, .pkl, .ckpt, torch.save) | refused: a pickle can run any code while it is opened |
"""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from scanner.errors import ModelError
from scanner.networks.from_export import module_from_export
from scanner.networks.limits import ZIP_DAMAGE
from scanner.networks.torchscript import load_torchscript

OUR_PACKAGE = "scanner"
_PICKLE_START = b"\x80"
_HEAD_BYTES = 512
_CONVERT = (
    "A pickle can run any code while it is opened, so it is never opened here. On a machine where you trust the file: "
    'safetensors.torch.save_file(torch.load(FILE, weights_only=True), "weights.safetensors"), then name that with a factory.'
)


def load_module(weights: Path, *, factory: str | None = None, trusted: Sequence[str] = ()) -> nn.Module:
    """Load a network, on the CPU, in eval mode, its weights without gradients.

    Args:
        weights: .safetensors, .onnx, .pt2 or TorchScript.
        factory: `package.module:function` that returns the untrained module; for .safetensors only.
        trusted: packages whose factories may be called besides our own.

    Raises:
        ModelError: not there, a pickle, of no known kind, a factory that is not trusted or does not fit the weights.
    """
    kind = kind_of(weights)
    if kind == "safetensors":
        if factory is None:
            raise ModelError(
                f"{weights} holds numbers without a network. Name what builds the network as "
                'factory = "package.module:function".'
            )
        return _filled(factory, weights, trusted)
    if factory is not None:
        raise ModelError(f"{weights} brings its own graph ({kind}); leave out factory = {factory!r}.")
    if kind == "onnx":
        from scanner.networks.from_onnx import module_from_onnx

        return module_from_onnx(weights)
    return module_from_export(weights) if kind == "pt2" else load_torchscript(weights)


def kind_of(path: Path) -> str:
    """Return "safetensors", "onnx", "pt2" or "torchscript".

    Raises:
        ModelError: it is not there, a pickle, or nothing of these.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"The network {path} cannot be read: {error.strerror}.") from error
    if head.startswith(_PICKLE_START) or head[257:262] == b"ustar":
        raise ModelError(f"{path} is a Python pickle. {_CONVERT}")
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if head[8:9] == b"{":
        return "safetensors"
    if path.suffix == ".onnx":
        return "onnx"
    raise ModelError(
        f"{path} is no network that is known here. Known are .safetensors with a factory, .onnx, .pt2 (torch.export) and "
        "TorchScript."
    )


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
    except (*ZIP_DAMAGE, OSError) as error:
        raise ModelError(f"{path} is damaged: {error}. Copy it again.") from error
    if any(name.startswith("models/") and name.endswith(".json") for name in names):
        return "pt2"
    if any(name.startswith("code/") for name in names):
        return "torchscript"
    if "serialized_exported_program.json" in names.values():
        raise ModelError(
            f"{path} was exported by an old torch, with pickled weights. Save it again with torch 2.9 or newer."
        )
    if any(name.endswith(".pkl") for name in names):
        raise ModelError(f"{path} is a Python pickle in a zip file, as torch.save writes it. {_CONVERT}")
    raise ModelError(f"{path} is a zip file without a network. Known are torch.export's .pt2 and TorchScript.")


def _filled(factory: str, weights: Path, trusted: Sequence[str]) -> nn.Module:
    """Return the factory's module with the weights in it; every name and shape must fit."""
    from scanner.networks.tensors import read_tensors

    module = build(factory, trusted)
    tensors = read_tensors(weights)
    problems = _misfits(module.state_dict(), tensors)
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""  # noqa: PLR2004
        raise ModelError(
            f"{weights} does not fit {factory}:\n{shown}{more}\nName the factory that it was trained with."
        )
    module.load_state_dict(tensors, strict=False)  # what may be missing was decided above
    return module.eval().requires_grad_(requires_grad=False)


def _misfits(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """Return what does not fit; a BatchNorm's count of batches plays no part after training and may be missing."""
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in wanted]
    shapes = [key for key in wanted if key in given and wanted[key].shape != given[key].shape]
    return [
        *(f"missing: {key} {tuple(wanted[key].shape)}" for key in missing),
        *(f"unexpected: {key} {tuple(given[key].shape)}" for key in unexpected),
        *(f"another shape: {k} is {tuple(given[k].shape)}, expected {tuple(wanted[k].shape)}" for k in shapes),
    ]


def build(factory: str, trusted: Sequence[str] = ()) -> nn.Module:
    """Return the module that `package.module:function` makes.

    Raises:
        ModelError: not of our package or a trusted one, not there, or it makes no module.
    """
    place, _, name = factory.partition(":")
    package = place.partition(".")[0]
    if not name.isidentifier() or not all(part.isidentifier() for part in place.split(".")):
        raise ModelError(f'factory = {factory!r} is not of the form "package.module:function".')
    if package not in {OUR_PACKAGE, *trusted}:
        raise ModelError(
            f"factory = {factory!r} would run code of the package {package!r}, which is not trusted. "
            f"If you trust it, say so with --trust {package}."
        )
    try:
        make = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"factory = {factory!r} is not there: {error}.") from error
    module = make() if callable(make) else None
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"factory = {factory!r} does not make a torch module. Name a function without arguments that does."
        )
    return module
