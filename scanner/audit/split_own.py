"""What a defence costs: how well the split network still does its own work on the defended features."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.audit.split_open import Opened
from scanner.audit.split_photos import Photos
from scanner.embedders.base import unit_rows
from scanner.evidence.rates import Rate, clustered
from scanner.evidence.split import Judged


def own_accuracy(
    opened: Opened,
    photos: Photos,
    answers: NDArray[np.float32],
    predicted: NDArray[np.int64] | None,
    undefended: NDArray[np.float32],
) -> dict[str, Any]:
    """Return the network's own work in figures.

    Args:
        opened: the network and its classes.
        photos: labels and people.
        answers: (n, d) of the rest of the network, from defended features.
        predicted: (n,) class of each re-created picture; None where it is no classifier.
        undefended: (n, d) answers without a defence.

    Returns:
        For a classifier "agreement" (of the re-created picture's class with the original's), "kept" (share of photos
        whose class the defence leaves alone) and "accuracy" where labels are known; else "tar": of the network's own
        embeddings, photo against photo of a person, at the first FMR of the file, all of them defended.
    """
    if opened.network.classes is not None:
        told = undefended.argmax(1)
        out = {"kept": _rate(answers.argmax(1) == told, photos)}
        if predicted is not None:
            out["agreement"] = _rate(predicted == told, photos)
        truth = _truth(opened, photos)
        if truth is not None:
            out["accuracy"] = _rate(answers.argmax(1) == truth, photos)
        return out
    vectors = np.nan_to_num(unit_rows(answers), nan=0.0)
    seen = Judged(vectors, vectors, photos.person)
    if not seen.trials("type_2"):
        return {}
    return {"tar": asdict(seen.rate("type_2", fmr=opened.section.fmr[0], null="original"))}


def _rate(right: NDArray[np.bool_], photos: Photos) -> dict[str, float]:
    # A label is a class, not a person: with a classifier every photo is a trial of its own.
    del photos
    found: Rate = clustered(right.astype(np.float64), None)
    return {"value": found.value, "low": found.low, "high": found.high}


def _truth(opened: Opened, photos: Photos) -> NDArray[np.int64] | None:
    """Return the class number of every photo, or None where labels do not say it."""
    names = opened.section.class_names
    numbers = [
        names.index(label) if label in names else int(label) if not names and label and label.isdecimal() else -1
        for label in photos.labels
    ]
    truth = np.array(numbers, np.int64)
    return truth if bool((truth >= 0).all()) else None
