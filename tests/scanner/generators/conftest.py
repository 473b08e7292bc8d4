"""Generators of a few pixels, opened from memory as if they had been loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scanner.generators import Generator, LatentLaw, make_generator
from scanner.generators import open as opening


class Waves(nn.Module):
    """`size` numbers to (n, channels, 8, 8) in `low`..`high`, by a fixed matrix and a sigmoid."""

    def __init__(self, size: int = 4, *, channels: int = 3, low: float = 0.0, high: float = 1.0, sharp: float = 1.5):
        super().__init__()
        random = torch.Generator().manual_seed(size)
        self.matrix = nn.Parameter(torch.randn(size, channels * 64, generator=random) * sharp / size**0.5)
        self.channels, self.low, self.high = channels, low, high

    def forward(self, z):
        values = torch.sigmoid(z @ self.matrix).reshape(-1, self.channels, 8, 8)
        return self.low + (self.high - self.low) * values


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Generator]:
    """Open a module as a generator; other arguments are those of `make_generator`."""

    def call(
        module: nn.Module, *, law: LatentLaw | None = None, mapping: nn.Module | None = None, **given: Any
    ) -> Generator:
        paths = {tmp_path / "weights.pt2": module, tmp_path / "mapping.pt2": mapping}
        for path in paths:
            path.write_bytes(path.name.encode())
        monkeypatch.setattr(opening, "load_module", lambda path, **_: paths[path])
        place = tmp_path / "mapping.pt2" if mapping is not None else None
        return make_generator(
            name="waves", weights=tmp_path / "weights.pt2", law=law or LatentLaw(4), mapping=place,
            device=given.pop("device", "cpu"), **given,
        )  # fmt: skip

    return call


@pytest.fixture(scope="session")
def waves() -> type[Waves]:
    return Waves
