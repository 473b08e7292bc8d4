"""A training that can be killed: everything it needs to go on, in one file of tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scanner.errors import ArtefactError
from scanner.networks.tensors import read_metadata, read_tensors, write_tensors

NAME = "checkpoint.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_checkpoint(
    work: Path,
    step: int,
    modules: nn.ModuleList,
    averaged: nn.ModuleList,
    optimiser: torch.optim.Optimizer,
    purpose: Mapping[str, Any],
) -> None:
    """Write the training after `step` steps into `work`, in place of an earlier one, completely or not at all."""
    tensors = {f"module.{name}": value for name, value in modules.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in averaged.state_dict().items()}
    for place, parameter in enumerate(modules.parameters()):
        moments = optimiser.state.get(parameter, {})
        tensors |= {f"adam.{place}.{name}": _tensor(moments[name]) for name in _MOMENTS if name in moments}
    write_tensors(work / NAME, tensors, {"step": str(step), "purpose": _text(purpose)})


def load_checkpoint(
    work: Path,
    modules: nn.ModuleList,
    averaged: nn.ModuleList,
    optimiser: torch.optim.Optimizer,
    purpose: Mapping[str, Any],
) -> int:
    """Take up the training in `work`; return how many steps were done, 0 where there is none.

    Raises:
        ArtefactError: broken, or of another network, plan or stream.
    """
    path = work / NAME
    if not path.exists():
        return 0
    told = read_metadata(path)
    if told.get("purpose") != _text(purpose):
        raise ArtefactError(
            f"{path} belongs to a training of another network, plan or stream. Give the same options as then, or pass "
            "--force to begin again."
        )
    tensors = read_tensors(path)
    try:
        for prefix, target in (("module.", modules), ("average.", averaged)):
            target.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
        for place, parameter in enumerate(modules.parameters()):
            moments = {name: tensors[f"adam.{place}.{name}"] for name in _MOMENTS if f"adam.{place}.{name}" in tensors}
            if moments:
                optimiser.state[parameter] = {n: _beside(t, parameter, n) for n, t in moments.items()}
        return int(told["step"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise ArtefactError(
            f"{path} is no checkpoint of this training: {error}. Pass --force to begin again."
        ) from error


def _beside(moment: Tensor, parameter: Tensor, name: str) -> Tensor:
    """Return a moment where and how its parameter lies in memory, the counter of steps on the CPU."""
    return moment if name == "step" else torch.empty_like(parameter).copy_(moment)


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value))


def _text(purpose: Mapping[str, Any]) -> str:
    return json.dumps(purpose, sort_keys=True)
