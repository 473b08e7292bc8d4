"""Resizing as ONNX defines it, in all its modes, with gradients: torch's own where it is the same, else two matrices.

Source: the ONNX operator specification, Resize (coordinate transformation and nearest modes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scanner.networks.onnx_build import Untranslatable

_HALF_PIXEL = frozenset({"half_pixel", "pytorch_half_pixel"})


def resize(images: Tensor, size: tuple[int, int], mode: str, down: Tensor | None, across: Tensor | None) -> Tensor:
    """Return float32 (n, c, *size) from (n, c, h, w).

    Args:
        images: what is resized.
        size: new height and width.
        mode: one of torch's modes of `interpolate`, or "matrix".
        down: (new height, h) for "matrix": each new row is a weighted sum of old rows.
        across: (new width, w) for "matrix".
    """
    if down is not None and across is not None:
        return torch.matmul(torch.matmul(down, images), across.t())
    if mode == "aligned":
        return functional.interpolate(images, size, mode="bilinear", align_corners=True)
    if mode == "bilinear":
        return functional.interpolate(images, size, mode="bilinear", align_corners=False)
    return functional.interpolate(images, size, mode=mode)


def resize_plan(
    old: tuple[int, int], new: tuple[int, int], scales: tuple[float, float], attributes: Mapping[str, Any]
) -> tuple[tuple[int, int], str, Tensor | None, Tensor | None]:
    """Return the arguments of `resize` for an ONNX Resize: (size, mode, down, across).

    Raises:
        Untranslatable: cubic, cropping or anti-aliased resizing.
    """
    mode = attributes.get("mode", "nearest")
    rule = attributes.get("coordinate_transformation_mode", "half_pixel" if "mode" in attributes else "asymmetric")
    known = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"}
    if mode not in {"nearest", "linear"} or rule not in known or attributes.get("antialias", 0):
        raise Untranslatable(f"it resizes in mode {mode!r} with {rule!r}")
    exact = all(math.isclose(n / s, scale) for n, s, scale in zip(new, old, scales, strict=True))
    if mode == "linear" and exact and rule == "align_corners":
        return new, "aligned", None, None
    if mode == "linear" and exact and rule in _HALF_PIXEL and min(new) > 1:
        return new, "bilinear", None, None
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    matrices = [
        _matrix(s, n, scale, mode=mode, rule=rule, rounding=rounding)
        for s, n, scale in zip(old, new, scales, strict=True)
    ]
    whole = all(n % s == 0 for n, s in zip(new, old, strict=True))
    if whole and all(torch.equal(m, _repeated(s, n)) for m, s, n in zip(matrices, old, new, strict=True)):
        return new, "nearest", None, None
    return new, "matrix", matrices[0], matrices[1]


def _repeated(old: int, new: int) -> Tensor:
    """Return the matrix that repeats every row new / old times."""
    return torch.eye(old).repeat_interleave(new // old, 0)


def _matrix(old: int, new: int, scale: float, *, mode: str, rule: str, rounding: str) -> Tensor:
    """Return float32 (new, old): which old places a new one is made of."""
    place = torch.arange(new, dtype=torch.float64)
    if rule == "align_corners":
        where = place * (old - 1) / (new - 1) if new > 1 else torch.zeros(1, dtype=torch.float64)
    elif rule == "asymmetric":
        where = place / scale
    elif rule == "pytorch_half_pixel" and new == 1:
        where = torch.zeros(1, dtype=torch.float64)
    else:
        where = (place + 0.5) / scale - 0.5
    matrix = torch.zeros(new, old, dtype=torch.float64)
    rows = torch.arange(new)
    if mode == "nearest":
        matrix[rows, _rounded(where, rounding).clamp(0, old - 1)] = 1.0
        return matrix.float()
    where = where.clamp(0, old - 1)
    low = where.floor().long()
    matrix.index_put_((rows, low), 1 - (where - low), accumulate=True)
    matrix.index_put_((rows, (low + 1).clamp(max=old - 1)), where - low, accumulate=True)
    return matrix.float()


_ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round_prefer_floor": lambda x: torch.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
}


def _rounded(where: Tensor, rounding: str) -> Tensor:
    if rounding not in _ROUNDING:
        raise Untranslatable(f"it rounds by {rounding!r}")
    return _ROUNDING[rounding](where).long()
