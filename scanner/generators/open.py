"""From weights on disk to a generator that has been tried out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from scanner.errors import ModelError, UsageError
from scanner.generators.generator import LAYOUTS, ORDERS, ChannelOrder, Conventions, Generator, Labels, Layout, ToImages
from scanner.generators.latents import LatentLaw
from scanner.generators.probe import probe
from scanner.generators.sample import is_out_of_memory
from scanner.networks.device import torch_device
from scanner.networks.modules import load_module

FINGERPRINT_HEX: Final = 16


def make_generator(
    *,
    name: str,
    weights: Path,
    law: LatentLaw,
    factory: str | None = None,
    trusted: Sequence[str] = (),
    output_range: tuple[float, float] = (0.0, 1.0),
    layout: Layout = "NCHW",
    channel_order: ChannelOrder = "RGB",
    latent_shape: tuple[int, ...] | None = None,
    labels: Labels = "index",
    mapping: Path | None = None,
    mapping_factory: str | None = None,
    device: str = "auto",
    where: str | None = None,
) -> Generator:
    """Load a generator, put it on its device and try it out.

    Args:
        name: what results call it.
        weights: .pt2 (torch.export), TorchScript, .onnx (converted to torch), or .safetensors with a factory.
        law: of its latents.
        factory: `package.module:function` that makes the module into which .safetensors are loaded.
        trusted: packages besides `scanner` whose factories may run.
        output_range: the values that stand for black and white.
        layout: "NCHW" or "NHWC", of its output.
        channel_order: "RGB" or "BGR", of its output.
        latent_shape: shape of one latent where it is not flat.
        labels: "index" or "one-hot", how a class is given.
        mapping: another network, z to w, where the weights take w.
        mapping_factory: as `factory`, where the mapping's weights are .safetensors.
        device: "auto", "cpu" or "cuda".
        where: the file that describes it, for messages; the weights if there is none.

    Raises:
        ModelError: missing, broken, unsafe, or no such generator; see `scanner.generators.probe`.
        UsageError: parts that do not fit.
    """
    where = where or str(weights)
    conventions = _conventions(output_range, layout, channel_order, latent_shape, labels, law=law, where=where)
    chosen, reason = torch_device(device)
    inner = load_module(weights, factory=factory, trusted=trusted)
    mapper = None if mapping is None else load_module(mapping, factory=mapping_factory, trusted=trusted)
    facts = _facts(name, (weights, factory), (mapping, mapping_factory), law, conventions)
    return _tried(inner, mapper, conventions, law, facts, device=chosen, reason=reason, where=where)


def _tried(
    inner: nn.Module, mapper: nn.Module | None, conventions: Conventions, law: LatentLaw, facts: dict[str, Any], *,
    device: torch.device, reason: str, where: str,
) -> Generator:  # fmt: skip
    """Put a network on its device, try it out there, and put what was found together."""
    try:
        inner = _frozen(inner, device, where)
        mapper = None if mapper is None else _frozen(mapper, device, where)
        bare = ToImages(inner, conventions, mapping=mapper, classes=law.classes, clip=False).eval()
        probed = probe(bare, law, device=device, where=where)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{where} does not fit into the memory of {device}. Free some, or pass another --device."
        ) from None

    def images(*, mapped: bool, clip: bool) -> ToImages:
        return ToImages(
            inner, conventions, mapping=mapper if mapped else None, classes=law.classes if mapped else None,
            channels=probed.channels, clip=clip,
        ).eval()  # fmt: skip

    module, unclipped = images(mapped=True, clip=True), images(mapped=True, clip=False)
    return Generator(
        name=facts["name"],
        fingerprint=facts["fingerprint"],
        law=law,
        shape_px=probed.shape_px,
        module=module,
        unclipped=unclipped,
        synthesis=module if mapper is None else images(mapped=False, clip=True),
        unclipped_synthesis=unclipped if mapper is None else images(mapped=False, clip=False),
        mapping=mapper,
        differentiable=probed.differentiable,
        batch_max=probed.batch_max,
        device=device,
        device_reason=reason,
        value_range=probed.value_range,
        facts={**facts, "image": list(probed.shape_px)},
        notes=probed.notes,
    )


def _conventions(
    output_range: tuple[float, float], layout: Layout, channel_order: ChannelOrder, latent_shape: tuple[int, ...] | None,
    labels: Labels, *, law: LatentLaw, where: str,
) -> Conventions:  # fmt: skip
    """Return the conventions; raises UsageError for what does not fit."""
    low, high = output_range
    if not low < high:
        raise UsageError(f"{where}: range = [{low:g}, {high:g}] does not rise. Write the value of black first.")
    if layout not in LAYOUTS or channel_order not in ORDERS:
        raise UsageError(f"{where}: layout is one of {', '.join(LAYOUTS)}, channel_order one of {', '.join(ORDERS)}.")
    if latent_shape is not None and math.prod(latent_shape) != law.size:
        shape = " x ".join(map(str, latent_shape))
        raise UsageError(f"{where}: shape {shape} holds {math.prod(latent_shape)} numbers, size says {law.size}.")
    return Conventions((float(low), float(high)), layout, channel_order, latent_shape, labels)


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file; raises ModelError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}. Check the path of the weights.") from None


def _frozen(module: nn.Module, device: torch.device, where: str) -> nn.Module:
    """Return the module on `device`, its weights without gradients."""
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise ModelError(
            f"{where}: some weights hold no numbers, for its factory made them on torch's device 'meta'. "
            "Let the factory make them on the CPU."
        )
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.to(device)


def _facts(
    name: str,
    weights: tuple[Path, str | None],
    mapping: tuple[Path | None, str | None],
    law: LatentLaw,
    conventions: Conventions,
) -> dict[str, Any]:
    """Return what identifies a generator; whatever changes an image changes the fingerprint, a name does not."""
    parts: dict[str, Any] = {
        "weights_sha256": sha256_of(weights[0]),
        "factory": weights[1],
        "mapping_sha256": None if mapping[0] is None else sha256_of(mapping[0]),
        "mapping_factory": mapping[1],
        "latent": asdict(law),
        "conventions": asdict(conventions),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {"name": name, "fingerprint": digest[:FINGERPRINT_HEX], **json.loads(json.dumps(parts))}
