"""A small network from images to latents, trained on nothing but the generator's own samples (data-free).

It makes the first guess of an inversion, so that the optimiser has to do only the rest.  Training is a run of numbered
steps; step k's samples depend on the seed and on k alone, and `state` holds all that the next step needs, so a
training that was cut off goes on to the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanner.errors import ModelError, UsageError
from scanner.generators.generator import Generator
from scanner.generators.sample import exact_arithmetic
from scanner.inversion.adam import ramp
from scanner.inversion.plan import SpaceName
from scanner.inversion.spaces import open_space
from scanner.inversion.views import resized
from scanner.progress import Progress, Silent

SIDE_MAX: Final = 64
SAMPLES_FROM: Final = 1 << 52
"""Number of the first training sample: beyond every sample that anybody asks for."""
_LAST_SIDE: Final = 4
_GROUPS: Final = 8


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    """How an encoder is trained.

    Attributes:
        steps, batch: samples seen are their product, each once.
        rate: of Adam, lowered to 0 over the last quarter.
        width: channels of the first layer; doubled at every halving of the picture, up to four times.
        latent_weight: of the mean squared latent error, beside the image error relative to the images' variance.
        noise: standard deviation of pixel noise on what the encoder sees, so that it does not read the generator's
            fingerprints that photos do not have.
        space: where its answers lie: that which is searched afterwards.
        seed: of samples and weights.
    """

    steps: int = 1500
    batch: int = 32
    rate: float = 2e-3
    width: int = 32
    latent_weight: float = 1.0
    noise: float = 0.01
    space: SpaceName = "z"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError where a value is out of its range."""
        if min(self.steps, self.batch, self.width) < 1 or self.width % _GROUPS or not self.rate > 0 or self.seed < 0:
            raise UsageError(
                f"An encoder with {self} cannot be trained: steps, batch and rate must be above 0, width a multiple of {_GROUPS}, "
                "seed 0 or more. Change these."
            )


