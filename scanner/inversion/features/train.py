"""Training an inverse network, block by block and then as one stack, without a single real image (DCI).

Divide: every inverse module learns to undo its own block, all of them from the same pass through the network.  Conquer:
the stack is trained as it will be used, features at a random cut of every image back to the image, each module on what
the modules behind it re-created.  Cycle consistency in both: what was re-created, fed to the attacked part again, must
give the features that it came from (Dong et al. 2021, arXiv 2107.06304).  The averaged weights of the last part of the
training are the result.

    inverse = train_inverse(network, ProceduralStream((32, 32), seed=1), plan=DciPlan(steps=2000))
    images01 = inverse.inputs(features, "layer2.0")
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scanner.errors import ModelError, UsageError
from scanner.inversion.features.checkpoint import load_checkpoint, save_checkpoint
from scanner.inversion.features.inverse import InverseModule
from scanner.inversion.features.lanes import StepLoss, Weights, alone_loss, stitched_loss
from scanner.inversion.features.stack import Inverse, make_blocks, make_modules
from scanner.inversion.features.stream import Stream
from scanner.networks.cut import Block
from scanner.networks.network import Network
from scanner.progress import Progress, Silent

_STATISTICS_BATCHES = 4
_STATISTICS_BATCH = 32
_STATISTICS_PIXELS = 1 << 18
"""In one of these batches, so that large images' features fit into memory."""
_GRADIENT_NORM_MAX = 1.0
_WARM_STEPS = 50


@dataclass(frozen=True, slots=True)
class DciPlan:
    """What decides an inverse besides the network and the stream.

    Attributes:
        at: cuts at which features will come, and so how deep blocks are; None: found.
        layers_max: with `at=None`: weighted layers in a block, where cut points allow so few.
        steps: optimiser steps in all.
        batch: images in a step.
        rate: highest learning rate (Adam), reached after a few steps and lowered to 0 along a cosine.
        cycle: weight of cycle consistency; 0 leaves it out.
        cycle_every: every so-many-th image is fed to the network again, for that many.
        alone: share of the steps in which modules are trained each on its own.
        stitch: train the stack as one after that; otherwise `alone` is all there is.
        inner: weight of the features re-created on the way.
        absolute: share of the absolute error in the image's loss, the rest is squared.
        width: channels inside a module, as a multiple of its block's.
        average: weights are averaged over about this share of the training.
        seed: of the first weights.
    """

    at: tuple[str, ...] | None = None
    layers_max: int = 2
    steps: int = 4000
    batch: int = 32
    rate: float = 3e-3
    cycle: float = 0.1
    cycle_every: int = 4
    alone: float = 0.05
    stitch: bool = True
    inner: float = 0.1
    absolute: float = 0.5
    width: float = 1.0
    average: float = 0.02
    seed: int = 0

    def check(self) -> None:
        """Refuse a plan that trains nothing; raises UsageError."""
        wrong = [name for name in ("layers_max", "steps", "batch", "cycle_every") if getattr(self, name) < 1]
        wrong += [name for name in ("rate", "width") if not 0 < getattr(self, name) < math.inf]
        wrong += [name for name in ("cycle", "inner") if not 0 <= getattr(self, name) < math.inf]
        wrong += [name for name in ("alone", "absolute", "average") if not 0 <= getattr(self, name) <= 1]
        if wrong or self.seed < 0:
            name = wrong[0] if wrong else "seed"
            raise UsageError(
                f"The plan of the training has {name} = {getattr(self, name)}, which makes no training. Correct it."
            )


@dataclass(slots=True)
class _State:
    """A training in progress."""

    blocks: tuple[Block, ...]
    modules: nn.ModuleList
    averaged: nn.ModuleList
    optimiser: torch.optim.Adam
    step: int = 0
    pieces: int = 1


def train_inverse(
    network: Network,
    stream: Stream,
    *,
    plan: DciPlan | None = None,
    work: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    keep_every: int = 200,
    look: Callable[[int, Inverse], None] | None = None,
) -> Inverse:
    """Train the inverse of a network.

    Args:
        network: to be inverted; it stays where it is.
        stream: its training inputs; no real image unless the caller puts some in.
        plan: everything that decides the result.
        work: folder for checkpoints.  With one in it the training goes on from there, and ends with the same weights as
            without the interruption: bit for bit on the CPU, within rounding on a GPU.
        device: where to train.
        progress: told of every step.
        keep_every: steps between checkpoints.
        look: called with the step and the averaged inverse so far, at every checkpoint.

    Returns:
        The inverse with the averaged weights, on `device`.  A batch that does not fit into memory is split, which changes
        sums by rounding alone.

    Raises:
        UsageError: a plan that makes no training, an unknown cut, or a stream of another shape.
        ModelError: the loss is no number any more, or one image does not fit into memory.
        ArtefactError: the checkpoint in `work` is broken or of another training.
    """
    plan, progress = plan or DciPlan(), progress or Silent()
    plan.check()
    network = network.to(device)
    blocks, names = make_blocks(network, plan.at, layers_max=plan.layers_max)
    state = _begin(network, blocks, stream, plan, torch.device(device))
    purpose = {"network": network.fingerprint, "plan": _plain(plan), "stream": stream.describe()}
    if work is not None:
        state.step = load_checkpoint(work, state.modules, state.averaged, state.optimiser, purpose)
    progress.stage("training the inverse", total=plan.steps, unit="steps", done=state.step)
    starts = torch.tensor([k for k, block in enumerate(blocks) if block.name in names])
    result = Inverse(network, blocks, names, state.averaged)
    while state.step < plan.steps:
        _step(state, stream, plan, starts)
        progress.advance(1)
        if state.step % keep_every == 0 or state.step == plan.steps:
            if work is not None:
                save_checkpoint(work, state.step, state.modules, state.averaged, state.optimiser, purpose)
            if look is not None:
                look(state.step, result)
    state.averaged.requires_grad_(requires_grad=False).eval()
    return result


