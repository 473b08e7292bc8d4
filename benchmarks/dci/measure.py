"""What can be seen in re-created images, depth by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scanner.evidence.image_quality import psnr_db, ssim
from scanner.inversion.features.stack import Inverse
from scanner.inversion.perceptual import PerceptualGap
from scanner.networks.network import Network

BATCH = 100
GAP_IMAGES = 50


def recreate(inverse: Inverse, images: Tensor, cut: str) -> Tensor:
    """Return the images after the network up to `cut` and the inverse back."""
    return torch.cat([inverse.inputs(inverse.features(part, cut), cut) for part in images.split(BATCH)])


@torch.no_grad()
def judge(network: Network, images: Tensor, recreated: Tensor, gap: PerceptualGap | None) -> dict[str, Any]:
    """Return means over images, the standard error of the PSNR's mean, and the PSNR of each."""
    first, second = (x.permute(0, 2, 3, 1).cpu().numpy() for x in (images, recreated))
    decibels = psnr_db(first, second)
    said, says = (torch.cat([network(part).argmax(1) for part in x.split(BATCH)]) for x in (images, recreated))
    found: dict[str, Any] = {
        "psnr_db": float(decibels.mean()),
        "psnr_se": float(decibels.std(ddof=1) / np.sqrt(len(decibels))),
        "ssim": float(ssim(first, second).mean()),
        "agreement": float((said == says).float().mean()),
        "each": decibels.tolist(),
    }
    if gap is not None:
        found["gap"] = float(gap(images[:GAP_IMAGES], recreated[:GAP_IMAGES]).mean())
    return found


def per_depth(
    network: Network, inverse: Inverse, images: Tensor, gap: PerceptualGap | None, cuts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return `judge` for every cut."""
    return {cut: judge(network, images, recreate(inverse, images, cut), gap) for cut in cuts}


def compare_pairs(depths: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return, per other run and cut, the mean of ours minus theirs in decibels and its standard error, photo by photo.

    Takes the single photos' values out of `depths`.
    """
    each = {run: {cut: np.asarray(found.pop("each")) for cut, found in cuts.items()} for run, cuts in depths.items()}
    pairs: dict[str, dict[str, dict[str, float]]] = {}
    for run in depths:
        if run != "ours":
            gains = {cut: each["ours"][cut] - each[run][cut] for cut in each[run]}
            pairs[run] = {
                cut: {"db": float(gain.mean()), "se": float(gain.std(ddof=1) / np.sqrt(len(gain)))}
                for cut, gain in gains.items()
            }
    return pairs
