"""Limited-memory BFGS for many small problems at once.

Every slot has its own history, its own direction and its own line search.  One call of `advance` uses one evaluation per
slot: a slot in the middle of its line search tries its next step length while its neighbours take their next
direction, so nobody waits.  The line search brackets a step that falls enough (Armijo) and flattens enough (weak Wolfe):
bisection and doubling as in Lewis & Overton 2013, which holds for functions with kinks (ReLU) too.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

HISTORY: Final = 10
FALL, FLATTEN = 1e-4, 0.9
TRIALS_MAX: Final = 12
FIRST_STEP: Final = 0.1
"""Length of the first step along the gradient, over the square root of the number of unknowns."""

State = dict[str, Tensor]


def empty(n: int, d: int, *, device: torch.device) -> State:
    """Return the state of `n` slots of `d` unknowns that have seen nothing yet."""
    zeros = torch.zeros(n, d, device=device)
    one = torch.zeros(n, device=device)
    return {
        "at": zeros,
        "value": one,
        "gradient": zeros.clone(),
        "direction": zeros.clone(),
        "length": one.clone(),
        "low": one.clone(),
        "high": torch.full((n,), math.inf, device=device),
        "trials": torch.zeros(n, dtype=torch.int64, device=device),
        "fresh": torch.ones(n, dtype=torch.bool, device=device),
        "moves": torch.zeros(n, HISTORY, d, device=device),
        "turns": torch.zeros(n, HISTORY, d, device=device),
        "inverse": torch.zeros(n, HISTORY, device=device),
    }


def advance(
    state: State, x: Tensor, value: Tensor, gradient: Tensor, *, active: Tensor
) -> tuple[State, Tensor, Tensor]:
    """Take in one evaluation per slot; say where to evaluate next.

    Args:
        state: of `empty`, or of the call before.
        x: (n, d) where was evaluated: for a fresh slot its start, else what the call before asked for.
        value: (n,) the loss there; may be infinite or NaN, which is a step too far.
        gradient: (n, d) there.
        active: (n,) bool; other slots stay as they are.

    Returns:
        The new state; (n, d) points to evaluate next; and (n,) bool, slots that cannot get lower in this precision.
    """
    # A NaN compares false with everything, so that it is a step too far.
    gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
    slope = (state["direction"] * state["gradient"]).sum(1)
    falls = value <= state["value"] + FALL * state["length"] * slope
    flat = (state["direction"] * gradient).sum(1) >= FLATTEN * slope
    fresh = active & state["fresh"]
    searching = active & ~state["fresh"]
    tired = searching & (state["trials"] + 1 >= TRIALS_MAX)
    accept = fresh | (searching & falls & (flat | tired))
    reset = tired & ~accept
    stuck = reset & (state["inverse"] == 0).all(1)

    histories = _remember(state, x, gradient, accept & ~fresh, drop=fresh | reset)
    at = torch.where(accept[:, None], x, state["at"])
    here = torch.where(accept, value, state["value"])
    slant = torch.where(accept[:, None], gradient, state["gradient"])
    turn = accept | reset
    direction = torch.where(turn[:, None], _direction(slant, *histories), state["direction"])

    search = _line(state, value, slope, falls=falls, turn=turn, searching=searching)
    mine = {
        "at": at, "value": here, "gradient": slant, "direction": direction, **search, "fresh": state["fresh"] & ~fresh,
        **dict(zip(("moves", "turns", "inverse"), histories, strict=True)),
    }  # fmt: skip
    state = {name: torch.where(_like(active, new), new, state[name]) for name, new in mine.items()}
    following = state["at"] + state["length"][:, None] * state["direction"]
    return state, torch.where(active[:, None], following, x), stuck


def _line(state: State, value: Tensor, slope: Tensor, *, falls: Tensor, turn: Tensor, searching: Tensor) -> State:
    """Return the next step length of every line search, and its bracket; a new direction begins with length 1."""
    length, one = state["length"], torch.ones_like(state["length"])
    high = torch.where(searching & ~falls, length, state["high"])
    low = torch.where(searching & falls, length, state["low"])
    middle = 0.5 * (low + high)
    # The lowest point of the parabola through value, slope and new value: a first shortening is rarely a half.
    parabola = -slope * length**2 / (2 * (value - state["value"] - slope * length))
    shorter = torch.where(
        low > 0, middle, torch.nan_to_num(parabola, nan=0.0).clamp(min=0.1 * length, max=0.5 * length)
    )
    following = torch.where(falls, torch.where(high.isinf(), 2 * length, middle), shorter)
    return {
        "length": torch.where(turn, one, following),
        "low": torch.where(turn, 0 * one, low),
        "high": torch.where(turn, math.inf * one, high),
        "trials": torch.where(turn, 0, state["trials"] + 1),
    }


def _remember(
    state: State, x: Tensor, gradient: Tensor, moved: Tensor, *, drop: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the histories with this move at their end; a move along which the slope does not rise is left out."""
    move, turn = x - state["at"], gradient - state["gradient"]
    bend = (move * turn).sum(1)
    push = moved & (bend > 1e-10 * turn.square().sum(1)) & (bend > 0)
    fades = push[:, None, None]
    moves = torch.where(fades, torch.cat([state["moves"][:, 1:], move[:, None]], 1), state["moves"])
    turns = torch.where(fades, torch.cat([state["turns"][:, 1:], turn[:, None]], 1), state["turns"])
    newest = torch.where(push, 1 / bend, 0.0)[:, None]
    inverse = torch.where(push[:, None], torch.cat([state["inverse"][:, 1:], newest], 1), state["inverse"])
    return moves, turns, inverse.masked_fill(drop[:, None], 0.0)


def _direction(gradient: Tensor, moves: Tensor, turns: Tensor, inverse: Tensor) -> Tensor:
    """Return (n, d) directions: the two loops of Nocedal 1980; a slot without history goes down its gradient.

    A place of the history whose `inverse` is 0 changes nothing.
    """
    n, d = gradient.shape
    q = gradient
    shares = [torch.zeros(n, device=gradient.device)] * HISTORY
    for i in reversed(range(HISTORY)):
        shares[i] = inverse[:, i] * (moves[:, i] * q).sum(1)
        q = q - shares[i][:, None] * turns[:, i]
    scale = 1 / (inverse[:, -1] * turns[:, -1].square().sum(1))
    r = torch.where(inverse[:, -1:] > 0, scale[:, None] * q, q)
    for i in range(HISTORY):
        back = inverse[:, i] * (turns[:, i] * r).sum(1)
        r = r + (shares[i] - back)[:, None] * moves[:, i]
    steepest = -gradient * (FIRST_STEP * math.sqrt(d) / gradient.norm(dim=1, keepdim=True).clamp(min=1e-30))
    downhill = (inverse[:, -1] > 0) & ((r * gradient).sum(1) > 0)
    return torch.where(downhill[:, None], -r, steepest)


def _like(mask: Tensor, array: Tensor) -> Tensor:
    """Return `mask` with as many axes as `array`."""
    return mask.reshape(-1, *[1] * (array.dim() - 1))
