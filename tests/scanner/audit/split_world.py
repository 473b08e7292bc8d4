"""A small split network on disk: an attacked network of drawn weights, an inverse, two judges, and pictures of 'people'."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from scanner.audit.config import read_config
from scanner.audit.split_open import Opened, open_split
from scanner.images import encode_png
from scanner.inversion.features.stack import Inverse, make_blocks, make_modules
from scanner.inversion.features.store import save_inverse
from scanner.networks.description import open_network
from scanner.networks.tiny import tiny_resnet

SIDE = 16
CUTS = ("layer1.0", "layer3.0", "linear")
PEOPLE = 40


def pictures(people: int = PEOPLE, photos: int = 2, seed: int = 0) -> np.ndarray:
    """Return (people, photos, SIDE, SIDE, 3) uint8: a coarse pattern a person, noise a photo."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (people, 1, 4, 4, 3)).repeat(SIDE // 4, axis=2).repeat(SIDE // 4, axis=3)
    return np.clip(coarse + rng.normal(0, 12, (people, photos, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def write_judge(path: Path, seed: int) -> None:
    """Write a recogniser: a random projection of the pixels, with its card."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(size=(3 * SIDE * SIDE, 24)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        "judge",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 24))],
        initializer=[numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text('{"licence": "test"}')


def make_split_world(
    folder: Path, *, classes: bool = False, people: int = PEOPLE, more: str = "", judges: int = 2
) -> Path:
    """Write everything; return the AUDIT.toml."""
    folder.mkdir(parents=True)
    save_file(tiny_resnet().state_dict(), folder / "net.safetensors")
    (folder / "net.toml").write_text(
        '[network]\nweights = "net.safetensors"\nfactory = "scanner.networks.tiny:tiny_resnet"\nname = "tiny"\n'
        + ("classes = 10\n" if classes else "")
        + f"[input]\nsize = [{SIDE}, {SIDE}]\n"
    )
    network = open_network(folder / "net.toml")
    blocks, names = make_blocks(network, CUTS, layers_max=2)
    inverse = Inverse(network, blocks, names, make_modules(blocks, width=0.5, seed=0))
    save_inverse(inverse, folder / "inverse", plan={"at": list(CUTS), "layers_max": 2, "width": 0.5})
    for seed, name in enumerate(("one", "two")[:judges]):
        write_judge(folder / f"{name}.onnx", seed + 1)
    for person, photos in enumerate(pictures(people)):
        (folder / "photos" / f"p{person:03d}").mkdir(parents=True)
        for number, pixels in enumerate(photos):
            (folder / "photos" / f"p{person:03d}" / f"{number}.png").write_bytes(encode_png(pixels))
    listed = ", ".join(f'"onnx:{name}.onnx"' for name in ("one", "two")[:judges])
    (folder / "audit.toml").write_text(
        f'[embedder]\nfaces = "whole"\ndevice = "cpu"\n[split]\nnetwork = "net.toml"\ninverse = "inverse"\nphotos = "photos"\n'
        f'identity_from = "folder"\njudges = [{listed}]\nfmr = [0.01]\n{more}'
    )
    return folder / "audit.toml"


class ExactInverse:
    """Gives back the very pictures whose features it was asked for last."""

    def __init__(self, real: Inverse) -> None:
        self.names, self.blocks, self.shape, self._real = real.names, real.blocks, real.shape, real
        self._last = torch.empty(0)

    def features(self, inputs: Tensor, cut: str) -> Tensor:
        self._last = inputs
        return self._real.features(inputs, cut)

    def inputs(self, features: Tensor, cut: str) -> Tensor:  # noqa: ARG002
        assert len(features) == len(self._last)
        return self._last


class UselessInverse(ExactInverse):
    """Gives everybody nearly the same picture, which has nothing to do with the features."""

    def inputs(self, features: Tensor, cut: str) -> Tensor:  # noqa: ARG002
        first = float(self._last.sum())
        noise = torch.rand(self._last.shape, generator=torch.Generator().manual_seed(int(first) % 1000))
        return 0.5 + 0.1 * (noise - 0.5)


def opened_with(toml: Path, stand_in: Any) -> Opened:
    """Open the files, with another inverse in the place of the stored one."""
    opened = open_split(read_config(toml), toml.parent)
    return dataclasses.replace(opened, inverse=stand_in(opened.inverse))
