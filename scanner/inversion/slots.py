"""The restarts that are under way: one array per quantity, one row per slot, and one rule for when a row has ended.

Nothing here depends on what stands in the neighbouring rows, nor on how often the rows are looked at: a row that has
ended stays as it was at that moment until somebody else enters.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from scanner.inversion import lbfgs
from scanner.inversion.adam import adam_step, ramp
from scanner.inversion.batch import Evaluator
from scanner.inversion.losses import Target
from scanner.inversion.plan import LatentPlan, Status

IDLE, RUNNING, CONVERGED, STALLED, STEPS_MAX, FAILED = range(6)
STATUSES: Final[dict[int, Status]] = {
    CONVERGED: "converged", STALLED: "stalled", STEPS_MAX: "steps_max", FAILED: "failed",
}  # fmt: skip
_IMAGE_AXES: Final = 4
_SEARCH: Final = "search."
_TARGET: Final = "target."


class Slots:
    """A fixed number of places for restarts.

    `rows` holds (capacity, ...) arrays: `x` the point to evaluate next; `best_x`, `best_loss`; `step` evaluations so far;
    `mark`, `since` the loss that must be undercut and the step it was reached at; `code` what the row is doing;
    `adam_until` the last step of Adam; its moments; the state of L-BFGS; and the target of the loss.
    """

    def __init__(self, capacity: int, shape: tuple[int, ...], plan: LatentPlan, *, device: torch.device) -> None:
        """Make idle places for points of `shape`."""
        self.plan, self.shape, self.device = plan, shape, device
        self.rows = self._new(capacity)
        self._is_empty = True

    @property
    def capacity(self) -> int:
        """Places, taken or not."""
        return len(self.rows["code"])

    def enter(self, places: list[int], points: Tensor, *, adam_steps: list[int], target: Target | None) -> None:
        """Begin a restart in each of `places`.

        Args:
            places: idle ones, or such that have ended.
            points: (n, *shape) where they begin.
            adam_steps: for how many steps each follows Adam; afterwards L-BFGS.
            target: (n, ...) arrays of the loss; None keeps those that are there.
        """
        index = self._index(places)
        new = self._new(len(places))
        flat = points.detach().flatten(1).to(self.device)
        new |= {"x": flat, "best_x": flat, "code": torch.full_like(new["code"], RUNNING)}
        new["adam_until"] = torch.tensor(adam_steps, device=self.device)
        if target is not None:
            if self._is_empty:
                self._make_room(target)
            new |= {_TARGET + name: array for name, array in target.items()}
        for name, array in new.items():
            self.rows[name][index] = array.to(self.rows[name].dtype)

    def advance(self, evaluator: Evaluator) -> None:
        """Evaluate every row once, and move those that are running."""
        rows, plan = self.rows, self.plan
        running = rows["code"] == RUNNING
        terms, gradient = evaluator.gradient(rows["x"].reshape(-1, *self.shape), self.target())
        gradient = gradient.flatten(1)
        step = rows["step"] + running
        is_finite = torch.isfinite(terms.total) & torch.isfinite(gradient).all(1)
        values = math.prod(rows[_TARGET + "image"].shape[1:])
        hit = running & is_finite & ((terms.pixel * values).sqrt() <= plan.tolerance * rows[_TARGET + "norm"])
        hit &= plan.tolerance > 0
        take = hit | (running & is_finite & (terms.total < rows["best_loss"]))
        best_x = torch.where(take[:, None], rows["x"], rows["best_x"])
        best_loss = torch.where(take, terms.total, rows["best_loss"])
        fell = best_loss < (1 - plan.gain) * rows["mark"]
        since = torch.where(fell, step, rows["since"])

        is_tired = running & (step - since >= plan.patience)
        by_adam = running & (step <= rows["adam_until"])
        last_of_adam = by_adam & (is_tired | (step == rows["adam_until"]))
        hands_over = last_of_adam if plan.method == "adam+lbfgs" else torch.zeros_like(by_adam)
        new, stuck, is_lost = self._move(terms.total, gradient, step, by_adam, running & ~by_adam, is_finite)
        new["x"] = torch.where(hands_over[:, None], best_x, new["x"])
        since = torch.where(hands_over, step, since)

        code = torch.where(running & (step >= plan.steps_max), STEPS_MAX, rows["code"])
        code = torch.where(stuck | (is_tired & ~hands_over), STALLED, code)
        code = torch.where(is_lost, torch.where(best_loss.isinf(), FAILED, STALLED), code)
        code = torch.where(hit, CONVERGED, code)
        mark = torch.where(fell, best_loss, rows["mark"])
        adam_until = torch.where(hands_over, step, rows["adam_until"])
        self.rows = rows | new | {
            "best_x": best_x, "best_loss": best_loss, "step": step, "since": since, "mark": mark, "code": code,
            "adam_until": adam_until,
        }  # fmt: skip

    def codes(self) -> list[int]:
        """Return what every row is doing; waits for the device."""
        found: list[int] = self.rows["code"].tolist()
        return found

    def best(self, places: list[int]) -> tuple[Tensor, Target, list[int]]:
        """Return the best points (n, *shape), targets and steps of some rows."""
        index = self._index(places)
        points = self.rows["best_x"][index].reshape(-1, *self.shape)
        return points, {name: t[index] for name, t in self.target().items()}, self.rows["step"][index].tolist()

    def leave(self, places: list[int]) -> None:
        """Mark rows as idle."""
        self.rows["code"][self._index(places)] = IDLE

    def shrink(self, places: list[int], capacity: int) -> None:
        """Keep `places` as the first rows of a smaller batch; the rest of it is idle."""
        idle = [p for p in range(self.capacity) if p not in set(places)]
        index = self._index([*places, *idle][:capacity])
        self.rows = {name: array[index].contiguous(memory_format=_layout(array)) for name, array in self.rows.items()}
        self.rows["code"][len(places) :] = IDLE

    def target(self) -> Target:
        """Return the target of every row."""
        return {name.removeprefix(_TARGET): a for name, a in self.rows.items() if name.startswith(_TARGET)}

    def _move(
        self, loss: Tensor, gradient: Tensor, step: Tensor, by_adam: Tensor, by_lbfgs: Tensor, is_finite: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return where to evaluate next and the optimisers' states, rows that are stuck, and rows that are lost."""
        rows, plan = self.rows, self.plan
        new: dict[str, Tensor] = {"x": rows["x"]}
        stuck, is_lost = torch.zeros_like(by_adam), by_adam & ~is_finite
        if plan.method != "lbfgs":
            steps = plan.steps_max if plan.method == "adam" else plan.adam_steps
            rate = plan.rate * (ramp(step, steps) if plan.ramp else torch.ones_like(loss))
            moved = adam_step(rows["x"], gradient, rows["first"], rows["second"], step=step.clamp(min=1), rate=rate)
            names = ("x", "first", "second")
            new |= {n: torch.where(by_adam[:, None], m, rows[n]) for n, m in zip(names, moved, strict=True)}
        if plan.method != "adam":
            state = {n.removeprefix(_SEARCH): a for n, a in rows.items() if n.startswith(_SEARCH)}
            is_lost |= by_lbfgs & state["fresh"] & ~is_finite
            state, x, stuck = lbfgs.advance(state, rows["x"], loss, gradient, active=by_lbfgs)
            new |= {_SEARCH + name: array for name, array in state.items()}
            new["x"] = torch.where(by_lbfgs[:, None], x, new["x"])
        return new, stuck, is_lost

    def _new(self, n: int) -> dict[str, Tensor]:
        size = math.prod(self.shape)
        points, one = torch.zeros(n, size, device=self.device), torch.zeros(n, device=self.device)
        count = torch.zeros(n, dtype=torch.int64, device=self.device)
        rows = {
            "x": points, "best_x": points.clone(), "best_loss": one + math.inf, "mark": one + math.inf,
            "step": count, "since": count.clone(), "code": count.clone() + IDLE, "adam_until": count.clone(),
        }  # fmt: skip
        if self.plan.method != "lbfgs":
            rows |= {"first": points.clone(), "second": points.clone()}
        if self.plan.method != "adam":
            rows |= {_SEARCH + k: a for k, a in lbfgs.empty(n, size, device=self.device).items()}
        return rows

    def _index(self, places: list[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.int64, device=self.device)

    def _make_room(self, like: Target) -> None:
        self.rows |= {
            # In the layout of `array`: the images' may have the channels last.
            _TARGET + name: torch.zeros_like(array[:1])
            .repeat_interleave(self.capacity, 0)
            .contiguous(memory_format=_layout(array))
            for name, array in like.items()
        }
        self._is_empty = False


def _layout(array: Tensor) -> torch.memory_format:
    is_last = array.dim() == _IMAGE_AXES and array.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format
