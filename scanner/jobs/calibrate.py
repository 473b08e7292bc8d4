"""What scores mean: thresholds at wanted false match rates, from people whose identity is known."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexes import open_index
from scanner.errors import CalibrationError, EmbedderMismatch
from scanner.evidence.calibration import OperatingPoint, operating_point
from scanner.jobs.intake import take_in
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress, Silent
from scanner.search import count_pairs

DEFAULT_FMRS = (1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Operating points of one embedder on one labelled set.

    `points` has one entry for each wanted rate that the set can support, in the order asked.
    """

    fingerprint: str
    faces: int
    identities: int
    points: tuple[OperatingPoint, ...]
    skipped: tuple[str, ...] = ()


def calibrate(
    on: str,
    *,
    fmrs: Sequence[float] = DEFAULT_FMRS,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    fingerprint: str | None = None,
    skip_thin: bool = False,
    embedded_by: str | None = None,
) -> Calibration:
    """Compare all pairs of a labelled set and return the threshold at each false match rate.

    Args:
        on: an index folder whose references have identities, or labelled images or embeddings.
        fmrs: wanted false match rates.
        faces: how pictures become vectors.
        sources: how sources are read.
        seed: draws faces when there are more than the pair count can take.
        progress: where to report.
        fingerprint: the embedder that the thresholds are for; another one is refused.
        skip_thin: leave out rates that the set is too small for, instead of raising.
        embedded_by: name of the embedder of ready embeddings that do not say it.

    Raises:
        CalibrationError: no identities, or too few pairs for a rate.
        EmbedderMismatch: the set was embedded by another embedder than `fingerprint`.
    """
    progress = progress or Silent()
    if (Path(on) / "manifest.json").is_file():
        index = open_index(Path(on))
        references = index.references()
        made_by = index.fingerprint
        vectors = references.gather(references.live_rows())
        identities = index.column("identity").to_pylist()
    else:
        made_by, vectors, identities = _embed(on, faces, sources, progress, embedded_by)
    if fingerprint is not None and made_by != fingerprint:
        raise EmbedderMismatch(
            f"The calibration set {on} was embedded with fingerprint {made_by}, the scan uses {fingerprint}. "
            "A threshold of one embedder means nothing for another: calibrate on pictures, or on an index of the same embedder."
        )
    if sum(name is not None for name in identities) == 0:
        raise CalibrationError(
            f"{on} has no identities, so nobody knows which pairs are the same person. Name labelled pictures "
            "(see --identity-from), or an index built from such."
        )
    non_mated, mated, people = count_pairs(vectors, identities, seed=seed)
    points: list[OperatingPoint] = []
    skipped: list[str] = []
    for fmr in fmrs:
        try:
            points.append(operating_point(non_mated, mated, fmr=fmr))
        except CalibrationError as error:
            if not skip_thin:
                raise
            skipped.append(str(error))
    return Calibration(made_by, len(vectors), people, tuple(points), tuple(skipped))


def _embed(
    on: str, faces: FaceOptions | None, sources: SourceOptions | None, progress: Progress, embedded_by: str | None
) -> tuple[str, NDArray[np.float32], list[str | None]]:
    with tempfile.TemporaryDirectory(prefix="scanner-calibrate-") as folder:
        intake = take_in(
            [on], work=Path(folder) / "faces", sources=sources or SourceOptions(), faces=faces or FaceOptions(),
            progress=progress, plan={}, embedded_by=embedded_by,
        )  # fmt: skip
        tables = list(intake.faces())
        vectors = np.concatenate([vectors_of(table) for table in tables])
        identities = [name for table in tables for name in table["identity"].to_pylist()]
        return intake.fingerprint, vectors, identities
