"""Measure what a recogniser and a detector take on one core: the rates of `scanner.costs.Networks`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scanner.costs import CANVAS_MIN_PX
from scanner.errors import ScannerError
from scanner.faces.align import ARCFACE_LANDMARKS_PX, align
from scanner.faces.copy_hash import crop_hash
from scanner.faces.detect import DetectedFaces
from scanner.faces.quality import sharpness
from scanner.jobs.measuring.bench_machine import DRAWN, seconds_of
from scanner.jobs.measuring.predict import detector_of
from scanner.jobs.measuring.profile import NetworkRates
from scanner.jobs.options import FaceOptions, OpenedRoad, open_road
from scanner.pipeline import EMBED_ROWS, Road
from scanner.progress import Progress


def measure_networks(options: FaceOptions, *, progress: Progress) -> list[NetworkRates]:
    """Measure the networks that `options` name, or what is installed, and the drawn world's.

    Each recogniser counts twice where it has a detector: with it, and alone for pictures that are aligned already.

    Raises:
        ModelError, UsageError: a network that the user named does not open.
    """
    rates = _measure(open_road(DRAWN))
    named = options.embedder is not None
    if named and options.detector is None and str(options.embedder).startswith(("onnx:", "drawn")):
        options = replace(options, faces="aligned")  # it brings no detector
    try:
        opened = open_road(options)
    except ScannerError as error:
        if named:
            raise
        progress.note(f"no recogniser of photos was measured: {str(error).splitlines()[0]}")
        return rates
    for note in opened.notes:
        progress.note(note)
    return [*rates, *(rate for rate in _measure(opened) if rate.fingerprint != rates[0].fingerprint)]


def _measure(opened: OpenedRoad) -> list[NetworkRates]:
    road = opened.road
    detector = detector_of(opened.description)
    alone = NetworkRates(
        embedder=road.embedder.name, fingerprint=road.embedder.fingerprint, detector=None, embed_ms=_embed_ms(road),
        detect_320_ms=None, align_ms=_align_ms(road),
    )  # fmt: skip
    if detector is None or not isinstance(road.finder, DetectedFaces):
        return [alone]
    return [alone, alone.model_copy(update={"detector": detector, "detect_320_ms": _detect_ms(road.finder)})]


def _embed_ms(road: Road) -> float:
    width, height = road.embedder.crop_size_px
    crops = np.random.default_rng(0).integers(0, 256, (EMBED_ROWS, height, width, 3), dtype=np.uint8)
    return _short_ms(seconds_of(lambda: road.embedder.embed(crops)) / EMBED_ROWS)


def _detect_ms(finder: DetectedFaces) -> float:
    pixels = np.full((CANVAS_MIN_PX, CANVAS_MIN_PX, 3), 127, np.uint8)
    look = finder.detector.look
    return _short_ms(seconds_of(lambda: look(pixels, canvas_px=CANVAS_MIN_PX, score_min=0.99)))


def _align_ms(road: Road) -> float:
    pixels = np.random.default_rng(1).integers(0, 256, (CANVAS_MIN_PX, CANVAS_MIN_PX, 3), dtype=np.uint8)
    side_px = road.embedder.crop_size_px[0]
    landmarks_px = (ARCFACE_LANDMARKS_PX * 2.0).astype(np.float32)

    def one() -> None:
        crop = align(pixels, landmarks_px, side_px=side_px)
        sharpness(crop)
        crop_hash(crop)

    return _short_ms(seconds_of(one))


def _short_ms(seconds: float) -> float:
    return float(f"{seconds * 1e3:.4g}")
