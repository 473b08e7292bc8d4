"""The attacked networks and the photographs that they are judged on."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scanner.networks.network import Network, Preprocessing, make_network
from scanner.networks.resnet_cifar import resnet20, resnet56

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375))
SQUEEZENET = Preprocessing((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), "BGR")
SHAPE = (3, 32, 32)
FACTORIES = {"resnet20": resnet20, "resnet56": resnet56}
SPLIT_SEED = 7


def classifier(name: str, real: Path | None) -> Network:
    """Return a CIFAR classifier with its published weights, or with random ones where `real` is None (speed only)."""
    module = FACTORIES[name]()
    if real is not None:
        from scanner.networks.tensors import read_tensors

        module.load_state_dict(read_tensors(real / "models" / f"cifar-{name}.safetensors"))
    return make_network(name, module, input_shape=SHAPE, preprocessing=IMAGENET, classes=10)


def onlooker(real: Path) -> Network:
    """Return the network whose features the perceptual gap is measured in: SqueezeNet of ImageNet."""
    from scanner.networks.from_onnx import module_from_onnx

    module = module_from_onnx(real / "models" / "squeezenet-imagenet.onnx")
    return make_network("squeezenet-imagenet", module, input_shape=(3, 227, 227), preprocessing=SQUEEZENET)


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """Test photographs of CIFAR-10: images01 (n, 3, 32, 32) and their classes (n,).

    `judged` are those that every figure rests on; `spare` the others, on which the search is tuned and the upper bound
    trained.
    """

    judged: Tensor
    judged_classes: Tensor
    spare: Tensor


def cifar(real: Path) -> Photos:
    """Return the 1 000 photographs in two halves, drawn by lot."""
    from PIL import Image

    images, names = [], []
    with tarfile.open(real / "images" / "cifar10-test-1000.tar") as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                images.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
                names.append(Path(member.name).name.rsplit("_", 1)[0])
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    pixels = torch.from_numpy(np.stack(images)[order]).permute(0, 3, 1, 2).float() / 255
    known = sorted(set(names))
    classes = torch.tensor([known.index(names[k]) for k in order])
    half = len(images) // 2
    return Photos(pixels[:half].contiguous(), classes[:half], pixels[half:].contiguous())
