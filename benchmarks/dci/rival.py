"""The search that a trained inverse is compared with, tuned for every depth; its results are kept, for it takes long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.dci.speeds import seconds_of
from scanner.inversion.features.search import SearchPlan, search_inputs
from scanner.networks.cut import Block, cut
from scanner.networks.network import Network

STEPS, TUNING_STEPS, TIMED_STEPS = 800, 200, 8
RATES = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
SMOOTHNESS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
START = (3, 5)
TUNED_ON = 3
"""Spare photographs on which the search's rate and weight are chosen, for every depth."""


def prefix(blocks: Sequence[Block], name: str) -> Callable[[Tensor], Tensor]:
    """Return the network up to a cut, with gradients."""
    used = blocks[: [block.name for block in blocks].index(name) + 1]

    def run(x: Tensor) -> Tensor:
        for block in used:
            x = block.module(x)
        return x

    return run


def tuned(forward: Callable[[Tensor], Tensor], spare: Tensor, *, steps: int) -> tuple[SearchPlan, dict[str, float]]:
    """Return the plan that re-creates spare photographs best, by PSNR, and the PSNR of every plan that was tried.

    A climb over a grid of rates and weights: as long as a neighbour of the best one is better, or is not tried yet.
    """
    images = spare[:TUNED_ON]
    with torch.no_grad():
        features = forward(images)
    found: dict[tuple[int, int], float] = {}
    best = START
    while True:
        rate, weight = best
        near = [best, (rate + 1, weight), (rate - 1, weight), (rate, weight + 1), (rate, weight - 1)]
        for place in near:
            if place not in found and 0 <= place[0] < len(RATES) and 0 <= place[1] < len(SMOOTHNESS):
                recreated = search_inputs(forward, features, shape=(3, *images.shape[2:]), plan=_plan(place, steps))
                error = (recreated - images).square().flatten(1).mean(1).clamp_min(1e-10)
                found[place] = float((-10 * torch.log10(error)).mean())
        best = max(found, key=lambda place: found[place])
        if best == (rate, weight):
            break
    return _plan(best, steps), {f"rate {RATES[r]} weight {SMOOTHNESS[w]}": value for (r, w), value in found.items()}


def _plan(place: tuple[int, int], steps: int) -> SearchPlan:
    return SearchPlan(steps=steps, rate=RATES[place[0]], smoothness=SMOOTHNESS[place[1]])


def search_speed(forward: Callable[[Tensor], Tensor], images: Tensor, plan: SearchPlan) -> float:
    """Return images a second of a whole search, from the best of some runs of a few steps: at the load of this moment."""
    with torch.no_grad():
        features = forward(images)

    def run() -> object:
        few = replace(plan, steps=TIMED_STEPS)
        return search_inputs(forward, features, shape=(3, *images.shape[2:]), plan=few)

    return len(images) / (seconds_of(run, images.device, rounds=3) / TIMED_STEPS * plan.steps)


def searched(
    network: Network,
    names: Sequence[str],
    images: Tensor,
    spare: Tensor,
    *,
    work: Path,
    talk: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Return, for every cut, `images` (n, 3, h, w) as the search re-creates them, its images a second, and its plan."""
    blocks = cut(network)
    found = {}
    for name in names:
        kept = work / f"{network.name}-search-{name}.npy"
        told = kept.with_suffix(".json")
        if not told.exists():
            forward = prefix(blocks, name)
            plan, tried = tuned(forward, spare, steps=TUNING_STEPS)
            plan = replace(plan, steps=STEPS)
            with torch.no_grad():
                features = forward(images)
            started = time.perf_counter()
            recreated = search_inputs(forward, features, shape=(3, *images.shape[2:]), plan=plan)
            seconds = time.perf_counter() - started
            np.save(kept, recreated.numpy())
            told.write_text(json.dumps({"plan": asdict(plan), "tuning": tried, "seconds": seconds}))
            talk(f"search at {name}: {seconds:.0f} s, {asdict(plan)}, {tried}")
        found[name] = {"images": torch.from_numpy(np.load(kept)), **json.loads(told.read_text())}
    return found
