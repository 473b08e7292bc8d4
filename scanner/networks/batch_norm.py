"""What a network's BatchNorm layers remember of the images that they were trained on, against what they see now.

    with statistics(network) as recorder:
        network.module(images01)
    loss = sum((seen.mean - seen.running_mean).square().sum() for seen in recorder.layers)

Source of the idea: DeepInversion (Yin et al. 2020, arXiv 1912.08795).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from scanner.networks.network import Network
from scanner.networks.steps import NORMS


@dataclass(frozen=True, slots=True, eq=False)
class BnStatistics:
    """One BatchNorm layer in one forward pass: four float32 vectors with an entry for each channel.

    Attributes:
        name: path of the layer in the graph.
        mean: over the batch and all places, with gradients.
        var: biased variance over the same, with gradients.
        running_mean: of the training images.
        running_var: of the training images.
    """

    name: str
    mean: Tensor
    var: Tensor
    running_mean: Tensor
    running_var: Tensor


@dataclass(slots=True)
class BnRecorder:
    """What the layers saw in the last forward pass, in the order in which they ran."""

    layers: list[BnStatistics] = field(default_factory=list)

    def clear(self) -> None:
        """Forget; to be called before each further forward pass."""
        self.layers.clear()


def batch_norms(network: Network | fx.GraphModule) -> list[tuple[str, nn.Module]]:
    """Return the BatchNorm layers that know their statistics, with their paths."""
    module = network.module if isinstance(network, Network) else network
    return [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, NORMS) and layer.running_mean is not None and layer.running_var is not None
    ]


@contextmanager
def statistics(network: Network | fx.GraphModule) -> Iterator[BnRecorder]:
    """Record the inputs' statistics of every BatchNorm layer while the block runs; empty for networks without."""
    recorder = BnRecorder()
    handles = [layer.register_forward_pre_hook(_hook(recorder, name)) for name, layer in batch_norms(network)]
    try:
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def _hook(recorder: BnRecorder, name: str) -> Any:
    def record(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        value = inputs[0].float()
        axes = [axis for axis in range(value.ndim) if axis != 1]
        var, mean = torch.var_mean(value, dim=axes, correction=0)
        recorder.layers.append(BnStatistics(name, mean, var, layer.running_mean, layer.running_var))

    return record
