"""The residual networks of He et al. (2016, arXiv 1512.03385, section 4.2) for 32x32 images and ten classes.

Shortcuts have no weights (option A): every second pixel, new channels filled with zeros.

    weights = "cifar-resnet20.safetensors"
    factory = "scanner.networks.resnet_cifar:resnet20"
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10


class Shortcut(nn.Module):
    """Option A: (n, c, h, w) to (n, 2c, h/2, w/2) without weights."""

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, value: Tensor) -> Tensor:
        """Return the thinned value between channels of zeros."""
        half = self.added // 2
        return functional.pad(value[:, :, ::2, ::2], (0, 0, 0, 0, half, self.added - half))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (n, before, h, w) to (n, after, h/stride, w/stride)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if stride == 1 and before == after else Shortcut(after - before)

    def forward(self, value: Tensor) -> Tensor:
        """Return the block's features, after the last ReLU."""
        inner = functional.relu(self.bn1(self.conv1(value)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(value))


class ResNet(nn.Module):
    """Three stages of `blocks` blocks; (n, 3, h, w) normalised images to (n, classes) logits."""

    def __init__(self, blocks: int, *, width: int = 16, classes: int = CLASSES) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, 1, blocks)
        self.layer2 = _stage(width, 2 * width, 2, blocks)
        self.layer3 = _stage(2 * width, 4 * width, 2, blocks)
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, value: Tensor) -> Tensor:
        """Return the logits."""
        value = functional.relu(self.bn1(self.conv1(value)))
        value = self.layer3(self.layer2(self.layer1(value)))
        logits: Tensor = self.linear(torch.mean(value, (2, 3)))
        return logits


def _stage(before: int, after: int, stride: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        *(BasicBlock(before if i == 0 else after, after, stride if i == 0 else 1) for i in range(blocks))
    )


def resnet20() -> nn.Module:
    """Return the network of 20 layers, untrained."""
    return ResNet(3)


def resnet56() -> nn.Module:
    """Return the network of 56 layers, untrained."""
    return ResNet(9)
