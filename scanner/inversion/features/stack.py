"""A whole inverse: one module for each block, run from the deep end to the image in one pass."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scanner.errors import UsageError
from scanner.inversion.features.inverse import InverseModule
from scanner.networks.cut import Block, cut
from scanner.networks.network import Network

_IMAGE_AXES = 3


class Inverse:
    """Features at any cut of one network, back to what went in.

    Attributes:
        network_fingerprint: of the network that it undoes.
        network_name: for messages.
        names: the cuts, shallow to deep.
        blocks: the network's blocks up to the deepest cut.
        modules: `modules[k]` undoes `blocks[k]`.
    """

    def __init__(self, network: Network, blocks: Sequence[Block], names: Sequence[str], modules: nn.ModuleList) -> None:
        """Join blocks and modules; `names` are those block ends at which features may come."""
        self.network_fingerprint, self.network_name = network.fingerprint, network.name
        self.input_shape = network.input_shape
        self.blocks, self.names, self.modules = tuple(blocks), tuple(names), modules
        self._place = {block.name: k for k, block in enumerate(self.blocks)}

    def inputs(self, features: Tensor, cut: str) -> Tensor:
        """Return what went in, in one pass and without gradients.

        Args:
            features: float32 (n, *shape at the cut).
            cut: one of `names`.

        Returns:
            images01 (n, 3, h, w), clamped to 0..1; or latents (n, z).

        Raises:
            UsageError: no such cut, or features of another shape.
        """
        place = self._find(cut)
        expected = self.blocks[place].output_shape
        if tuple(features.shape[1:]) != expected:
            raise UsageError(
                f"features at {cut!r} of {self.network_name} have the shape (n, {', '.join(map(str, expected))}), "
                f"got {tuple(features.shape)}. Give the output of the network at that cut."
            )
        with torch.no_grad():
            back = self.unwind(features, place)
        return back.clamp(0, 1) if len(self.input_shape) == _IMAGE_AXES else back

    def unwind(self, features: Tensor, place: int) -> Tensor:
        """Return the re-created input from the end of block `place`, unclamped, with gradients."""
        for module in reversed(list(self.modules)[: place + 1]):
            features = module(features)
        return features

    def features(self, inputs: Tensor, cut: str) -> Tensor:
        """Return what the network computes up to a cut, without gradients; raises UsageError for an unknown cut."""
        place = self._find(cut)
        with torch.no_grad():
            for block in self.blocks[: place + 1]:
                inputs = block.module(inputs)
        return inputs

    def shape(self, cut: str) -> tuple[int, ...]:
        """Return the features' shape at a cut, without the batch's axis; raises UsageError for an unknown cut."""
        return self.blocks[self._find(cut)].output_shape

    def spread(self, cut: str) -> Tensor:
        """Return the features' deviation at a cut over the training inputs, per channel (c, 1, 1) or number (d,)."""
        module = self.modules[self._find(cut)]
        assert isinstance(module, InverseModule)
        return module.given_sd

    def to(self, device: torch.device | str) -> Inverse:
        """Return a copy on `device`; this one stays where it is."""
        moved = copy.copy(self)
        moved.blocks, moved.modules = copy.deepcopy((self.blocks, self.modules))
        moved.modules.to(device)
        for block in moved.blocks:
            block.module.to(device)
        return moved

    @property
    def device(self) -> torch.device:
        """Where its modules are."""
        return next(self.modules.parameters()).device

    def _find(self, cut: str) -> int:
        if cut not in self.names:
            near = difflib.get_close_matches(cut, self.names, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"This inverse of {self.network_name} takes no features at {cut!r}. {hint}"
                f"It takes them at: {', '.join(self.names)}."
            )
        return self._place[cut]


def make_blocks(
    network: Network, at: Sequence[str] | None, *, layers_max: int
) -> tuple[tuple[Block, ...], tuple[str, ...]]:
    """Return the blocks to be undone and the cuts that are offered, shallow to deep.

    Args:
        network: to be cut.
        at: where to cut, and so how deep a block is.  None: found.
        layers_max: with `at=None`: weighted layers in a block, where cut points allow so few.

    Raises:
        UsageError: a name that is no cut point, none at all, or `layers_max` below 1.
    """
    blocks = cut(network, at, layers_max=layers_max)
    if at is not None:
        if not at:
            raise UsageError("No cut was given. Name at least one, or leave the list out for all of them.")
        # What lies behind the deepest cut is never attacked: `cut` adds it, for it cuts whole networks.
        blocks = blocks if blocks[-1].name in at else blocks[:-1]
    return blocks, tuple(block.name for block in blocks)


def make_modules(blocks: Sequence[Block], *, width: float, seed: int) -> nn.ModuleList:
    """Return an untrained inverse module for each block; the weights depend on the seed alone."""
    modules = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        before = 0
        for block in blocks:
            layers = max(1, block.layers - before)
            modules.append(InverseModule(block.output_shape, block.input_shape, layers=layers, width=width))
            before = block.layers
    return nn.ModuleList(modules)
