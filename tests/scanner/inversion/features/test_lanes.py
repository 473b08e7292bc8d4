"""One pass for all depths gives the losses of image by image, the slow obvious way."""

from __future__ import annotations

import pytest
import torch
from dci_worlds import SoftStream, network_of
from torch import Tensor

from scanner.inversion.features.lanes import FLOOR, Weights, alone_loss, stitched_loss
from scanner.inversion.features.stack import make_blocks, make_modules
from scanner.networks.tiny import tiny_resnet


def told(errors: Tensor) -> Tensor:
    """Return how an image's errors count."""
    return torch.log(errors.mean() + FLOOR)


def slow_loss(blocks, modules, image: Tensor, depth: int, weights: Weights, again: float) -> Tensor:
    """Return the loss of one image whose cut is the end of block `depth`; its cycle counts `again` times."""
    true = [image]
    for block in blocks[: depth + 1]:
        true.append(block.module(true[-1]))
    back = true[-1]
    total = torch.zeros(())
    for k in range(depth, -1, -1):
        back = modules[k](back)
        error = ((back - true[k]) / modules[k].wanted_sd).flatten()
        if k:
            total = total + weights.inner * told(error.square())
        else:
            total = total + (1 - weights.absolute) * told(error.square()) + 2 * weights.absolute * told(error.abs())
    features = back
    for block in blocks[: depth + 1]:
        features = block.module(features)
    return total + again * weights.cycle * told(((features - true[-1]) / modules[depth].given_sd).square())


@pytest.mark.parametrize(("cycle", "every", "shift"), [(0.0, 1, 0), (0.3, 1, 0), (0.3, 3, 4)])
def test_joined_lanes_equal_one_image_at_a_time(cycle: float, every: int, shift: int) -> None:
    """Loss and gradients; depths in any order, some of them missing; all images fed again, or every third for three."""
    network = network_of(tiny_resnet())
    blocks, _ = make_blocks(network, None, layers_max=2)
    modules = make_modules(blocks, width=1.0, seed=1)
    images, weights = SoftStream().batch(0, 7), Weights(cycle, 0.2, 0.5, every)
    depths = torch.tensor([2, 0, len(blocks) - 1, 2, 1, 0, 2])
    by_depth = sorted(range(7), key=lambda j: -int(depths[j]))
    again = [float(every) if by_depth.index(j) % every == shift % every else 0.0 for j in range(7)]

    fast = stitched_loss(blocks, modules, images, depths, weights, shift=shift).total
    fast.backward()
    gradients = [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in modules.parameters()]
    modules.zero_grad()
    slow = sum(slow_loss(blocks, modules, images[j : j + 1], int(depths[j]), weights, again[j]) for j in range(7))
    slow.backward()

    assert fast.item() == pytest.approx(slow.item(), rel=1e-4)
    for fast_gradient, p in zip(gradients, modules.parameters(), strict=True):
        torch.testing.assert_close(
            fast_gradient, p.grad if p.grad is not None else torch.zeros_like(p), rtol=1e-3, atol=1e-4
        )


def test_alone_every_module_sees_true_features() -> None:
    network = network_of(tiny_resnet())
    blocks, _ = make_blocks(network, None, layers_max=2)
    modules = make_modules(blocks, width=1.0, seed=1)
    image = SoftStream().batch(0, 1)
    expected, given = 0.0, image
    for k, (block, module) in enumerate(zip(blocks, modules, strict=True)):
        result = block.module(given)
        error = (module(result) - given) / module.wanted_sd
        again = (block.module(module(result)) - result) / module.given_sd
        expected += (2 * told(error.abs()) if k == 0 else told(error.square())).item() + 0.4 * told(
            again.square()
        ).item()
        given = result

    assert alone_loss(blocks, modules, image, Weights(0.4, 0.0, 1.0)).total.item() == pytest.approx(expected, rel=1e-4)
