"""A generator of 16 pixels as a .pt2 file with its description, for the tests of inversion jobs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


class Sketch(nn.Module):
    """Four numbers to a smooth 16x16 picture; NaN where the first is above `limit`."""

    def __init__(self, limit: float | None = None) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(4)
        self.first = nn.Parameter(torch.randn(4, 32, generator=random) * 0.7)
        self.second = nn.Parameter(torch.randn(8, 3, 4, 4, generator=random) * 0.3)
        self.limit = limit

    def forward(self, z):
        x = torch.tanh(z @ self.first).reshape(-1, 8, 2, 2)
        x = torch.sigmoid(nn.functional.conv_transpose2d(x, self.second, stride=4))
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        if self.limit is not None:
            x = x + torch.where(z[:, :1] > self.limit, torch.nan, 0.0)[:, :, None, None]
        return x


def write_generator(folder: Path, *, limit: float | None = None) -> Path:
    """Write sketch.pt2 and sketch.toml; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    exported = torch.export.export(Sketch(limit).eval(), (torch.zeros(3, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, folder / "sketch.pt2")
    path = folder / "sketch.toml"
    path.write_text('[generator]\nweights = "sketch.pt2"\n[latent]\nsize = 4\nlaw = "normal"\n')
    return path


def pictures(count: int, *, seed: int = 5):
    """Return (n, 16, 16, 3) uint8: what the generator makes of the latents that the law draws."""
    from scanner.generators.latents import LatentLaw
    from scanner.generators.sample import to_u8

    z = torch.from_numpy(LatentLaw(4).draw(seed, 0, count).values)
    with torch.no_grad():
        return to_u8(Sketch()(z).numpy())
