"""Training images out of the network alone: what its BatchNorm layers remember is the only picture book there is.

DeepInversion (Yin et al. 2020, arXiv 1912.08795): Adam on the pixels of a batch until the mean and variance of every
BatchNorm layer's input are those of the training images, with a total-variation and a contrast prior; for classifiers
the logits shall also say a class drawn by lot.  Here differences are taken relative to the layer's own deviation, so
that one weight fits all networks.

Networks without BatchNorm (SqueezeNet; most ONNX exports, where it is folded into the convolutions) remember nothing of
the kind.  What is left then: a class by lot for a classifier, embeddings that differ from each other for a recogniser,
from a procedural start.  Such images carry less of the training images; `means` says which kind a network gets.

    pool = synthesise(network, count=256, plan=SynthesisPlan(), seed=1)     # (256, 3, h, w) in 0..1
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scanner.errors import UsageError
from scanner.inversion.features.procedural import draw_images
from scanner.inversion.features.search import total_variation
from scanner.networks.batch_norm import BnRecorder, batch_norms, statistics
from scanner.networks.network import Network
from scanner.progress import Progress, Silent

Means = Literal["batch norm", "batch norm and classes", "classes", "embeddings"]

_IMAGE_AXES = 3
_BATCH_MIN = 2
_NARROW = 1e-5
"""Variance below which a channel says nothing: it was constant on the training images."""


@dataclass(frozen=True, slots=True)
class SynthesisPlan:
    """How to synthesise.

    Attributes:
        steps: of Adam, each a pass forward and back.
        batch: images whose statistics are matched together; the result depends on it.
        rate: of Adam at the start, in units of the pixel range.
        start: "procedural" or "noise".
        batch_norm: weight of the statistics, relative mean square over channels, averaged over layers.
        classes: weight of the cross-entropy to a class drawn by lot.
        spread: weight of the embeddings' mean squared cosine between images (recognisers without BatchNorm alone).
        smoothness: weight of the total variation.
        contrast: weight of the squared deviation of pixels from grey.
    """

    steps: int = 150
    batch: int = 64
    rate: float = 0.03
    start: Literal["procedural", "noise"] = "procedural"
    batch_norm: float = 1.0
    classes: float = 0.1
    spread: float = 1.0
    smoothness: float = 0.5
    contrast: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            UsageError: no steps, a batch of less than 2 images, a rate of 0 or less, a negative weight, another start.
        """
        weights = (self.batch_norm, self.classes, self.spread, self.smoothness, self.contrast)
        if self.steps < 1 or self.batch < _BATCH_MIN or not self.rate > 0 or not all(w >= 0 for w in weights):
            raise UsageError(
                f"synthesis: got {self}, expected steps of at least 1, a batch of at least 2, a rate above 0 and weights "
                "of 0 or more.\nCorrect the plan."
            )
        if self.start not in {"procedural", "noise"}:
            raise UsageError(
                f"synthesis: start '{self.start}' is not known, expected 'procedural' or 'noise'.\nCorrect the plan."
            )


def means(network: Network) -> Means:
    """Return what images can be synthesised from: what the network remembers of its training images."""
    if batch_norms(network):
        return "batch norm" if network.classes is None else "batch norm and classes"
    return "embeddings" if network.classes is None else "classes"


def synthesise(
    network: Network, *, count: int, plan: SynthesisPlan, seed: int = 0, progress: Progress | None = None
) -> Tensor:
    """Return `count` images that the network makes up, float32 (count, 3, h, w) in 0..1, on its device.

    Image i depends on the network, the plan, the seed and i, and not on `count`: batches are made whole and cut.

    Args:
        network: eats images01.
        count: 1 or more.
        plan: steps and weights.
        seed: 0 or more.
        progress: told of every finished batch, and of networks without BatchNorm.

    Raises:
        UsageError: a network of latents, or no images asked.
    """
    if len(network.input_shape) != _IMAGE_AXES or count < 1 or seed < 0:
        raise UsageError(
            f"synthesis for '{network.name}': input {network.input_shape}, {count} images, seed {seed}; expected a "
            "network of images (3, h, w), at least 1 image, and a seed of 0 or more.\n"
            "Latents need no synthesis: they are drawn from their law."
        )
    talk = progress or Silent()
    if not batch_norms(network):
        talk.note(
            f"{network.name} has no BatchNorm layer (none, or folded into its convolutions): training images cannot be "
            "matched to its memory; they are made from its outputs, which say less."
        )
    talk.stage("synthesise", total=count, unit="images")
    made = []
    for number in range(math.ceil(count / plan.batch)):
        made.append(synthesise_batch(network, plan, seed=seed, number=number))
        talk.advance(min(plan.batch, count - number * plan.batch))
    return torch.cat(made)[:count]


