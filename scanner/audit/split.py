"""The split audit: what a stranger re-creates from the features at each cut of a network, and whether it shows the person.

    photos ──► crops ──► network up to the cut ──► defence ──► inverse ──► pictures ──► judges that the attack never saw
                                                      └──► rest of the network: what the defence costs

The expensive part is a unit: one cut under one defence.  Finished units lie in the audit's work folder, so a killed audit
goes on with the next one, to the same bytes.  Only a trained inverse attacks: one that had been retrained on defended
features would see more, so what a defence buys here is an upper bound.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexes.atomic import write_json
from scanner import artefacts
from scanner.audit.results import plain
from scanner.audit.split_defence import Defence, Spread, defences_of, defend, spread_of
from scanner.audit.split_judge import Originals, judge_unit, see_originals
from scanner.audit.split_open import Opened
from scanner.audit.split_own import own_accuracy
from scanner.audit.split_photos import Photos, describe, read_photos, resized
from scanner.audit.split_results import conclude
from scanner.evidence.image_quality import WINDOW, psnr_db, ssim
from scanner.images import encode_png
from scanner.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 32
PICTURE_PX = 112


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """What came out of one unit: pictures (n, h, w, 3) uint8 and the network's own answers, (n, d) float32.

    `not_finite` counts pictures that the inverse could not make; their bad pixels are grey, and they count as all others.
    """

    pictures_rgb_u8: NDArray[np.uint8]
    gap: NDArray[np.float32] | None
    answers: NDArray[np.float32]
    predicted: NDArray[np.int64] | None
    not_finite: int


def split_audit(
    opened: Opened, work: Path, *, seed: int, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Carry out a split audit.

    Args:
        opened: network, inverse, judges, photos.
        work: folder for finished parts; made if it is not there.
        seed: draws photos, noise and channels.
        progress: where to report.

    Returns:
        The section "split" of `audit.json`, and the rows of `split.parquet`.

    Raises:
        CalibrationError: too few photos for the false match rates of the file.
        NothingScanned: no usable photo.
    """
    artefacts.make_private_folder(work)
    photos = read_photos(opened, work, seed=seed, progress=progress)
    originals = see_originals(opened, photos, work)
    own = resized(photos.crops_rgb_u8, opened.size_px)
    defences = defences_of(opened.section)
    units = [(place, cut, defence) for place, cut in enumerate(opened.cuts) for defence in defences]
    done = sum((work / f"{number:04d}.json").exists() for number in range(len(units)))
    progress.stage("split", total=len(units), unit="cuts and defences", done=done)
    spread: dict[str, Spread] = {}
    found: list[dict[str, Any]] = []
    for number, (place, cut, defence) in enumerate(units):
        path = work / f"{number:04d}.json"
        if not path.exists():
            if cut not in spread:
                spread = {cut: spread_of(_features(opened, own, cut))}
            made = _recreate(opened, own, place, defence, spread[cut], seed)
            unit = _measure(opened, photos, originals, own, made, place, defence)
            write_json(path, plain(unit))
            progress.advance(1)
        found.append(artefacts.read_json(path))
    return conclude(
        opened, photos=describe(photos), baselines=originals.baselines, units=found, originals=_originals(opened, own)
    )


def _batches(own: NDArray[np.uint8], opened: Opened) -> Iterator[tuple[int, Tensor]]:
    """Yield images01 in fixed batches, each with the number of its first photo."""
    import torch

    for first in range(0, len(own), BATCH):
        pixels = torch.from_numpy(np.ascontiguousarray(own[first : first + BATCH]))
        yield first, pixels.permute(0, 3, 1, 2).float().div(255.0).to(opened.device)


def _features(opened: Opened, own: NDArray[np.uint8], cut: str) -> Iterator[Tensor]:
    for _, images in _batches(own, opened):
        yield opened.inverse.features(images, cut)


def _recreate(opened: Opened, own: NDArray[np.uint8], place: int, defence: Defence, spread: Spread, seed: int) -> _Made:
    """Send every photo to the cut, defend, and go both ways: back to a picture, on to the network's answer."""
    import torch

    from scanner.networks.cut import cut as cut_network

    name = opened.cuts[place]
    rest = [block.module for block in cut_network(opened.network, [name]) if block.name != name]
    shield = defend(defence, spread, seed=seed, cut=place)
    pictures, gaps, answers, predicted, not_finite = [], [], [], [], 0
    with torch.no_grad():
        for first, images in _batches(own, opened):
            features = shield(opened.inverse.features(images, name), first)
            back = opened.inverse.inputs(features, name)
            not_finite += int((~back.isfinite()).flatten(1).any(1).sum())
            back = back.nan_to_num(0.5).clamp(0.0, 1.0)
            pictures.append((back * 255.0).round().byte().permute(0, 2, 3, 1).cpu().numpy())
            for module in rest:
                features = module(features)
            answers.append(features.flatten(1).float().cpu().numpy())
            if opened.network.classes is not None:
                predicted.append(opened.network(back).argmax(1).cpu().numpy())
            if opened.gap is not None:
                gaps.append(opened.gap(images, back).cpu().numpy())
    return _Made(
        np.concatenate(pictures), np.concatenate(gaps) if gaps else None, np.concatenate(answers),
        np.concatenate(predicted) if predicted else None, not_finite,
    )  # fmt: skip


def _measure(
    opened: Opened,
    photos: Photos,
    originals: Originals,
    own: NDArray[np.uint8],
    made: _Made,
    place: int,
    defence: Defence,
) -> dict[str, Any]:
    """Return everything that is said of one unit."""
    shown = made.pictures_rgb_u8
    quality: dict[str, Any] = {"psnr_db": psnr_db(own, shown)}
    if min(own.shape[1:3]) >= WINDOW:
        quality["ssim"] = ssim(own, shown)
    if made.gap is not None:
        quality["gap"] = made.gap
    unit: dict[str, Any] = {
        "cut": opened.cuts[place],
        "layers": opened.layers[place],
        "numbers": int(np.prod(opened.inverse.shape(opened.cuts[place]))),
        "defence": asdict(defence),
        "not_finite": made.not_finite,
        "quality": {name: _spread(values) for name, values in quality.items()},
        "own": own_accuracy(opened, photos, made.answers, made.predicted, originals.answers),
        "judges": judge_unit(opened, photos, originals, shown),
    }
    if opened.section.pictures and defence.kind == "none":
        unit["pictures"] = [_png(picture) for picture in shown[_rows(opened, len(shown))]]
    return unit


def _originals(opened: Opened, own: NDArray[np.uint8]) -> list[str]:
    """Return the photos of the picture rows, where they were asked for."""
    return [_png(picture) for picture in own[_rows(opened, len(own))]] if opened.section.pictures else []


def _rows(opened: Opened, photos: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, photos - 1, opened.section.picture_rows).astype(np.int64))


def _spread(values: NDArray[np.floating]) -> dict[str, float]:
    """Mean, and the tenth and ninetieth percentile over photos."""
    low, high = np.quantile(values, [0.1, 0.9])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def _png(picture_rgb_u8: NDArray[np.uint8]) -> str:
    height, width = picture_rgb_u8.shape[:2]
    shrink = min(1.0, PICTURE_PX / max(height, width))
    small = resized(picture_rgb_u8[None], (round(width * shrink), round(height * shrink)))[0]
    return base64.b64encode(encode_png(small)).decode()
