"""`NET.toml` (or JSON): a network and how to feed it; read whole, with every problem at once.

    [network]
    weights = "cifar-resnet20.safetensors"                  # or .onnx, .pt2; relative to this file
    factory = "scanner.networks.resnet_cifar:resnet20"      # for .safetensors only
    classes = 10

    [input]
    size = [32, 32]                                         # height, width; for generators: latent = 10
    mean = [123.675, 116.28, 103.53]                        # (p - mean) * scale, p in 0..255
    scale = [0.01712, 0.01751, 0.01743]

A bare .onnx file is accepted as well: its JSON sidecar says how to feed it, as for embedders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveInt, field_validator, model_validator
from torch import fx, nn

from scanner.documents import Model, Section, read_document
from scanner.errors import ModelError
from scanner.networks.modules import kind_of, load_module
from scanner.networks.network import Network, Preprocessing, hash_description, make_network

Triple = tuple[float, float, float]
PathText = Annotated[str, Field(min_length=1)]
Pooling = Literal["mean", "max"]


class NetworkSection(Section):
    """`[network]`.

    Attributes:
        weights: the file, relative to the description.
        factory: `package.module:function` that builds the network of a .safetensors file.
        name: for messages and reports; left out, the file's.
        sha256: of the weights file; checked when given.
        classes: number of logits, if it is a classifier.
        output: for ONNX: an output or any inner tensor; left out, the only output.
        pooling: for an output with spatial axes: "mean" or "max" over them.
    """

    weights: PathText
    factory: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    name: str | None = Field(default=None, min_length=1)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    classes: PositiveInt | None = None
    output: str | None = None
    pooling: Pooling | None = None


class InputSection(Section):
    """`[input]`: a pixel p (0..255) of channel c becomes `(p - mean[c]) * scale[c]`, c in `channel_order`.

    Attributes:
        size: height, width of images.
        latent: length of latents; then there are no images.
        channel_order: "RGB" or "BGR".
        mean: by channel, in that order.
        scale: by channel, or one number for all.
    """

    size: tuple[PositiveInt, PositiveInt] | None = None
    latent: PositiveInt | None = None
    channel_order: Literal["RGB", "BGR"] = "RGB"
    mean: Triple = (0.0, 0.0, 0.0)
    scale: float | Triple = 1 / 255

    @field_validator("scale")
    @classmethod
    def _no_zero(cls, scale: float | Triple) -> float | Triple:
        if 0.0 in (scale if isinstance(scale, tuple) else (scale,)):
            raise ValueError("a scale of 0 blinds the network: every picture would look the same to it")
        return scale

    @model_validator(mode="after")
    def _one_kind(self) -> InputSection:
        if (self.size is None) == (self.latent is None):
            raise ValueError("give either size = [height, width] (images) or latent = LENGTH")
        return self

    def shape(self) -> tuple[int, ...]:
        """Return the input's shape without the batch's axis."""
        return (self.latent,) if self.size is None and self.latent is not None else (3, *(self.size or ()))

    def preprocessing(self) -> Preprocessing | None:
        """Return what is done to images01; None for latents."""
        if self.size is None:
            return None
        scale = self.scale if isinstance(self.scale, tuple) else (self.scale,) * 3
        return Preprocessing(self.mean, scale, self.channel_order)


class NetworkDescription(Section):
    """The whole file; `weights` is absolute once it is read."""

    network: NetworkSection
    input: InputSection


def open_network(path: Path | str, *, trusted: Sequence[str] = ()) -> Network:
    """Open a network from its description, or from a bare .onnx file; on the CPU.

    Args:
        path: NET.toml, NET.json or NET.onnx.
        trusted: packages whose factories may be called besides our own.

    Raises:
        ModelError: the description or the weights are wrong; every problem of the description is listed.
    """
    described = read_network(path)
    weights, source = Path(described.network.weights), described.network
    digest = _sha256(weights)
    if source.sha256 is not None and source.sha256 != digest:
        raise ModelError(
            f"{weights} is not the file that {path} describes: sha256 {digest[:12]}…, expected {source.sha256[:12]}…. "
            "Fetch the file again, or correct the description if the change is meant."
        )
    return make_network(
        source.name or weights.stem,
        _module(described, weights, trusted),
        input_shape=described.input.shape(),
        preprocessing=described.input.preprocessing(),
        fingerprint=hash_description(digest, _what_counts(described)),
        classes=source.classes,
    )


def _what_counts(described: NetworkDescription) -> dict[str, Any]:
    """Return what changes the network's answers."""
    source = described.network.model_dump(mode="json", include={"factory", "output", "pooling"})
    return {**source, "input": described.input.model_dump(mode="json")}