def synthesise_batch(network: Network, plan: SynthesisPlan, *, seed: int, number: int) -> Tensor:
    """Return batch `number`, float32 (plan.batch, 3, h, w) in 0..1; from the seed and `number` alone."""
    rng = np.random.default_rng([seed, number])
    images = _start(rng, network, plan).requires_grad_()
    labels = None
    if network.classes is not None:
        labels = torch.from_numpy(rng.integers(0, network.classes, plan.batch)).to(network.device)
    adam = torch.optim.Adam([images], lr=plan.rate, betas=(0.5, 0.9))
    with statistics(network) as recorder:
        for step in range(plan.steps):
            adam.param_groups[0]["lr"] = plan.rate * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
            recorder.clear()
            output = network.module(_jitter(rng, images))
            loss = _misfit(recorder, output, labels, plan)
            loss = loss + plan.smoothness * total_variation(images).mean()
            loss = loss + plan.contrast * (images - 0.5).square().mean()
            (images.grad,) = torch.autograd.grad(loss, images)
            adam.step()
            with torch.no_grad():
                images.clamp_(0, 1)
    return images.detach()


def _misfit(recorder: BnRecorder, output: Tensor, labels: Tensor | None, plan: SynthesisPlan) -> Tensor:
    """Return how badly a batch fits what the network remembers."""
    loss = output.new_zeros(())
    if recorder.layers:
        loss = loss + plan.batch_norm * batch_norm_misfit(recorder)
    if labels is not None:
        loss = loss + plan.classes * functional.cross_entropy(output.float(), labels)
    elif not recorder.layers:
        unit = functional.normalize(output.float().flatten(1), dim=1)
        cosines = unit @ unit.T - torch.eye(len(unit), device=unit.device)
        loss = loss + plan.spread * cosines.square().sum() / (len(unit) * (len(unit) - 1))
    return loss


def batch_norm_misfit(recorder: BnRecorder) -> Tensor:
    """Return the mean over layers and channels of ((m - M) / S)^2 + (s / S - 1)^2, a number of 0 or more.

    m, s: mean and deviation of this batch; M, S: those of the training images.
    """
    layers = []
    for seen in recorder.layers:
        scale = seen.running_var.clamp_min(_NARROW)
        shift = (seen.mean - seen.running_mean).square() / scale
        spread = ((seen.var.clamp_min(0) + 1e-8) / scale).sqrt() - (seen.running_var / scale).sqrt()
        layers.append((shift + spread.square()).mean())
    return torch.stack(layers).mean()


def _start(rng: np.random.Generator, network: Network, plan: SynthesisPlan) -> Tensor:
    """Return the images from which a batch sets out."""
    _, height, width = network.input_shape
    if plan.start == "procedural" or not batch_norms(network):
        return draw_images(rng, plan.batch, (height, width), device=network.device)
    noise = rng.standard_normal((plan.batch, 3, height, width), dtype=np.float32)
    return torch.from_numpy(0.5 + 0.2 * noise).clamp(0, 1).to(network.device)


def _jitter(rng: np.random.Generator, images: Tensor) -> Tensor:
    """Return the batch moved by up to 2 pixels (edges wrap) and mirrored half of the time."""
    down, across = (int(move) for move in rng.integers(-2, 3, 2))
    moved = images.roll((down, across), (2, 3))
    return moved.flip(3) if rng.integers(0, 2) else moved
