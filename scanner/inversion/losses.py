"""What makes a latent a good answer: like pixels, like features, like identity, and a latent that the law would draw.

Every term is one number per image, so that images can leave and enter a batch without touching their neighbours.
What does not change while an image is worked on (its features, its embedding) is computed once, when it enters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanner.inversion.plan import LatentPlan
from scanner.inversion.spaces import Space
from scanner.inversion.views import resized, warped
from scanner.networks.network import Network

DEPTHS_MAX: Final = 5
"""Cut points whose features are compared; LPIPS takes five layers as well."""
_SATURATED: Final = 0.5 / 255.0
_IMAGE_AXES: Final = 3

Target = dict[str, Tensor]
"""What is known of the images that are worked on: name to (n, ...) array."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Each (n,) float32; a term without its network is 0.

    Attributes:
        total: the weighted sum.
        pixel: mean squared error over pixels and channels.  Where the target is white (black), a generator that is
            whiter than white (blacker than black) is right: it is clipped afterwards.
        feature: see `PerceptualView`.
        identity: 1 - cosine.
        prior: see `Space.prior`.
    """

    total: Tensor
    pixel: Tensor
    feature: Tensor
    identity: Tensor
    prior: Tensor


class PerceptualView(nn.Module):
    """Normalised features of a network at several depths, compared place by place.

    As in LPIPS (Zhang et al. 2018), features are scaled to unit length over the channels at every place, and squared
    differences are averaged over places and summed over channels; without LPIPS' learned weights per channel, and
    averaged over the depths.
    """

    def __init__(self, stages: Sequence[nn.Module], *, size_px: tuple[int, int]) -> None:
        """Take the network in `stages`, each eating what the one before put out; the first eats images of `size_px`."""
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.size_px = size_px

    def features(self, images01: Tensor) -> list[Tensor]:
        """Return, per depth, (n, ...) such that the squared difference of two, summed, is that depth's term."""
        found: list[Tensor] = []
        x = resized(images01, *self.size_px)
        for stage in self.stages:
            x = stage(x)
            unit = functional.normalize(x.float(), dim=1, eps=1e-6)
            places = unit[0, 0].numel()
            found.append(unit / (places * len(self.stages)) ** 0.5)
        return found


class IdentityView(nn.Module):
    """Unit embeddings of images by a recogniser."""

    def __init__(self, network: Network, *, warp: Tensor | None = None) -> None:
        """Take a recogniser that eats images01, and how pictures become its crops.

        Args:
            network: (n, 3, h, w) images01 to (n, d).
            warp: (2, 3), see `views.warped`; None resizes the whole picture.
        """
        super().__init__()
        self.module = network.module
        self.size_px = (network.input_shape[1], network.input_shape[2])
        self.warp = warp

    def forward(self, images01: Tensor) -> Tensor:
        """Return (n, d), unit rows."""
        x = resized(images01, *self.size_px) if self.warp is None else warped(images01, self.warp, *self.size_px)
        return functional.normalize(self.module(x).float().flatten(1), dim=1)


