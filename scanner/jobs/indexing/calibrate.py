"""What scores mean: thresholds at wanted error rates of pairs and of searches, from people whose identity is known."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexes import open_index
from scanner.errors import CalibrationError, EmbedderMismatch
from scanner.evidence.calibration import OperatingPoint, operating_point, point_at
from scanner.evidence.det import OneToMany, one_to_many
from scanner.evidence.one_to_many import RatePoint
from scanner.jobs.embedding.intake import take_in
from scanner.jobs.indexing.search_labelled import search_labelled
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress, Silent
from scanner.search import count_pairs

DEFAULT_FMRS = (1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Operating points of one embedder on one labelled set.

    `points` has one entry for each wanted rate that the set can support, in the order asked; `one_to_many` the
    identification rates, None where no FPIR was asked for.
    """

    fingerprint: str
    faces: int
    identities: int
    points: tuple[OperatingPoint, ...]
    skipped: tuple[str, ...] = ()
    one_to_many: OneToMany | None = None


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Vectors (n, d) float32 of one embedder and whose they are."""

    fingerprint: str
    vectors: NDArray[np.float32]
    identities: list[str | None]


def calibrate(
    on: str,
    *,
    fmrs: Sequence[float] = DEFAULT_FMRS,
    fpir: float | None = None,
    gallery_sizes: Sequence[int] = (),
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
        fpir: wanted false positive identification rate of a search; None leaves searches out.
        gallery_sizes: references that the rate is wanted for; default: powers of ten within the set, and the set's own.
            Those that the set cannot support become sentences in `one_to_many.skipped`.
        faces: how pictures become vectors.
        sources: how sources are read.
        seed: draws faces when there are more than the pair count can take, and everybody's gallery photo.
        progress: where to report.
        fingerprint: the embedder that the thresholds are for; another one is refused.
        skip_thin: leave out rates that the set is too small for, instead of raising.
        embedded_by: name of the embedder of ready embeddings that do not say it.

    Raises:
        CalibrationError: no identities, or too few pairs for a rate.
        EmbedderMismatch: the set was embedded by another embedder than `fingerprint`.
    """
    progress = progress or Silent()
    labelled = _labelled(on, faces, sources, progress, embedded_by, fingerprint)
    non_mated, mated, people = count_pairs(labelled.vectors, labelled.identities, seed=seed)
    points: list[OperatingPoint] = []
    skipped: list[str] = []
    for fmr in fmrs:
        try:
            points.append(operating_point(non_mated, mated, fmr=fmr))
        except CalibrationError as error:
            if not skip_thin:
                raise
            skipped.append(str(error))
    rates = None
    if fpir is not None:
        _check_sizes(gallery_sizes)
        searches, names = search_labelled(labelled.vectors, labelled.identities, seed=seed, progress=progress)
        rates = one_to_many(
            searches, fpir=fpir, gallery_sizes=sorted(set(gallery_sizes)) or usual_sizes(searches.gallery),
            operating_points=points, non_mated=non_mated, mated=mated, names=names,
        )  # fmt: skip
    return Calibration(labelled.fingerprint, len(labelled.vectors), people, tuple(points), tuple(skipped), rates)


def calibrate_at_fpir(
    on: str,
    *,
    fpir: float,
    gallery_size: int,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    fingerprint: str | None = None,
    embedded_by: str | None = None,
) -> tuple[OperatingPoint, RatePoint]:
    """Return the threshold whose searches of unrelated people go wrong at a wanted rate, for one gallery size.

    Args:
        on: an index folder whose references have identities, or labelled images or embeddings.
        fpir: wanted false positive identification rate, in (0, 1).
        gallery_size: references that will be searched.
        faces: how pictures become vectors.
        sources: how sources are read.
        seed: draws everybody's gallery photo, and faces when there are too many.
        progress: where to report.
        fingerprint: the embedder that the threshold is for; another one is refused.
        embedded_by: name of the embedder of ready embeddings that do not say it.

    Returns:
        What all pairs say of the threshold, and what searches say.

    Raises:
        CalibrationError: no identities, or too few searches for the rate at this size.
        EmbedderMismatch: see `calibrate`.
    """
    progress = progress or Silent()
    _check_sizes((gallery_size,))
    labelled = _labelled(on, faces, sources, progress, embedded_by, fingerprint)
    searches, _ = search_labelled(labelled.vectors, labelled.identities, seed=seed, progress=progress)
    point = searches.point(fpir, size=gallery_size)
    non_mated, mated, _ = count_pairs(labelled.vectors, labelled.identities, seed=seed)
    return point_at(non_mated, mated, threshold=point.threshold), point


def usual_sizes(gallery: int) -> list[int]:
    """Return the gallery sizes to show when none is named: powers of ten from 100 on, and the whole set's."""
    return [*(10**power for power in range(2, 9) if 10**power < gallery), gallery]


def _check_sizes(sizes: Sequence[int]) -> None:
    if any(size < 1 for size in sizes):
        raise CalibrationError(
            f"A gallery has at least one reference; got {min(sizes)}. Give --gallery-size a number above 0."
        )


def _labelled(
    on: str, faces: FaceOptions | None, sources: SourceOptions | None, progress: Progress, embedded_by: str | None,
    fingerprint: str | None,
) -> _Labelled:  # fmt: skip
    """Read or embed the set; refuse another embedder, and a set without labels."""
    if (Path(on) / "manifest.json").is_file():
        index = open_index(Path(on))
        references = index.references()
        vectors = references.gather(references.live_rows())
        labelled = _Labelled(index.fingerprint, vectors, index.column("identity").to_pylist())
    else:
        labelled = _embed(on, faces, sources, progress, embedded_by)
    if fingerprint is not None and labelled.fingerprint != fingerprint:
        raise EmbedderMismatch(
            f"The calibration set {on} was embedded with fingerprint {labelled.fingerprint}, the scan uses {fingerprint}. "
            "A threshold of one embedder means nothing for another: calibrate on pictures, or on an index of the same embedder."
        )
    if all(name is None for name in labelled.identities):
        raise CalibrationError(
            f"{on} has no identities, so nobody knows which pairs are the same person. Name labelled pictures, or build the "
            "index with labels: --identity-from folder takes the names of the sub-folders."
        )
    return labelled


def _embed(
    on: str, faces: FaceOptions | None, sources: SourceOptions | None, progress: Progress, embedded_by: str | None
) -> _Labelled:
    with tempfile.TemporaryDirectory(prefix="scanner-calibrate-") as folder:
        intake = take_in(
            [on], work=Path(folder) / "faces", sources=sources or SourceOptions(), faces=faces or FaceOptions(),
            progress=progress, plan={}, embedded_by=embedded_by,
        )  # fmt: skip
        tables = list(intake.faces())
        vectors = np.concatenate([vectors_of(table) for table in tables])
        identities = [name for table in tables for name in table["identity"].to_pylist()]
        return _Labelled(intake.fingerprint, vectors, identities)
