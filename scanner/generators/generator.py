"""A generator as the rest of the scanner sees it: latents in, images01 out, whatever its authors' conventions were."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from scanner.generators.latents import LatentLaw

if TYPE_CHECKING:
    from scanner.networks.network import Network

Layout = Literal["NCHW", "NHWC"]
ChannelOrder = Literal["RGB", "BGR"]
Labels = Literal["index", "one-hot"]
LAYOUTS: Final[tuple[str, ...]] = get_args(Layout)
ORDERS: Final[tuple[str, ...]] = get_args(ChannelOrder)
GREY: Final = 1
RGB: Final = 3


@dataclass(frozen=True, slots=True)
class Conventions:
    """What a published network eats and puts out.

    Attributes:
        output_range: the values that stand for black and white, as (-1, 1) behind a tanh.
        layout: of the output.
        channel_order: of the output; of no meaning for one channel, which becomes three equal ones.
        latent_shape: shape of one latent where the network wants it otherwise than flat, as (100, 1, 1).
        labels: how a class is given: (n,) int64 numbers, or (n, classes) float32 rows of 0 and a 1.
    """

    output_range: tuple[float, float] = (0.0, 1.0)
    layout: Layout = "NCHW"
    channel_order: ChannelOrder = "RGB"
    latent_shape: tuple[int, ...] | None = None
    labels: Labels = "index"


class ToImages(nn.Module):
    """(n, size) latents, and (n,) labels where there are classes, to (n, 3, h, w) images01; differentiable.

    With `clip` the result lies in 0..1, and what the network puts beyond its range has no gradient; without, it is
    only scaled.
    """

    def __init__(
        self,
        inner: nn.Module,
        conventions: Conventions,
        *,
        mapping: nn.Module | None = None,
        classes: int | None = None,
        channels: int = RGB,
        clip: bool = True,
    ) -> None:
        """Wrap `inner` (z or w to images); with a `mapping`, latents and labels go there and its w to `inner`."""
        super().__init__()
        self.inner, self.mapping = inner, mapping
        self.conventions, self.classes, self.channels, self.clip = conventions, classes, channels, clip

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images01."""
        low, high = self.conventions.output_range
        images = (self._channels_first(self.raw(latents, labels)) - low) / (high - low)
        return images.clamp(0.0, 1.0) if self.clip else images

    def raw(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what the network itself puts out."""
        shape = self.conventions.latent_shape
        given: tuple[Tensor, ...] = (latents if shape is None else latents.reshape(-1, *shape),)
        if labels is not None and self.classes is not None:
            given = (*given, self._class_input(labels, self.classes))
        if self.mapping is not None:
            given = (self.mapping(*given),)
        found: Any = self.inner(*given)
        image: Tensor = found[0] if isinstance(found, tuple | list) else found
        return image

    def _class_input(self, labels: Tensor, classes: int) -> Tensor:
        if self.conventions.labels == "index":
            return labels
        return nn.functional.one_hot(labels, classes).to(torch.float32)

    def _channels_first(self, images: Tensor) -> Tensor:
        images = images.permute(0, 3, 1, 2) if self.conventions.layout == "NHWC" else images
        if self.channels == GREY:
            return images.expand(-1, RGB, -1, -1)
        return images.flip(1) if self.conventions.channel_order == "BGR" else images


@dataclass(frozen=True, slots=True, eq=False)
class Generator:
    """A generator that has been opened and asked whether it is one.

    Attributes:
        name: what results call it.
        fingerprint: 16 hex digits of SHA-256 over the weights' bytes and everything that changes an image.
        law: which latent belongs to image i.
        shape_px: height and width of its images.
        module: (n, size) float32 latents, and (n,) int64 labels where `law.classes` is given, to images01; its
            weights have no gradients, its latents may have.  On `device`.
        unclipped: the same without the last step into 0..1: for losses, since what is clipped has no gradient.
        synthesis: w to images01, for a generator with a `mapping`; else `module`.
        unclipped_synthesis: likewise for `unclipped`.
        mapping: z (and labels) to w, (n, w) or (n, slots, w); None where there is no such space.
        differentiable: whether gradients reach the latents; tried out when it was opened.
        batch_max: the only batch size that an export with a fixed batch takes; None for any.
        device: where it runs.
        device_reason: why there.
        value_range: lowest and highest value that the network itself put out when it was opened.
        facts: what results say of it: JSON values, no paths.
        notes: what the user should be told.
    """

    name: str
    fingerprint: str
    law: LatentLaw
    shape_px: tuple[int, int]
    module: ToImages
    unclipped: ToImages
    synthesis: ToImages
    unclipped_synthesis: ToImages
    mapping: nn.Module | None
    differentiable: bool
    batch_max: int | None
    device: torch.device
    device_reason: str
    value_range: tuple[float, float]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def images(self, latents: Tensor, labels: Tensor | None = None, *, clip: bool = True) -> Tensor:
        """Return images01 (n, 3, h, w) float32 on `device` for latents (n, size), and labels (n,) where it has classes.

        In batches of `batch_max` where there is one.  Gradients flow where the latents ask for them.  Without `clip`
        values beyond 0..1, and infinities, stay as they are.
        """
        module = self.module if clip else self.unclipped
        latents = latents.to(self.device, torch.float32)
        labels = None if labels is None else labels.to(self.device)
        if self.batch_max is None:
            images: Tensor = module(latents, labels)
            return images
        parts = [
            module(latents[at : at + self.batch_max], None if labels is None else labels[at : at + self.batch_max])
            for at in range(0, len(latents), self.batch_max)
        ]
        return torch.cat(parts)

    @property
    def network(self) -> Network | None:
        """Latent to image as one traced graph, for block-wise inversion; None where it cannot be traced.

        It cannot be for TorchScript, and has no single input for a generator with classes.
        """
        from scanner.generators.trace import traced

        return traced(self)