def _module(described: NetworkDescription, weights: Path, trusted: Sequence[str]) -> nn.Module:
    source = described.network
    if kind_of(weights) == "onnx":
        from scanner.networks.from_onnx import module_from_onnx

        module: nn.Module = module_from_onnx(weights, output=source.output, input_shape=described.input.shape())
    elif source.output is not None:
        raise ModelError(f"output = {source.output!r} is for ONNX files; {weights} has one output of its own.")
    else:
        module = load_module(weights, factory=source.factory, trusted=trusted)
    return module if source.pooling is None else _pooled(module, source.pooling)


def _pooled(module: nn.Module, pooling: Pooling) -> nn.Module:
    """Return the module with its spatial axes pooled away."""
    graph = module if isinstance(module, fx.GraphModule) else fx.symbolic_trace(module)
    end = next(node for node in graph.graph.nodes if node.op == "output")
    with graph.graph.inserting_before(end):
        pooled = graph.graph.call_function(torch.mean if pooling == "mean" else torch.amax, (end.args[0], (2, 3)))
    end.args = (pooled,)
    graph.recompile()
    return graph


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"The network {path} cannot be read: {error.strerror}.") from error


# --- reading ------------------------------------------------------------------------------------------------------


def read_network(path: Path | str) -> NetworkDescription:
    """Read a description; paths in it become absolute.

    Raises:
        ModelError: not there, no TOML or JSON, or wrong; every problem is listed with its key and the nearest right name.
    """
    place = Path(path)
    if place.suffix == ".onnx":
        return _from_sidecar(place)
    described = _read(place, NetworkDescription)
    weights = str((place.parent / Path(described.network.weights).expanduser()).absolute())
    return described.model_copy(update={"network": described.network.model_copy(update={"weights": weights})})


class _Sidecar(Section):
    """The JSON beside an embedder's .onnx file; see scanner/embedders/sidecar.py, whose keys these are."""

    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    licence: str = "not stated"
    input_size: tuple[PositiveInt, PositiveInt] | None = None
    channel_order: Literal["RGB", "BGR"] = "RGB"
    mean: Triple = (127.5, 127.5, 127.5)
    scale: float | Triple = 1.0 / 127.5
    output: str | None = None
    pooling: Pooling | None = None
    dim: PositiveInt | None = None


def _from_sidecar(weights: Path) -> NetworkDescription:
    """Return what the JSON beside an .onnx file says; without one, ArcFace's conventions hold."""
    from scanner.networks.from_onnx import read_input_shape

    beside = weights.with_suffix(".json")
    sidecar = _read(beside, _Sidecar) if beside.exists() else _Sidecar()
    if sidecar.input_size is not None:
        width, height = sidecar.input_size
    else:
        _, height, width = read_input_shape(weights)
    document = {
        "network": {
            "weights": str(weights.absolute()),
            "name": weights.stem,
            **sidecar.model_dump(include={"sha256", "output", "pooling"}),
        },
        "input": {"size": (height, width), **sidecar.model_dump(include={"channel_order", "mean", "scale"})},
    }
    return NetworkDescription.model_validate(document)


def _read(path: Path, model: type[Model]) -> Model:
    return read_document(path, model, error=ModelError, described_in="docs/rewinding.md, Features back to images")
