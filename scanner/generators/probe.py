"""What a network is asked before any long work: does it take these latents, look at them, and make images of them?

A generator that draws noise of its own, or always the same image, or images in another range than was stated would
else be found out after a night, or never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scanner.errors import ModelError
from scanner.generators.generator import GREY, RGB, ToImages
from scanner.generators.latents import LatentLaw
from scanner.generators.sample import exact_arithmetic, is_out_of_memory

PROBES: Final = 8
SIZES_TRIED: Final = 4096
USUAL_RANGES: Final = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-0.5, 0.5))
SLACK: Final = 0.25
"""Share of the stated range by which values may lie beyond it, and are clipped, without being an error."""
BEYOND_MAX: Final = 0.01
"""Share of values that may lie still further out."""
USED_MIN: Final = 0.02
"""An image that uses less of the stated range than this is black, or grey, to the eye."""
SAME: Final = 0.5 / 255.0


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found: see `Generator` for the fields of the same name; `channels` is 3, or 1 for grey images."""

    shape_px: tuple[int, int]
    channels: int
    batch_max: int | None
    differentiable: bool
    value_range: tuple[float, float]
    notes: tuple[str, ...]


def probe(module: ToImages, law: LatentLaw, *, device: torch.device, where: str) -> Probed:
    """Try a generator out on a few latents of its law.

    Args:
        module: the network with its conventions, on `device`.
        law: of its latents.
        device: where it runs.
        where: the file that describes it, for messages.

    Raises:
        ModelError: it takes no such latents, puts out no images, ignores its latents, draws noise of its own, or its
            values are not in the range that was stated; says what to write instead, where that can be found out.
    """
    drawn = law.draw(0, 0, PROBES)
    latents = torch.from_numpy(drawn.values).to(device)
    labels = None if drawn.labels is None else torch.zeros(PROBES, dtype=torch.int64, device=device)
    raw, batch_max = _answer(module, latents, labels, law, where)
    channels, *shape_px = _shape(module, raw, where)
    values = raw.to("cpu", torch.float32).numpy().reshape(PROBES, -1)
    finite = np.isfinite(values).all(axis=1)
    if not finite.any():
        raise ModelError(
            f"All {PROBES} images that {where} was asked for hold NaN or infinities. Its weights are broken, or its latents "
            f"are of another law than {law.law!r} with {law.size} numbers."
        )
    values = values[finite]
    _check_range(module, values, where)
    width = module.conventions.output_range[1] - module.conventions.output_range[0]
    if len(values) > 1 and float(np.ptp(values, axis=0).max()) < SAME * width:
        raise ModelError(
            f"{where} ignores its latent: {len(values)} different latents gave the same image. Nothing it makes can be told "
            "apart, so there is nothing to scan. Export it again with the latent as its input."
        )
    again, _ = _answer(module, latents, labels, law, where)
    if float((again - raw).nan_to_num().abs().max()) > SAME * width:
        raise ModelError(
            f"{where} draws noise of its own: the same latents gave other images the second time, so no seed repeats them. "
            "Export it with fixed noise and in eval mode."
        )
    notes = _notes(module, values, int((~finite).sum()))
    value_range = (float(values.min()), float(values.max()))
    differentiable = _is_differentiable(module, latents, labels)
    return Probed((shape_px[0], shape_px[1]), channels, batch_max, differentiable, value_range, notes)


def _answer(
    module: ToImages, latents: Tensor, labels: Tensor | None, law: LatentLaw, where: str
) -> tuple[Tensor, int | None]:
    """Return the raw output for all latents, and 1 if the network takes them one at a time only."""
    with torch.inference_mode(), exact_arithmetic():
        raw, problem = _try(module, latents, labels)
        if raw is not None:
            return raw, None
        singly = [_try(module, latents[i : i + 1], None if labels is None else labels[i : i + 1])[0] for i in range(2)]
        if all(one is not None for one in singly):
            ones = [
                _try(module, latents[i : i + 1], None if labels is None else labels[i : i + 1])[0]
                for i in range(len(latents))
            ]
            return torch.cat([one for one in ones if one is not None]), 1
        fitting = _fitting_size(module, labels, latents.device)
    hint = (
        f"It takes {fitting}: write size = {fitting} under [latent]."
        if fitting
        else "Look up the size, shape and classes of its latent, and write them under [latent]."
    )
    raise ModelError(
        f"{where} does not take latents of {law.size} numbers{'' if labels is None else ' with a class'} ({problem}). {hint}"
    )


