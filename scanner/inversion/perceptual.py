"""How different two images look to a network: an LPIPS-like gap that nobody has calibrated on people.

The features at several depths are scaled to unit length over the channels at every place; squared differences are summed
over channels and averaged over places and depths, as in LPIPS (Zhang, Isola, Efros, Shechtman and Wang 2018) without the
weights that LPIPS learned from people's judgements.  So values compare only within one network and the same cut points;
they are no LPIPS values.  0: the same features; 2 is the largest for features without negative values.

    gap = PerceptualGap(open_network("squeezenet.toml"))
    gap(originals01, recreated01)           # float32 (n,)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scanner.errors import UsageError
from scanner.inversion.losses import perceptual_view
from scanner.networks.network import Network

BATCH = 64
_IMAGE_AXES = 3


class PerceptualGap:
    """The gap as one network sees it.

    Attributes:
        name: of the network, for reports.
        fingerprint: of the network, for reports.
    """

    def __init__(self, network: Network, *, at: Sequence[str] | None = None) -> None:
        """Take the network and its cut points; None takes up to five that still hold a picture.

        Raises:
            UsageError: a network that eats no images.
        """
        if len(network.input_shape) != _IMAGE_AXES:
            raise UsageError(
                f"perceptual gap: network '{network.name}' eats {network.input_shape}, expected images (3, h, w).\n"
                "Give a network of images, a classifier or a recogniser."
            )
        self.name, self.fingerprint = network.name, network.fingerprint
        self._view = perceptual_view(network, at=at)

    @torch.no_grad()
    def __call__(self, first01: Tensor, second01: Tensor) -> Tensor:
        """Return the gap of each pair, float32 (n,), 0 or more.

        Args:
            first01: float32 (n, 3, h, w) in 0..1, on the network's device; resized to its input.
            second01: same shape.

        Raises:
            UsageError: different shapes.
        """
        if first01.shape != second01.shape or first01.ndim != _IMAGE_AXES + 1:
            raise UsageError(
                f"perceptual gap: got images of {tuple(first01.shape)} and {tuple(second01.shape)}, "
                "expected the same (n, 3, height, width) twice.\nBring both to one size first."
            )
        gaps = []
        for one, other in zip(torch.split(first01, BATCH), torch.split(second01, BATCH), strict=True):
            pairs = zip(self._view.features(one), self._view.features(other), strict=True)
            gaps.append(torch.stack([(a - b).square().flatten(1).sum(1) for a, b in pairs]).sum(0))
        return torch.cat(gaps)
