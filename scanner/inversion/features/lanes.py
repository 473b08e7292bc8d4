"""The loss of one training step: every image has a cut of its own, and all share one pass through network and inverse.

The images of a batch are ordered by the depth of their cuts.  Going down the network, those whose cut is reached stay
behind; going back up, each joins the others where it stayed.  So a step trains all depths of the stack at about the cost
of one pass through half of it, and a module sees what it will get later: what the modules behind it re-created.

    going down   x --F1--> t1 --F2--> t2 --F3--> t3        true features
                 |          |          |          |
    going up    r0 <--G1-- r1 <--G2-- r2 <--G3-- t3        re-created, all compared with the true ones
                 |
    once more   r0 --F1--> c1 --F2--> c2 --F3--> c3        cycle: compared with the true ones at the image's cut

What is summed are logarithms of each image's error (so decibels): a shallow cut, where little is lost, counts as much as a
deep one, whose error a hundred times as large would drown it otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scanner.inversion.features.inverse import InverseModule
from scanner.networks.cut import Block

FLOOR = 1e-3
"""Errors far below this share of the variance no longer count: about 42 dB for images."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much in a step; all errors are logarithms, in units of the features' standard deviation.

    Attributes:
        cycle: re-created input, fed to the attacked prefix, against the features at the cut.
        cycle_every: only every so-many-th image is fed again, and counts that much more: a second pass through the
            network is a third of a step's cost.
        inner: features that the modules re-create on the way.
        absolute: share of the absolute error in the input's loss; the rest is squared.
    """

    cycle: float
    inner: float
    absolute: float
    cycle_every: int = 1


@dataclass(frozen=True, slots=True)
class StepLoss:
    """Sums over a batch, as tensors: `total` to be differentiated, the others to be told."""

    total: Tensor
    inputs: Tensor
    cycle: Tensor


def stitched_loss(
    blocks: Sequence[Block],
    modules: nn.ModuleList,
    inputs: Tensor,
    depths: Tensor,
    weights: Weights,
    *,
    shift: int = 0,
) -> StepLoss:
    """Return the loss of the stack, summed over images.

    Args:
        blocks: of the network.
        modules: their inverses.
        inputs: float32 (n, *input_shape).
        depths: int64 (n,), on the CPU: image j's features are taken at the end of block `depths[j]`.
        weights: of the parts.
        shift: which of the images are fed again: a number that changes from step to step.
    """
    order = torch.argsort(depths, descending=True, stable=True)
    inputs, depths = inputs[order.to(inputs.device)], depths[order]
    # images whose cut is at block k or deeper: the first counts[k]
    counts = [int((depths >= k).sum()) for k in range(len(blocks) + 1)]
    true = [inputs]
    with torch.no_grad():
        for k, block in enumerate(blocks):
            if counts[k]:
                true.append(block.module(true[-1][: counts[k]]))
    back: Tensor | None = None
    inner = inputs.new_zeros(())
    for k in reversed(range(len(true) - 1)):
        late = true[k + 1][counts[k + 1] : counts[k]]
        module = modules[k]
        assert isinstance(module, InverseModule)
        back = module(late if back is None else torch.cat([back, late]))
        if k:
            inner = inner + _squared(back, true[k][: counts[k]], module.wanted_sd)
    first = modules[0]
    assert isinstance(first, InverseModule)
    assert back is not None
    error = _mixed(back, inputs, first.wanted_sd, weights.absolute)
    cycle = inputs.new_zeros(())
    if weights.cycle:
        chosen = torch.arange(shift % weights.cycle_every, len(inputs), weights.cycle_every)
        cycle = weights.cycle_every * _cycle(blocks, modules, back, true, depths, chosen)
    return StepLoss(error + weights.inner * inner + weights.cycle * cycle, error.detach(), cycle.detach())


def _cycle(
    blocks: Sequence[Block],
    modules: nn.ModuleList,
    back: Tensor,
    true: Sequence[Tensor],
    depths: Tensor,
    chosen: Tensor,
) -> Tensor:
    """Return the error of the features that re-created inputs have at their cuts, for the places `chosen` of the batch."""
    total = back.new_zeros(())
    again = back[chosen.to(back.device)]
    for k in range(len(true) - 1):
        chosen = chosen[depths[chosen] >= k]
        if not len(chosen):
            break
        again = blocks[k].module(again[: len(chosen)])
        module = modules[k]
        assert isinstance(module, InverseModule)
        # Deep cuts come first: those that end here are the last ones.
        here = torch.nonzero(depths[chosen] == k).flatten().to(back.device)
        total = total + _squared(again[here], true[k + 1][chosen.to(back.device)[here]], module.given_sd)
    return total


def alone_loss(blocks: Sequence[Block], modules: nn.ModuleList, inputs: Tensor, weights: Weights) -> StepLoss:
    """Return the loss of every module on its own, from one pass through the network: the division before the conquest.

    Each module gets true features; with a cycle weight, its block gets back what it re-created and must answer the same.
    """
    total, cycles = inputs.new_zeros(()), inputs.new_zeros(())
    error = inputs.new_zeros(())
    given = inputs
    for k, (block, module) in enumerate(zip(blocks, modules, strict=True)):
        assert isinstance(module, InverseModule)
        with torch.no_grad():
            result = block.module(given)
        back = module(result)
        absolute = weights.absolute if k == 0 else 0.0
        part = _mixed(back, given, module.wanted_sd, absolute)
        total = total + part
        error = part.detach() if k == 0 else error
        if weights.cycle:
            cycle = _squared(block.module(back), result, module.given_sd)
            total, cycles = total + weights.cycle * cycle, cycles + cycle.detach()
        given = result
    return StepLoss(total, error, cycles / len(blocks))


def _squared(got: Tensor, true: Tensor, sd: Tensor) -> Tensor:
    """Return the sum over images of log(mean squared error), errors in units of `sd`."""
    return ((got - true) / sd).flatten(1).square().mean(1).add(FLOOR).log().sum()


def _mixed(got: Tensor, true: Tensor, sd: Tensor, absolute: float) -> Tensor:
    """Return the same with a share of 2 log(mean absolute error), which is as large and less ruled by a few pixels."""
    error = ((got - true) / sd).flatten(1)
    squared = error.square().mean(1).add(FLOOR).log().sum()
    return (
        squared
        if absolute == 0
        else (1 - absolute) * squared + 2 * absolute * error.abs().mean(1).add(FLOOR).log().sum()
    )
