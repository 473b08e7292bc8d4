"""The perceptual gap: zero for the same image, larger for more damage, by hand for one layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from scanner.errors import UsageError
from scanner.inversion.features.procedural import draw_images
from scanner.inversion.perceptual import PerceptualGap
from scanner.networks.network import make_network
from scanner.networks.tiny import tiny_resnet


def pictures(count: int) -> torch.Tensor:
    return draw_images(np.random.default_rng(0), count, (8, 8), device=torch.device("cpu"))


def test_the_same_image_has_no_gap_and_noise_widens_it() -> None:
    gap = PerceptualGap(make_network("tiny", tiny_resnet(), input_shape=(3, 8, 8), classes=10))
    images = pictures(80)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    none, little, much = (gap(images, (images + sd * noise).clamp(0, 1)) for sd in (0.0, 0.05, 0.3))

    assert none.shape == (80,)
    assert float(none.max()) == 0
    assert float(little.mean()) > 0
    assert float(much.mean()) > 3 * float(little.mean())


def test_one_layer_by_hand() -> None:
    conv = nn.Conv2d(3, 2, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None])
    network = make_network(
        "one", nn.Sequential(conv, nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(8, 2)), input_shape=(3, 2, 2)
    )
    gap = PerceptualGap(network, at=["0"])
    red, mixed = torch.zeros(2, 1, 3, 2, 2)
    red[:, 0] = 1.0
    mixed[:, :2] = 0.5

    # features (1, 0) against (1, 1)/sqrt(2) at every place
    assert gap(red, mixed).item() == pytest.approx((1 - 0.5**0.5) ** 2 + 0.5, abs=1e-5)


def test_an_image_s_gap_does_not_depend_on_its_neighbours() -> None:
    gap = PerceptualGap(make_network("tiny", tiny_resnet(), input_shape=(3, 8, 8), classes=10))
    first, second = pictures(10).split(5)

    together = gap(first, second)

    apart = torch.cat([gap(first[k : k + 1], second[k : k + 1]) for k in range(5)])
    assert float((together - apart).abs().max()) < 1e-6


def test_what_cannot_be_compared_is_refused() -> None:
    gap = PerceptualGap(make_network("tiny", tiny_resnet(), input_shape=(3, 8, 8), classes=10))

    with pytest.raises(UsageError, match="one size"):
        gap(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 9, 8))
    with pytest.raises(UsageError, match="eats"):
        PerceptualGap(make_network("decoder", nn.Linear(4, 6), input_shape=(4,)))