def _try(module: ToImages, latents: Tensor, labels: Tensor | None) -> tuple[Tensor | None, str]:
    """Return the raw output, or None and the first line of what the network says."""
    try:
        found = module.raw(latents, labels)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Exported and scripted networks raise what they like when shapes do not fit.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return None, (lines[-1] if lines else type(error).__name__)[:200]
    if not isinstance(found, Tensor) or len(found) != len(latents):
        return None, f"it puts out {type(found).__name__} and not an image for each latent"
    return found, ""


def _fitting_size(module: ToImages, labels: Tensor | None, device: torch.device) -> int | None:
    """Return the smallest size of latent that the network takes, by trying: its first layer refuses all others at once."""
    if module.conventions.latent_shape is not None:
        return None
    for size in range(1, SIZES_TRIED + 1):
        if _try(module, torch.zeros(2, size, device=device), None if labels is None else labels[:2])[0] is not None:
            return size
    return None


def _shape(module: ToImages, raw: Tensor, where: str) -> tuple[int, int, int]:
    """Return channels, height and width, or say what the output is instead of images."""
    shape = tuple(raw.shape[1:])
    layout = module.conventions.layout
    if len(shape) == 3:  # noqa: PLR2004 - channels, height, width
        channels, height, width = shape if layout == "NCHW" else (shape[2], shape[0], shape[1])
        if channels in (GREY, RGB):
            return channels, height, width
        other = shape[2] if layout == "NCHW" else shape[0]
        if other in (GREY, RGB):
            right = "NHWC" if layout == "NCHW" else "NCHW"
            raise ModelError(
                f'{where} puts out {" x ".join(map(str, shape))} an image, which is not {layout}. Write layout = "{right}" '
                "under [output]."
            )
    raise ModelError(
        f"{where} puts out {' x '.join(map(str, shape))} numbers for a latent, and an image of 3 or 1 channels was "
        "expected. Name the part of the model that makes images."
    )


def _check_range(module: ToImages, values: NDArray[np.float32], where: str) -> None:
    """Refuse a range that the values leave by much, or of which they use next to nothing."""
    low, high = module.conventions.output_range
    found_low, found_high = float(values.min()), float(values.max())
    if _beyond(values, low, high) <= BEYOND_MAX and found_high - found_low >= USED_MIN * (high - low):
        return
    proposed = next(
        (
            pair
            for pair in sorted(USUAL_RANGES, key=lambda pair: pair[1] - pair[0])
            if _beyond(values, *pair) <= BEYOND_MAX and found_high - found_low >= USED_MIN * (pair[1] - pair[0])
        ),
        (float(np.floor(found_low * 10) / 10), float(np.ceil(found_high * 10) / 10)),
    )
    raise ModelError(
        f"{where} states range = [{low:g}, {high:g}], and the values of its first images lie in {found_low:.4g} to "
        f"{found_high:.4g}: they would be {'clipped' if _beyond(values, low, high) > BEYOND_MAX else 'one flat grey'}. "
        f"Probably right is range = [{proposed[0]:g}, {proposed[1]:g}] under [output]."
    )


def _beyond(values: NDArray[np.float32], low: float, high: float) -> float:
    slack = SLACK * (high - low)
    return float(((values < low - slack) | (values > high + slack)).mean())


def _notes(module: ToImages, values: NDArray[np.float32], bad: int) -> tuple[str, ...]:
    low, high = module.conventions.output_range
    notes = (
        [f"{bad} of its first {PROBES} images hold NaN or infinities; such images are counted and left out"]
        if bad
        else []
    )
    if float(values.min()) >= (low + high) / 2:
        notes.append(
            f"not one pixel of its first images is darker than the middle of range = [{low:g}, {high:g}]; its values lie in "
            f"{float(values.min()):.3g} to {float(values.max()):.3g}: is the range right?"
        )
    return tuple(notes)


def _is_differentiable(module: ToImages, latents: Tensor, labels: Tensor | None) -> bool:
    """Tell whether gradients reach a latent, by sending one."""
    one = latents[:1].clone().requires_grad_()
    try:
        with torch.enable_grad():
            total = module.raw(one, None if labels is None else labels[:1]).nan_to_num().square().sum()
            (gradient,) = torch.autograd.grad(total, one)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return False
    return bool(gradient.isfinite().all()) and bool(gradient.any())