class LatentEncoder(nn.Module):
    """(n, 3, h, w) images01 of one size to (n, size) points of a latent space.

    `mean` and `spread` (size,) are those of the space; what the layers put out is standardised.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, *, size: int, shape_px: tuple[int, int], width: int = 32) -> None:
        """Make the layers: halve the picture down to 4 places a side, then two dense layers.

        Args:
            size: of a latent.
            shape_px: of the images; larger ones than 64 px are reduced to that first.
            width: see `EncoderPlan.width`.
        """
        super().__init__()
        reduce = max(1.0, max(shape_px) / SIDE_MAX)
        self.side = (max(_LAST_SIDE, round(shape_px[0] / reduce)), max(_LAST_SIDE, round(shape_px[1] / reduce)))
        halvings = max(1, math.floor(math.log2(min(self.side) / _LAST_SIDE)))
        layers: list[nn.Module] = []
        channels = 3
        for i in range(halvings):
            wider = width * min(4, 2**i)
            layers += [nn.Conv2d(channels, wider, 4, stride=2, padding=1), nn.GroupNorm(_GROUPS, wider), nn.SiLU()]
            channels = wider
        self.picture = nn.Sequential(*layers)
        places = math.prod(side >> halvings for side in self.side)
        self.head = nn.Sequential(nn.Linear(channels * places, 4 * width), nn.SiLU(), nn.Linear(4 * width, size))
        self.dense = nn.Linear(channels * places, size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))

    def forward(self, images01: Tensor) -> Tensor:
        """Return points."""
        x = self.picture(2 * resized(images01, *self.side) - 1).flatten(1)
        points: Tensor = self.mean + self.spread * (self.head(x) + self.dense(x))
        return points


class EncoderTraining:
    """The training of one encoder, step by step."""

    def __init__(self, generator: Generator, plan: EncoderPlan) -> None:
        """Begin: weights drawn from the plan's seed.

        Raises:
            UsageError: no gradient reaches the generator's latents, or it has no such space.
        """
        self.space = open_space(generator, plan.space)
        self.generator, self.plan, self.step = generator, plan, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            size = math.prod(self.space.shape)
            encoder = LatentEncoder(size=size, shape_px=generator.shape_px, width=plan.width)
        encoder.mean.copy_(self.space.mean.flatten())
        encoder.spread.copy_(self.space.spread.flatten())
        self.encoder = encoder.to(generator.device)
        self.optimiser = torch.optim.Adam(self.encoder.parameters(), lr=plan.rate)
        self.loss = math.nan

    def run(self, until: int | None = None, progress: Progress | None = None) -> LatentEncoder:
        """Train up to step `until` (None: the plan's last); return the encoder.

        Raises:
            ModelError: the loss is not finite.
        """
        until = self.plan.steps if until is None else min(until, self.plan.steps)
        self.encoder.train()
        while self.step < until:
            with exact_arithmetic():
                self._one_step()
            (progress or Silent()).advance(1)
        return self.encoder.eval().requires_grad_(requires_grad=False)

    def state(self) -> dict[str, Tensor]:
        """Return weights, the optimiser's moments and the number of finished steps, as tensors on the CPU."""
        tensors = {f"encoder.{name}": t for name, t in self.encoder.state_dict().items()}
        for i, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": t for name, t in moments.items()}
        tensors["step"] = torch.tensor(self.step)
        return {name: t.detach().cpu().clone() for name, t in tensors.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up a training where `state` was made."""
        prefix = "encoder."
        self.encoder.load_state_dict({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("adam."):
                _, i, what = name.split(".")
                moments.setdefault(int(i), {})[what] = tensor.clone()
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.step = int(state["step"])

    def _one_step(self) -> None:
        plan, generator, space = self.plan, self.generator, self.space
        self.step += 1
        wanted, labels, noise = self._samples()
        with torch.no_grad():
            images = space.images(wanted, labels).clamp(0, 1)
        self.encoder.requires_grad_(requires_grad=True)
        found = self.encoder(images + plan.noise * noise).reshape(wanted.shape)
        again = space.images(found, labels)
        variance = images.var(0).mean().clamp(min=1e-6)
        gap = ((found - wanted) / space.spread).square().mean()
        loss = functional.mse_loss(again, images) / variance + plan.latent_weight * gap
        if not bool(torch.isfinite(loss)):
            raise ModelError(
                f"The encoder's loss at step {self.step} is not finite: {generator.name} puts out NaN for latents of its own "
                "law. Check its weights, or invert without a learned start (--encoder none)."
            )
        rate = plan.rate * float(ramp(torch.tensor(self.step), plan.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        self.optimiser.step()
        self.loss = float(loss.detach())

    def _samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return this step's points, labels (0 where there are no classes) and pixel noise."""
        plan, device = self.plan, self.generator.device
        drawn = self.generator.law.draw(plan.seed, SAMPLES_FROM + (self.step - 1) * plan.batch, plan.batch)
        labels = torch.zeros(plan.batch, dtype=torch.int64) if drawn.labels is None else torch.from_numpy(drawn.labels)
        labels = labels.to(device)
        random = torch.Generator().manual_seed((plan.seed << 32) + self.step)
        noise = torch.randn(plan.batch, 3, *self.generator.shape_px, generator=random)
        return self.space.from_z(torch.from_numpy(drawn.values).to(device), labels), labels, noise.to(device)


def train_encoder(
    generator: Generator, *, plan: EncoderPlan | None = None, progress: Progress | None = None
) -> LatentEncoder:
    """Return an encoder trained on the generator's own samples; the same generator and plan give the same bits on a CPU."""
    training = EncoderTraining(generator, plan or EncoderPlan())
    if progress is not None:
        progress.stage("encoder", total=training.plan.steps, unit="steps")
    return training.run(progress=progress)


def encoder_tensors(encoder: LatentEncoder) -> dict[str, Tensor]:
    """Return the weights, on the CPU, for a file."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}


def encoder_of(
    tensors: dict[str, Tensor], *, size: int, shape_px: tuple[int, int], width: int, where: str
) -> LatentEncoder:
    """Return the encoder with these weights.

    Raises:
        ModelError: they are not those of an encoder of this size.
    """
    encoder = LatentEncoder(size=size, shape_px=shape_px, width=width)
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            f"{where} holds no encoder for latents of {size} numbers and images of {shape_px[0]} x {shape_px[1]}: "
            f"{str(error).splitlines()[-1].strip()}. Train one for this generator (--encoder train)."
        ) from error
    return encoder.eval().requires_grad_(requires_grad=False)
