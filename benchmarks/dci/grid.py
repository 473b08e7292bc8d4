"""A picture of photographs and what was re-created of them: one row a depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ENLARGED = 2


def write_grid(path: Path, rows: Sequence[Tensor]) -> None:
    """Write images01 (n, 3, h, w) of every row below each other."""
    tiled = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).permute(1, 2, 0)
    pixels = np.round(tiled.cpu().numpy() * 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (pixels.shape[1] * ENLARGED, pixels.shape[0] * ENLARGED)
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path)
