"""How close counts as a match: given by hand, or calibrated at a wanted false match or false identification rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from scanner.decision import Threshold
from scanner.jobs.indexing.calibrate import calibrate, calibrate_at_fpir
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.scanning.options import ScanOptions
from scanner.progress import Progress
from scanner.search import Gallery


def choose_threshold(
    options: ScanOptions, galleries: Sequence[Gallery], faces: FaceOptions, sources: SourceOptions, progress: Progress
) -> Threshold:
    """Return the threshold that `options` ask for.

    Raises:
        CalibrationError: the calibration set cannot support the rate.
    """
    if options.threshold is not None:
        return Threshold(options.threshold)
    assert options.calibrate_on is not None
    fingerprint = galleries[0].index.fingerprint
    if options.fpir is not None:
        point, rate = calibrate_at_fpir(
            options.calibrate_on, fpir=options.fpir, gallery_size=gallery_size(galleries), faces=faces, sources=sources,
            seed=options.seed, progress=progress, fingerprint=fingerprint, embedded_by=options.embedded_by,
        )  # fmt: skip
        return Threshold(point.threshold, "calibrated", point, options.calibrate_on, asdict(rate))
    assert options.fmr is not None
    found = calibrate(
        options.calibrate_on, fmrs=(options.fmr,), faces=faces, sources=sources, seed=options.seed, progress=progress,
        fingerprint=fingerprint, embedded_by=options.embedded_by,
    )  # fmt: skip
    point = found.points[0]
    if point.is_thin:
        progress.note(
            f"the threshold rests on {point.false_matches} false matches among {point.non_mated_pairs} pairs; "
            "30 or more make the rate good to about 30 %"
        )
    return Threshold(point.threshold, "calibrated", point, options.calibrate_on)


def gallery_size(galleries: Sequence[Gallery]) -> int:
    """Return how many references are searched.

    Several photos of a person are more chances than one, though fewer than as many people: counting references errs on
    the side of a higher threshold.
    """
    return sum(gallery.index.rows for gallery in galleries)
