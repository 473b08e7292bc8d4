"""Latents of many images at once, by optimisation, with the device kept full.

A fixed number of slots is evaluated together.  Each holds one restart of one image; a restart that has converged, no
longer falls, or is out of steps makes room, for its image's next restart or for the next image.  When no more
images come, the batch shrinks with what is left.

    for found in invert_latents(generator, images, plan=LatentPlan(restarts=4)):
        found.latent, found.relative_error, found.status
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import torch
from torch import Tensor

from scanner.errors import UsageError
from scanner.generators.generator import Generator
from scanner.generators.sample import exact_arithmetic
from scanner.inversion.batch import Evaluator, find_slots
from scanner.inversion.losses import IdentityView, Objective, perceptual_view
from scanner.inversion.plan import Account, LatentPlan, Recovered, Status
from scanner.inversion.slots import IDLE, RUNNING, STATUSES, Slots
from scanner.inversion.spaces import open_space
from scanner.inversion.starts import NearestDraws
from scanner.networks.network import Network

__all__ = ["Account", "LatentPlan", "Recovered", "invert_latents", "objective_of"]

AHEAD: Final = 8
"""An image waits for its turn to be yielded behind at most this many times the slots: bounds the memory."""
LOOK_EVERY: Final = {"cpu": 1, "cuda": 8}
"""Evaluations between two looks at what has ended: on CUDA every look waits for the device."""
_IMAGE_AXES: Final = 3

Encoder = Callable[[Tensor], Tensor]
"""(n, 3, h, w) images01 to (n, numbers) points of the space that is searched."""


def invert_latents(
    generator: Generator,
    images: Iterable[Tensor],
    *,
    plan: LatentPlan,
    encoder: Encoder | None = None,
    features: Network | None = None,
    identity: Network | None = None,
    identity_warp: Tensor | None = None,
    first: int = 0,
    account: Account | None = None,
) -> Iterator[Recovered]:
    """Yield the latent of every image, in the images' order.

    The same call gives the same bits on one machine.  Other slots, other neighbours or another order change an image's
    result by as much as the arithmetic of another batch size does, carried on by the optimiser.

    Args:
        generator: see `scanner.generators`.
        images: each (3, h, w) images01 of the generator's size.
        plan: how they are searched for.
        encoder: where each image's first restart begins, in the plan's space; without one, and for further restarts, see `LatentPlan.draws`.
        features: a network whose features shall agree (`plan.feature`).
        identity: a recogniser whose embeddings shall agree (`plan.identity`).
        identity_warp: (2, 3), how pictures become the recogniser's crops, see `views.warped`; None resizes them.
        first: number of the first image; a draw that a restart begins at depends on the image's number.
        account: filled with how full the device was kept.

    Raises:
        UsageError: the generator is not differentiable, has no such space, or an image has another size.
        ModelError: not even one image fits into memory.
    """
    objective = objective_of(generator, plan, features=features, identity=identity, identity_warp=identity_warp)
    run = _Run(generator, plan, objective, encoder, account if account is not None else Account(), first)
    return run.results(iter(images))


def objective_of(
    generator: Generator,
    plan: LatentPlan,
    *,
    features: Network | None = None,
    identity: Network | None = None,
    identity_warp: Tensor | None = None,
) -> Objective:
    """Return the loss that `invert_latents` minimises; arguments and errors are those of it."""
    space = open_space(generator, plan.space, channels_last=plan.channels_last, compiled=plan.compiled)
    perceptual = None if features is None or not plan.feature else perceptual_view(features.to(generator.device))
    view = None
    if identity is not None and plan.identity:
        view = IdentityView(identity.to(generator.device), warp=identity_warp)
    return Objective(space, plan, perceptual=perceptual, identity=view)


@dataclass(slots=True, eq=False)
class _Work:
    """One image under way: what its restarts have given so far."""

    number: int
    restart: int = 0
    steps: int = 0
    best: Recovered | None = None


class _Run:
    """The loop that keeps the slots full."""

    def __init__(
        self,
        generator: Generator,
        plan: LatentPlan,
        objective: Objective,
        encoder: Encoder | None,
        account: Account,
        first: int,
    ) -> None:
        self.generator, self.plan, self.objective, self.encoder, self.account = (
            generator, plan, objective, encoder, account,
        )  # fmt: skip
        self.device = generator.device
        self.look_every = LOOK_EVERY.get(self.device.type, 1)
        self.is_exhausted = False
        self.draws: NearestDraws | None = None
        self.work: list[_Work | None] = []
        self.done: dict[int, Recovered] = {}
        self.taken = self.given = first

    def results(self, images: Iterator[Tensor]) -> Iterator[Recovered]:
        """Yield in order of number."""
        shape = (3, *self.generator.shape_px)
        with exact_arithmetic():
            if self.plan.draws:
                batch_max = self.generator.batch_max
                self.draws = NearestDraws(
                    self.objective.space, self.plan.draws, seed=self.plan.seed, batch_max=batch_max
                )
            limit = self.plan.slots or find_slots(self.objective, shape, device=self.device)
        self.account.slots = limit
        piece = min(limit, self.generator.batch_max or limit)
        evaluator = Evaluator(self.objective, piece=piece, account=self.account)
        first = list(islice(images, limit))
        slots = Slots(_batch_size(len(first), limit), self.objective.space.shape, self.plan, device=self.device)
        self.work = [None] * slots.capacity
        self._enter(slots, first)
        while True:
            room = max(0, min(self.work.count(None), self.given + AHEAD * limit - self.taken))
            coming = list(islice(images, room))
            self.is_exhausted = self.is_exhausted or len(coming) < room
            self._enter(slots, coming)
            self._shrink(slots)
            while self.given in self.done:
                self.given += 1
                yield self.done.pop(self.given - 1)
            if not any(self.work):
                if self.is_exhausted:
                    return
                continue
            with exact_arithmetic():
                for _ in range(self.look_every):
                    slots.advance(evaluator)
            self._collect(slots, evaluator)

    def _enter(self, slots: Slots, images: list[Tensor]) -> None:
        """Give new images free places; those that cannot be worked on are done at once."""
        good: list[tuple[int, Tensor]] = []
        for image in images:
            number, self.taken = self.taken, self.taken + 1
            self._check(number, image)
            if bool(torch.isfinite(image).all()):
                good.append((number, image))
            else:
                self.done[number] = self._failed(number, steps=0, restarts=0)
        if not good:
            return
        free = [place for place, work in enumerate(self.work) if work is None][: len(good)]
        batch = torch.stack([image for _, image in good]).to(self.device, torch.float32)
        works = [_Work(number) for number, _ in good]
        points, labels = self._starts(works, batch)
        adam = [self._adam_steps] * len(good)
        with exact_arithmetic():
            if self.encoder is not None:
                with torch.no_grad():
                    points = self.encoder(batch).float().reshape(points.shape)
                # Near a good point L-BFGS is at its best, and Adam's first steps would only shake it.
                adam = [0 if self.plan.method == "adam+lbfgs" else self._adam_steps] * len(good)
            target = {**self.objective.target(batch), "label": labels}
        slots.enter(free, points, adam_steps=adam, target=target)
        for place, work in zip(free, works, strict=True):
            self.work[place] = work

    def _starts(self, works: list[_Work], images01: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the next restarts of some images begin."""
        # An encoder's guess takes the place of the first restart's draw.
        ranks = [max(0, work.restart - (self.encoder is not None)) for work in works]
        if self.draws is not None:
            return self.draws.nearest(images01, ranks)
        return self.objective.space.starts(self.plan.seed, [work.number for work in works], ranks)

    @property
    def _adam_steps(self) -> int:
        return {"adam": self.plan.steps_max, "lbfgs": 0, "adam+lbfgs": self.plan.adam_steps}[self.plan.method]

    def _collect(self, slots: Slots, evaluator: Evaluator) -> None:
        """Take the results of restarts that have ended; begin their images' next restarts in the same places."""
        codes = slots.codes()
        ended = [place for place, code in enumerate(codes) if code not in (IDLE, RUNNING)]
        self.account.evaluations += self.look_every
        self.account.places += self.look_every * slots.capacity
        if not ended:
            return
        points, target, steps = slots.best(ended)
        self.account.worked += sum(steps)
        with exact_arithmetic():
            terms, shown = evaluator.outcome(points, target)
        errors = (shown - target["image"]).flatten(1).norm(dim=1) / target["norm"].clamp(min=1e-12)
        table = torch.stack([terms.total, terms.pixel, terms.feature, terms.identity, errors], 1).tolist()
        points, shown, labels = points.flatten(1).cpu(), shown.cpu(), target["label"].tolist()
        finished: list[int] = []
        again: list[int] = []
        for row, place in enumerate(ended):
            work, status = self.work[place], STATUSES[codes[place]]
            assert work is not None
            work.steps += steps[row]
            work.restart += 1
            found = self._recovered(work, status, table[row], points[row], labels[row], shown[row])
            if status != "failed" and math.isfinite(found.loss) and (work.best is None or found.loss < work.best.loss):
                work.best = found
            is_over = status == "converged" or work.restart == self.plan.restarts
            (finished if is_over else again).append(place)
            if is_over:
                best = work.best or self._failed(work.number, steps=work.steps, restarts=work.restart)
                self.done[work.number] = replace(best, restarts=work.restart, steps=work.steps)
                self.work[place] = None
        slots.leave(finished)
        if again:
            rows = torch.tensor([ended.index(place) for place in again], device=self.device)
            works = [work for place in again if (work := self.work[place]) is not None]
            points, drawn = self._starts(works, target["image"][rows])
            slots.enter(again, points, adam_steps=[self._adam_steps] * len(again), target={"label": drawn})

    def _shrink(self, slots: Slots) -> None:
        """Go on in a smaller batch where no more images come and half of the places are idle."""
        busy = [place for place, work in enumerate(self.work) if work is not None]
        capacity = _batch_size(len(busy), slots.capacity)
        if self.is_exhausted and busy and capacity < slots.capacity:
            slots.shrink(busy, capacity)
            self.work = [self.work[place] for place in busy] + [None] * (capacity - len(busy))

    def _check(self, number: int, image: Tensor) -> None:
        wanted = (3, *self.generator.shape_px)
        if tuple(image.shape) != wanted:
            raise UsageError(
                f"Image {number} is {tuple(image.shape)}, and {self.generator.name} makes {wanted}. Resize it with an area filter "
                "first; a latent is found for pictures of the generator's own size only."
            )

    def _recovered(
        self, work: _Work, status: Status, figures: list[float], point: Tensor, label: int, shown: Tensor
    ) -> Recovered:
        loss, pixel, feature, identity, error = figures
        return Recovered(
            number=work.number,
            latent=point.clone(),
            label=label if self.generator.law.classes is not None else None,
            image01=shown.clone(),
            loss=loss,
            pixel_mse=pixel,
            feature=feature if self.objective.perceptual is not None else math.nan,
            identity=1 - identity if self.objective.identity is not None else math.nan,
            relative_error=error,
            restarts=work.restart,
            steps=work.steps,
            status=status,
        )

    def _failed(self, number: int, *, steps: int, restarts: int) -> Recovered:
        latent = torch.full((math.prod(self.objective.space.shape),), math.nan)
        image = torch.full((3, *self.generator.shape_px), math.nan)
        nan = math.nan
        return Recovered(number, latent, None, image, nan, nan, nan, nan, nan, restarts, steps, "failed")


def _batch_size(n: int, limit: int) -> int:
    """Return the power of two that holds `n`, at most `limit`: few sizes, so that few kernels have to be chosen."""
    return min(limit, 1 << max(0, n - 1).bit_length())