def perceptual_view(network: Network, *, at: Sequence[str] | None = None) -> PerceptualView:
    """Return the view through a network, at given cut points or at five of them from shallow to deep.

    Without `at`, only cut points are taken where there is still a picture (more than one place).
    """
    from scanner.networks.cut import cut, cut_points

    if at is None:
        spatial = [
            block.name for block in cut(network, cut_points(network))
            if len(block.output_shape) == _IMAGE_AXES and block.output_shape[1] * block.output_shape[2] > 1
        ]  # fmt: skip
        count = min(DEPTHS_MAX, len(spatial))
        at = [spatial[(2 * i + 1) * len(spatial) // (2 * count)] for i in range(count)]
    stages = [block.module for block in cut(network, at)][: len(at)]
    return PerceptualView(stages, size_px=(network.input_shape[1], network.input_shape[2]))


class Objective:
    """The weighted sum of all terms, for points of one space."""

    def __init__(
        self,
        space: Space,
        plan: LatentPlan,
        *,
        perceptual: PerceptualView | None = None,
        identity: IdentityView | None = None,
    ) -> None:
        """Take the networks for the terms; their weights get no gradients."""
        self.space, self.plan, self.perceptual, self.identity = space, plan, perceptual, identity

    @torch.no_grad()
    def target(self, images01: Tensor) -> Target:
        """Return what is compared with: computed once per image."""
        norm = images01.flatten(1).norm(dim=1)
        # In the layout of what the generator puts out: sums over two layouts are slow.
        if self.plan.channels_last:
            images01 = images01.contiguous(memory_format=torch.channels_last)
        low = torch.where(images01 <= _SATURATED, -math.inf, images01)
        high = torch.where(images01 >= 1 - _SATURATED, math.inf, images01)
        target = {"image": images01, "low": low, "high": high, "norm": norm}
        if self.perceptual is not None and self.plan.feature:
            target |= {f"feature.{i}": f for i, f in enumerate(self.perceptual.features(images01))}
        if self.identity is not None and self.plan.identity:
            target["identity"] = self.identity(images01)
        return target

    def terms(self, points: Tensor, target: Target) -> Terms:
        """Return the terms of (n, *shape) points; differentiable."""
        return self._terms(points, target)[0]

    def _terms(self, points: Tensor, target: Target) -> tuple[Terms, Tensor]:
        plan = self.plan
        with torch.autocast(points.device.type, torch.bfloat16, enabled=plan.amp):
            made = self.space.images(points, target["label"])
            has_views = "feature.0" in target or "identity" in target
            shown = made.clamp(0, 1) if has_views else made
            features = self.perceptual.features(shown) if "feature.0" in target and self.perceptual is not None else []
            embedded = self.identity(shown) if "identity" in target and self.identity is not None else None
        pixel: Tensor = _PixelError.apply(made, target["low"], target["high"])  # type: ignore[no-untyped-call]
        none = torch.zeros_like(pixel)
        differences = [(f - target[f"feature.{i}"]).square().flatten(1).sum(1) for i, f in enumerate(features)]
        feature = torch.stack(differences).sum(0) if differences else none
        identity = none if embedded is None else 1 - (embedded * target["identity"]).sum(1)
        prior = self.space.prior(points) if plan.prior else none
        total = plan.pixel * pixel + plan.feature * feature + plan.identity * identity + plan.prior * prior
        return Terms(total, pixel, feature, identity, prior), made

    def gradient(self, points: Tensor, target: Target) -> tuple[Terms, Tensor]:
        """Return detached terms, and the gradient (n, *shape) of `total`."""
        leaf = points.detach().requires_grad_()
        terms, _ = self._terms(leaf, target)
        (gradient,) = torch.autograd.grad(terms.total.sum(), leaf)
        return _detached(terms), gradient

    @torch.no_grad()
    def outcome(self, points: Tensor, target: Target) -> tuple[Terms, Tensor]:
        """Return the terms in float32 and clipped images01, for an artefact."""
        plan = replace(self.plan, amp=False)
        exact = Objective(self.space, plan, perceptual=self.perceptual, identity=self.identity)
        terms, made = exact._terms(points, target)
        shown = made.clamp(0, 1)
        pixel = (shown - target["image"]).square().mean((1, 2, 3))
        total = terms.total + self.plan.pixel * (pixel - terms.pixel)
        return Terms(total, pixel, terms.feature, terms.identity, terms.prior), shown


class _PixelError(torch.autograd.Function):
    """Mean squared error per image, with 0 wherever an image lies between `low` and `high`.

    Both are the target, but for white pixels there is no upper and for black ones no lower bound: what a clipped picture
    cannot show is no error.  Written out, since the composed operations cost a fifth of a small generator's step.
    """

    @staticmethod
    def forward(ctx: Any, made: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return (n,) for (n, 3, h, w) images."""
        error = made - torch.clamp(made, low, high)
        ctx.save_for_backward(error)
        norm: Tensor = torch.linalg.vector_norm(error, dim=(1, 2, 3))
        return norm.square() / error[0].numel()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the images; the bounds have none."""
        (error,) = ctx.saved_tensors
        return error * (gradient * (2 / error[0].numel()))[:, None, None, None], None, None


def _detached(terms: Terms) -> Terms:
    return Terms(*(getattr(terms, name).detach() for name in ("total", "pixel", "feature", "identity", "prior")))
