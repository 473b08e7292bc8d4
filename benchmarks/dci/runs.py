"""Which inverses are trained, on what, and for how long; all of one network at the same cost.

The budget is one of arithmetic: `steps` counts for the first run of a network, and the others get as many steps as cost
the same number of floating-point operations, counted over a training step (`torch.utils.flop_counter`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scanner.inversion.features.stack import Inverse
from scanner.inversion.features.store import load_inverse, read_manifest, save_inverse
from scanner.inversion.features.stream import MixedStream, PoolStream, ProceduralStream, Stream
from scanner.inversion.features.synthesis import SynthesisPlan, synthesise
from scanner.inversion.features.train import DciPlan, train_inverse
from scanner.networks.cut import cut_points
from scanner.networks.network import Network

Data = Literal["procedural", "synthesised", "mixed", "real"]
POOL_IMAGES = 256
POOL_PLAN = SynthesisPlan(steps=80, smoothness=0.3)
MIX_SHARE = 0.5
COUNTED_STEPS = 2


@dataclass(frozen=True, slots=True)
class Run:
    """One training.

    Attributes:
        name: of its folder.
        data: what it is trained on.
        cycle: with cycle consistency.
        stitch: as one stack after the first part; otherwise every module on its own to the end.
    """

    name: str
    data: Data = "procedural"
    cycle: bool = True
    stitch: bool = True


OURS = Run("ours")
NO_CYCLE = Run("no-cycle", cycle=False)
ALONE = Run("alone", cycle=False, stitch=False)
REAL = Run("real", data="real")
SYNTHESISED = Run("synthesised", data="synthesised")
MIXED = Run("mixed", data="mixed")
RUNS = {run.name: run for run in (OURS, NO_CYCLE, ALONE, REAL, SYNTHESISED, MIXED)}


def plan_of(run: Run, base: DciPlan) -> DciPlan:
    """Return the plan of a run: the base, without what the run leaves out."""
    return replace(base, cycle=base.cycle if run.cycle else 0.0, stitch=run.stitch)


def stream_of(run: Run, network: Network, photos: Callable[[], Tensor], work: Path | None) -> Stream:
    """Return the training images of a run."""
    height, width = network.input_shape[1:]
    procedural = ProceduralStream((height, width), seed=1, device=network.device)
    if run.data == "procedural":
        return procedural
    if run.data == "real":
        return PoolStream(photos(), seed=1, name="real")
    pool = PoolStream(_pool(network, work), seed=1, name="synthesised")
    return pool if run.data == "synthesised" else MixedStream(procedural, pool, MIX_SHARE)


def _pool(network: Network, work: Path | None) -> Tensor:
    """Return synthesised images, made once per network."""
    path = None if work is None else work / f"{network.name}-pool.npy"
    if path is not None and path.exists():
        return torch.from_numpy(np.load(path)).to(network.device)
    pool = synthesise(network, count=POOL_IMAGES, plan=POOL_PLAN)
    if path is not None:
        np.save(path, pool.cpu().numpy())
    return pool


def step_flops(network: Network, plan: DciPlan) -> float:
    """Return floating-point operations of an average step of a whole training of `plan`."""
    height, width = network.input_shape[1:]
    small = replace(plan, batch=max(16, len(cut_points(network))), steps=COUNTED_STEPS)
    counts = {}
    for name, alone in (("alone", 1.0), ("stitched", 0.0)):
        if name == "stitched" and not plan.stitch:
            continue
        with FlopCounterMode(display=False) as counter:
            train_inverse(network, ProceduralStream((height, width)), plan=replace(small, alone=alone))
        with FlopCounterMode(display=False) as overhead:
            train_inverse(network, ProceduralStream((height, width)), plan=replace(small, alone=alone, steps=1))
        counts[name] = (counter.get_total_flops() - overhead.get_total_flops()) / small.batch
    if not plan.stitch:
        return float(counts["alone"])
    return float(plan.alone * counts["alone"] + (1 - plan.alone) * counts["stitched"])


def equal_cost(network: Network, run: Run, base: DciPlan) -> DciPlan:
    """Return the plan of a run with as many steps as cost what `base` costs."""
    plan = plan_of(run, base)
    if plan == base:
        return base
    return replace(plan, steps=round(base.steps * step_flops(network, base) / step_flops(network, plan)))


class Clock:
    """Progress that measures the seconds of training, a line now and then."""

    def __init__(self, talk: Callable[[str], None]) -> None:
        self.talk, self.done, self.total = talk, 0, 0
        self.started = self.told = time.perf_counter()

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""
        self.talk(f"{name}: {total} {unit}")
        self.total, self.done = total or 0, done

    def advance(self, units: int) -> None:
        """See `Progress.advance`."""
        self.done += units
        if time.perf_counter() - self.told > 30:
            self.told = time.perf_counter()
            self.talk(f"  {self.done} of {self.total} after {self.told - self.started:.0f} s")

    def note(self, sentence: str) -> None:
        """See `Progress.note`."""
        self.talk(sentence)


def trained(
    run: Run,
    network: Network,
    base: DciPlan,
    photos: Callable[[], Tensor],
    *,
    work: Path,
    talk: Callable[[str], None],
) -> tuple[Inverse, dict[str, Any]]:
    """Return the inverse of a run and what its manifest says; trained now, unless `work` holds it."""
    folder = work / f"{network.name}-{run.name}"
    if not (folder / "inverse.json").exists():
        plan = equal_cost(network, run, base)
        talk(f"{folder.name}: {plan.steps} steps of {plan.batch}, {run.data} images, cycle {plan.cycle}")
        stream = stream_of(run, network, photos, work)
        checkpoints = work / f"{folder.name}.unfinished"
        checkpoints.mkdir(parents=True, exist_ok=True)
        clock = Clock(talk)
        inverse = train_inverse(network, stream, plan=plan, work=checkpoints, device=network.device, progress=clock)
        account = {
            "stream": stream.describe(),
            "seconds": round(time.perf_counter() - clock.started, 1),
            "flops": step_flops(network, plan) * plan.steps * plan.batch,
            "weights": sum(p.numel() for p in inverse.modules.parameters()),
        }
        save_inverse(inverse, folder, plan=asdict(plan), account=account)
    return load_inverse(folder, network), read_manifest(folder)
