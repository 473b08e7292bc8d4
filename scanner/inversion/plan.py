"""What is asked of a latent inversion, and what comes out of it: values only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from scanner.errors import UsageError

Method = Literal["adam", "lbfgs", "adam+lbfgs"]
SpaceName = Literal["z", "w", "w+"]
Status = Literal["converged", "stalled", "steps_max", "single_pass", "failed"]

RESTARTS_MAX = 1024


@dataclass(frozen=True, slots=True)
class LatentPlan:
    """How latents are searched for.

    Attributes:
        restarts: starting points per image, tried one after the other; the best result is kept, and a converged one
            ends the search.  At most 1024.
        steps_max: evaluations of the generator (forward and backward) per restart, line search included.
        draws: images that are made once, to begin each restart at the nearest of them; 0 begins at plain draws.
        method: "adam"; "lbfgs"; or Adam first and L-BFGS from its best point on.  A start that comes from an encoder
            goes to L-BFGS at once.
        adam_steps: length of Adam's part in "adam+lbfgs".
        rate: Adam's step size, before `ramp`.
        ramp: raise the rate over the first 5 % of Adam's steps and lower it over the last 25 %, as the StyleGAN2
            projector does (Karras et al. 2020, appendix D).
        pixel, feature, identity, prior: weights of the terms of the loss; a term without its network counts nothing.
        tolerance: relative image error ||G(z) - x|| / ||x|| at which an image counts as re-created; 0 never does.
        patience, gain: a restart ends when its best loss has not fallen by the share `gain` in `patience` steps.
        space: which latents are searched: the generator's own ("z"), its mapping network's output ("w"), or one such
            vector per layer ("w+").
        slots: restarts that are worked on at the same time; None looks for a number (see `batch.find_slots`).
        amp: run the networks in bfloat16; the final figures of every image are computed in float32 all the same.
        channels_last: lay the networks' weights and activations out with the channels last.
        compiled: pass the loss through torch.compile.
        seed: of the starting points.
    """

    restarts: int = 2
    steps_max: int = 300
    draws: int = 1024
    method: Method = "lbfgs"
    adam_steps: int = 60
    rate: float = 0.1
    ramp: bool = True
    pixel: float = 1.0
    feature: float = 0.1
    identity: float = 0.1
    prior: float = 0.0
    tolerance: float = 0.005
    patience: int = 20
    gain: float = 0.01
    space: SpaceName = "z"
    slots: int | None = None
    amp: bool = False
    channels_last: bool = True
    compiled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: names every value that is out of its range.
        """
        weights = {name: getattr(self, name) for name in ("pixel", "feature", "identity", "prior")}
        wrong = {
            f"restarts is {self.restarts}, 1 to {RESTARTS_MAX} are possible": not 1 <= self.restarts <= RESTARTS_MAX,
            f"steps_max is {self.steps_max}, at least 1 is needed": self.steps_max < 1,
            f"method is {self.method!r}, of {get_args(Method)}": self.method not in get_args(Method),
            f"space is {self.space!r}, of {get_args(SpaceName)}": self.space not in get_args(SpaceName),
            f"rate is {self.rate}, above 0 is needed": not 0 < self.rate < math.inf,
            f"slots is {self.slots}, at least 1 is needed": self.slots is not None and self.slots < 1,
            f"tolerance is {self.tolerance}, 0 or more is needed": not 0 <= self.tolerance < math.inf,
            f"patience is {self.patience}, at least 1 is needed": self.patience < 1,
            f"draws is {self.draws}, 0 or more is needed": self.draws < 0,
            f"adam_steps is {self.adam_steps}, 0 or more is needed": self.adam_steps < 0,
            f"gain is {self.gain}, 0 to 1 is needed": not 0 <= self.gain < 1,
            f"seed is {self.seed}, 0 or more is needed": self.seed < 0,
            f"the loss's weights are {weights}, each 0 or more and not all 0": min(weights.values()) < 0
            or not 0 < sum(weights.values()) < math.inf,
        }
        problems = [sentence for sentence, is_wrong in wrong.items() if is_wrong]
        if problems:
            raise UsageError(f"This inversion cannot be done: {'; '.join(problems)}. Change these options.")


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """What became of one image.

    Attributes:
        number: the image's place in the input, from 0.
        latent: float32, CPU: (size,) in z and w, (layers * size,) in w+; NaN where the image failed.
        label: the class that the generator was given; None for a generator without classes.
        image01: (3, h, w) float32, CPU: the generator's answer to `latent`.
        loss: the weighted sum of the terms.
        pixel_mse, feature, identity: the terms without their weights; NaN where a term has no network.
            `identity` is the cosine of the two embeddings.
        relative_error: ||image01 - x|| / ||x||.
        restarts: how many were begun.
        steps: evaluations over all of them.
        status: of the best restart: "converged" (tolerance reached), "stalled" (the loss no longer fell),
            "steps_max", or "failed" (no restart gave a finite loss).  An inverse network does not search: "single_pass",
            or "failed".
    """

    number: int
    latent: Tensor
    label: int | None
    image01: Tensor
    loss: float
    pixel_mse: float
    feature: float
    identity: float
    relative_error: float
    restarts: int
    steps: int
    status: Status


@dataclass(slots=True)
class Account:
    """How full the device was kept; filled while the inversion runs.

    Attributes:
        slots: the number that was used.
        evaluations: batched evaluations of the loss.
        places: images that they had room for, in all.
        worked: places that held a restart which was still running.
        out_of_memory: how often a batch had to be halved.
    """

    slots: int = 0
    evaluations: int = 0
    places: int = 0
    worked: int = 0
    out_of_memory: int = 0

    @property
    def utilisation(self) -> float:
        """Share of the evaluated places that did work."""
        return self.worked / self.places if self.places else 0.0

    def describe(self) -> dict[str, Any]:
        """Return the figures for an artefact."""
        return {"slots": self.slots, "evaluations": self.evaluations, "utilisation": round(self.utilisation, 4)}
