"""How fast, and how near to what the device can do: its measured rate of matrix products is the limit."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from scanner.inversion.features.stack import Inverse
from scanner.inversion.features.stream import Stream
from scanner.inversion.features.train import DciPlan, train_inverse
from scanner.networks.network import Network

SIDE = {"cpu": 1024, "cuda": 8192}
ROUNDS = 5


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, load, the accelerator if one is used, and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for name in ("numpy", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return {
        "cpu": models[0] if models else platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        **versions,
    }


def seconds_of(work: Callable[[], object], device: torch.device, *, rounds: int = ROUNDS) -> float:
    """Return the best of some rounds, after one to warm up: what the code needs, not what else the machine does."""
    work()
    times = []
    for _ in range(rounds):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return min(times)


def product_rate(device: torch.device) -> float:
    """Return FLOP/s of a square float32 matrix product, as torch is set up here."""
    side = SIDE[device.type]
    first = torch.randn(side, side, device=device)
    second = torch.randn(side, side, device=device)
    return 2 * side**3 / seconds_of(lambda: first @ second, device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def inverse_speeds(
    inverse: Inverse, cuts: Sequence[str] | None = None, *, batch: int, rate: float
) -> dict[str, dict[str, float]]:
    """Return, for every cut (or those given), images a second of one pass back, its FLOP per image, and the share of `rate`."""
    device = inverse.device
    found = {}
    for cut in cuts or inverse.names:
        features = torch.randn(batch, *inverse.shape(cut), device=device).abs()
        with FlopCounterMode(display=False) as counter:
            inverse.inputs(features, cut)
        flops = counter.get_total_flops() / batch
        speed = batch / seconds_of(lambda f=features, c=cut: inverse.inputs(f, c), device)  # type: ignore[misc]
        found[cut] = {"images_per_s": speed, "mflop": flops / 1e6, "of_product_rate": flops * speed / rate}
    return found


def training_speed(
    network: Network, stream: Stream, plan: DciPlan, *, steps: int, flops: float, rate: float
) -> dict[str, float]:
    """Return images a second of training, and the share of `rate`: the difference of a longer and a shorter run."""
    from dataclasses import replace

    device = network.device
    times = []
    for count in (3, 3, 3 + steps):
        _wait(device)
        started = time.perf_counter()
        train_inverse(network, stream, plan=replace(plan, steps=count, alone=0.0), device=device)
        _wait(device)
        times.append(time.perf_counter() - started)
    speed = steps * plan.batch / (times[2] - times[1])
    return {"images_per_s": speed, "of_product_rate": flops * speed / rate}
