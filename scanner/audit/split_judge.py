"""Judges look at originals and at what was re-created of them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.audit.split_open import Judge, Opened
from scanner.audit.split_photos import Photos, resized
from scanner.errors import NothingScanned
from scanner.evidence.split import NULLS, TYPES, Judged, share_by_all
from scanner.jobs.options import cores

ALL = "all judges"
_ROWS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Originals:
    """What is known of the photos themselves.

    Attributes:
        vectors: of each judge, (n, d) float32 unit rows.
        answers: (n, d) float32, what the attacked network says of them.
        baselines: what every figure is read against.
    """

    vectors: Mapping[str, NDArray[np.float32]]
    answers: NDArray[np.float32]
    baselines: dict[str, Any]


def see_originals(opened: Opened, photos: Photos, work: Path) -> Originals:
    """Let judges and network look at the originals, once; vectors are kept in `work`.

    Raises:
        CalibrationError: too few pairs of different people for the false match rates of the file.
        NothingScanned: a judge cannot embed a photo.
    """
    import torch

    from scanner.networks.tensors import read_tensors, write_tensors

    path = work / "originals.safetensors"
    if not path.exists():
        found = {judge.name: torch.from_numpy(embed(judge, photos.crops_rgb_u8)) for judge in opened.judges}
        pixels = resized(photos.crops_rgb_u8, opened.size_px)
        found["the network's own answers"] = _answers(opened, pixels)
        write_tensors(path, found, private=True)
    stored = {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
    vectors = {judge.name: stored[judge.name] for judge in opened.judges}
    for name, seen in vectors.items():
        bad = int((~np.isfinite(seen).all(axis=1)).sum())
        if bad:
            raise NothingScanned(
                f"The judge {name} cannot embed {bad} of {len(seen)} photos: its answer is zero or not finite. Check its JSON "
                "(mean, scale, input_size), or name another judge."
            )
    return Originals(vectors, stored["the network's own answers"], _baselines(opened, photos, vectors))


def embed(judge: Judge, pictures_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a judge's vectors, (n, d) float32 unit rows; NaN rows where it could not embed."""
    crops = resized(pictures_rgb_u8, judge.embedder.crop_size_px)
    parts = [crops[first : first + _ROWS] for first in range(0, len(crops), _ROWS)]
    with ThreadPoolExecutor(cores()) as pool:  # one thread a call, many calls at once
        return np.concatenate(list(pool.map(judge.embedder.embed, parts)))


def judge_unit(
    opened: Opened, photos: Photos, originals: Originals, pictures_rgb_u8: NDArray[np.uint8]
) -> list[dict[str, Any]]:
    """Return one entry a judge and FMR, and one for all judges together where there are several.

    An entry has the rates of both types at both nulls' thresholds; "headline" names the stricter null, "chance" is the
    share of re-created photos of other people that reach the originals' threshold.
    """
    entries: list[dict[str, Any]] = []
    judged = {
        judge.name: Judged(embed(judge, pictures_rgb_u8), originals.vectors[judge.name], photos.person)
        for judge in opened.judges
    }
    for fmr in opened.section.fmr:
        strict = {name: seen.strict(fmr) for name, seen in judged.items()}
        entries += [
            {"judge": name, "fmr": fmr, "headline": strict[name], **_rates(seen, fmr, *_levels(opened))}
            for name, seen in judged.items()
        ]
        if len(judged) > 1:
            hits = [seen.hits("type_1", seen.threshold(fmr, strict[name])) for name, seen in judged.items()]
            agree = float((np.logical_and.reduce(hits) | ~np.logical_or.reduce(hits)).mean())
            shared = plain_rate(share_by_all(hits, photos.person))
            entries.append({"judge": ALL, "fmr": fmr, "rates": {"type_1": shared}, "agreement": agree})
    return entries


def _levels(opened: Opened) -> tuple[float, float]:
    """Return the levels of intervals whose lower ends hold together, and whose upper ends hold each, as the gate wants."""
    error = 1.0 - opened.section.confidence
    cuts = opened.section.gate_cuts or opened.cuts
    together = len(cuts) * len(opened.judges) * len(TYPES)
    return 1.0 - 2.0 * error / together, 1.0 - 2.0 * error


def _rates(seen: Judged, fmr: float, together: float, alone: float) -> dict[str, Any]:
    """Return rates and the gate's one-sided bounds by type and null."""
    matches = [match for match in TYPES if seen.trials(match)]
    rates = {match: {null: asdict(seen.rate(match, fmr=fmr, null=null)) for null in NULLS} for match in matches}
    bounds = {
        match: {
            null: {
                "low": seen.rate(match, fmr=fmr, null=null, level=together).low,
                "high": seen.rate(match, fmr=fmr, null=null, level=alone).high,
            }
            for null in NULLS
        }
        for match in matches
    }
    return {
        "rates": rates,
        "bounds": bounds,
        "chance": seen.false_matches(seen.threshold(fmr, "original"), "recreated"),
    }


def _baselines(opened: Opened, photos: Photos, vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Return what originals reach (the most that can be), and what one face for everybody reaches (the least)."""
    mean = np.round(photos.crops_rgb_u8.astype(np.float64).mean(0)).astype(np.uint8)[None]
    rows = []
    for judge in opened.judges:
        own = vectors[judge.name]
        seen = Judged(own, own, photos.person)
        one = np.nan_to_num(own @ embed(judge, mean)[0], nan=-1.0)
        for fmr in opened.section.fmr:
            cut = seen.threshold(fmr, "original")
            reach = share_by_all([one >= cut], photos.person)
            rows.append({
                "judge": judge.name, "fmr": fmr, "threshold": cut,
                "original": asdict(seen.rate("type_2", fmr=fmr, null="original")) if seen.trials("type_2") else None,
                "mean_image": {"value": reach.value, "low": reach.low, "high": reach.high},
            })  # fmt: skip
    return {"judges": rows}


def plain_rate(rate: Any) -> dict[str, Any]:
    """Return a rate without the threshold that it does not have."""
    return {key: getattr(rate, key) for key in ("value", "low", "high", "trials", "people")}


def _answers(opened: Opened, own: NDArray[np.uint8]) -> Any:
    import torch

    parts = []
    with torch.no_grad():
        for first in range(0, len(own), 2 * _ROWS):
            pixels = torch.from_numpy(np.ascontiguousarray(own[first : first + 2 * _ROWS]))
            images = pixels.permute(0, 3, 1, 2).float().div(255.0).to(opened.device)
            parts.append(opened.network(images).flatten(1).float().cpu())
    return torch.cat(parts)