def _plain(plan: DciPlan) -> dict[str, Any]:
    return {**asdict(plan), "at": None if plan.at is None else list(plan.at)}


def _begin(network: Network, blocks: tuple[Block, ...], stream: Stream, plan: DciPlan, device: torch.device) -> _State:
    """Return untrained modules that know the scale of what they are to map."""
    modules = make_modules(blocks, width=plan.width, seed=plan.seed)
    count = max(4, min(_STATISTICS_BATCH, _STATISTICS_PIXELS // math.prod(network.input_shape[1:])))
    inputs = torch.cat([stream.batch(i, count) for i in range(_STATISTICS_BATCHES)]).to(device)
    if tuple(inputs.shape[1:]) != network.input_shape:
        raise UsageError(
            f"The training inputs have the shape {tuple(inputs.shape[1:])}, but {network.name} takes "
            f"{network.input_shape}. Make the stream for this network."
        )
    with torch.no_grad():
        for block, module in zip(blocks, modules, strict=True):
            outputs = torch.cat([block.module(part) for part in torch.split(inputs, count)])
            assert isinstance(module, InverseModule)
            module.to(device).calibrate(outputs, inputs)
            inputs = outputs
    modules = modules.to(device)
    with torch.random.fork_rng(devices=[]):
        averaged = make_modules(blocks, width=plan.width, seed=plan.seed).to(device)
    averaged.load_state_dict(modules.state_dict())
    optimiser = torch.optim.Adam(modules.parameters(), lr=plan.rate, betas=(0.9, 0.99), fused=True)
    return _State(blocks, modules, averaged.requires_grad_(requires_grad=False), optimiser)


def _step(state: _State, stream: Stream, plan: DciPlan, starts: Tensor) -> None:
    """Take one step of the optimiser, in as many pieces as memory asks for."""
    device = next(state.modules.parameters()).device
    # The first batches gave the statistics; they are seen again, which does no harm.
    inputs = stream.batch(state.step, plan.batch).to(device)
    shift = state.step * plan.batch
    depths = starts[(torch.arange(plan.batch) + shift) % len(starts)]
    while True:
        try:
            loss = _gradients(state, inputs, depths, plan)
            break
        except torch.OutOfMemoryError as error:
            if state.pieces >= plan.batch:
                raise ModelError(
                    "One image's training step does not fit into the device's memory. Train with a smaller width, "
                    "with fewer cuts, or with --device cpu."
                ) from error
            state.pieces *= 2
            torch.cuda.empty_cache()
    norm = nn.utils.clip_grad_norm_(state.modules.parameters(), _GRADIENT_NORM_MAX)
    if not math.isfinite(float(loss)) or not bool(torch.isfinite(norm)):
        raise ModelError(
            f"The loss is {float(loss)} at step {state.step} of {plan.steps}: the training has diverged, or the network "
            "gives values that are no numbers. Begin again with a lower --rate; if it happens at once, check the "
            "network's preprocessing."
        )
    state.optimiser.param_groups[0]["lr"] = _rate(plan, state.step)
    state.optimiser.step()
    _average(state, plan)
    state.step += 1


def _gradients(state: _State, inputs: Tensor, depths: Tensor, plan: DciPlan) -> Tensor:
    """Fill in the gradients of one batch; return its loss."""
    state.optimiser.zero_grad(set_to_none=True)
    weights = Weights(plan.cycle, plan.inner, plan.absolute, plan.cycle_every)
    stitched = plan.stitch and state.step >= plan.alone * plan.steps
    total = inputs.new_zeros(())
    for part in torch.arange(len(inputs)).tensor_split(state.pieces):
        some = inputs[part.to(inputs.device)]
        loss: StepLoss = (
            stitched_loss(state.blocks, state.modules, some, depths[part], weights, shift=state.step)
            if stitched
            else alone_loss(state.blocks, state.modules, some, weights)
        )
        torch.autograd.backward(loss.total / len(inputs))
        total = total + loss.total.detach() / len(inputs)
    return total


def _rate(plan: DciPlan, step: int) -> float:
    warm = min(1.0, (step + 1) / _WARM_STEPS)
    return plan.rate * warm * 0.5 * (1 + math.cos(math.pi * step / plan.steps))


def _average(state: _State, plan: DciPlan) -> None:
    """Move the averaged weights towards the trained ones; the average is short at first."""
    span = max(1.0, plan.average * plan.steps)
    keep = min(1 - 1 / span, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for kept, trained in zip(state.averaged.parameters(), state.modules.parameters(), strict=True):
            kept.lerp_(trained, 1 - keep)
