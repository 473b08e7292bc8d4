"""Small networks with seeded weights, for tests and demonstrations: each kind of architecture that is cut, in 8x8 pixels.

The weights are drawn, and so are the BatchNorm statistics: nothing was learned.  All take images01 and give ten logits,
but for `tiny_decoder`, which makes images of latents.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scanner.networks.resnet_cifar import ResNet

LATENT = 4
SIDE_PX = 8


def tiny_resnet(seed: int = 0) -> nn.Module:
    """Return a residual network of 8 layers: (n, 3, 8, 8) to (n, 10)."""
    return _drawn(seed, lambda: ResNet(1, width=4))


def tiny_vgg(seed: int = 0) -> nn.Module:
    """Return a plain chain of convolutions with max-pooling and two linear layers: (n, 3, 8, 8) to (n, 10)."""
    return _drawn(
        seed,
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10)),
        ),
    )


class RepBlock(nn.Module):
    """RepVGG's block as it is trained: 3x3, 1x1 and identity side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.narrow = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        self.same = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()

    def forward(self, value: Tensor) -> Tensor:
        """Return the block's features."""
        result: Tensor = self.relu(self.wide(value) + self.narrow(value) + self.same(value))
        return result


class Fire(nn.Module):
    """SqueezeNet's module: few channels, then 1x1 and 3x3 side by side."""

    def __init__(self, before: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, few, 1)
        self.narrow = nn.Conv2d(few, each, 1)
        self.wide = nn.Conv2d(few, each, 3, padding=1)

    def forward(self, value: Tensor) -> Tensor:
        """Return the module's features."""
        few = torch.relu(self.squeeze(value))
        return torch.cat([torch.relu(self.narrow(few)), torch.relu(self.wide(few))], 1)


def tiny_repvgg(seed: int = 0) -> nn.Module:
    """Return a RepVGG-like network: (n, 3, 8, 8) to (n, 10)."""
    return _drawn(
        seed,
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), RepBlock(6), RepBlock(6)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)),
        ),
    )


def tiny_squeezenet(seed: int = 0) -> nn.Module:
    """Return a SqueezeNet-like network: (n, 3, 8, 8) to (n, 10)."""
    return _drawn(
        seed,
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Fire(6, 3, 4), Fire(8, 4, 5)),
            *(nn.Conv2d(10, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ),
    )


def tiny_decoder(seed: int = 0) -> nn.Module:
    """Return a small image generator: latents (n, 4) to images01 (n, 3, 8, 8)."""
    return _drawn(
        seed,
        lambda: nn.Sequential(
            *(nn.Linear(LATENT, 32), nn.ReLU(), nn.Unflatten(1, (8, 2, 2))),
            *(nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(6, 3, 4, 2, 1), nn.Sigmoid()),
        ),
    )


def _drawn(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """Return a module with weights and statistics drawn from `seed`; torch's own random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
                layer.running_mean.normal_(0.0, 0.2)
                layer.running_var.uniform_(0.2, 1.0)
                layer.weight.data.uniform_(0.7, 1.3)
                layer.bias.data.normal_(0.0, 0.2)
    return module.eval()
