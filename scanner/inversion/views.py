"""Images as other networks want to see them: resized or warped, differentiably.

Preprocessing (mean, scale, channel order) is inside the networks; here is geometry alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def resized(images01: Tensor, height: int, width: int) -> Tensor:
    """Return (n, c, height, width): bilinear, with an antialiasing filter where the image gets smaller."""
    if images01.shape[-2:] == (height, width):
        return images01
    shrinks = images01.shape[-2] > height or images01.shape[-1] > width
    return functional.interpolate(images01, (height, width), mode="bilinear", align_corners=False, antialias=shrinks)


def warped(images01: Tensor, matrix: Tensor, height: int, width: int) -> Tensor:
    """Return (n, c, height, width): every image under one affine map, black where it ends.

    Args:
        images01: (n, c, h, w).
        matrix: (2, 3): takes a place (x, y) in pixels of the image to one in the result; pixel centres are whole
            numbers, as in `cv2.warpAffine` and `scanner.faces.align.similarity`.
        height: of the result.
        width: of the result.
    """
    h, w = images01.shape[-2:]
    scale = float(torch.linalg.det(matrix[:, :2].double()).abs().sqrt())
    if scale < 0.5:  # noqa: PLR2004 - a bilinear warp reads four pixels: what shrinks more would alias
        small_h, small_w = max(1, round(h * scale)), max(1, round(w * scale))
        stretch = torch.tensor([w / small_w, h / small_h], dtype=torch.float64)
        linear = matrix[:, :2].double().cpu() * stretch
        shift = matrix[:, 2].double().cpu() + matrix[:, :2].double().cpu() @ (0.5 * stretch - 0.5)
        matrix = torch.cat([linear, shift[:, None]], 1).to(matrix.device)
        images01, h, w = resized(images01, small_h, small_w), small_h, small_w
    back = torch.linalg.inv(torch.cat([matrix.double().cpu(), torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)]))
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    places = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ back.T
    # grid_sample without align_corners puts -1 and 1 at the outer edges of the outer pixels.
    grid = torch.stack([(2 * places[..., 0] + 1) / w - 1, (2 * places[..., 1] + 1) / h - 1], -1)
    grid = grid.to(images01.device, images01.dtype).expand(len(images01), -1, -1, -1)
    return functional.grid_sample(images01, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
