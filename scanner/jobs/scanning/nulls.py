"""The people known not to be in training: opened, checked, and cut to the size of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.guards import FOLDS
from scanner.evidence.identities import check_null_size
from scanner.search import Gallery, check_fingerprint, open_galleries

MATCHED_MAX = 200_000
"""Most photos of each side in the size-matched comparison; they are in memory, 4 x dim bytes each."""


def open_nulls(paths: Sequence[str], galleries: Sequence[Gallery], *, memory_bytes: int, engine: str) -> list[Gallery]:
    """Open the null indexes, and say before any long work why they could not be the null of these candidates.

    Raises:
        EmbedderMismatch: made by another embedder.
        CalibrationError: candidates or null have no or too few identities, or share some.
    """
    nulls = open_galleries([Path(path) for path in paths], memory_bytes=memory_bytes, engine=engine)
    if not nulls:
        return []
    for null in nulls:
        check_fingerprint(null.index, galleries[0].index.fingerprint, what="the candidates' embedder")
    names, null_names = _names(galleries), _names(nulls)
    if not names or not null_names:
        which = "candidate indexes have" if not names else "null has"
        raise CalibrationError(f"The {which} no identities, so no p-value can be given. Build with --identity-from.")
    both = sorted(names & null_names)
    if both:
        raise CalibrationError(
            f"{len(both)} identities are in the candidates and in the null ({', '.join(both[:3])}): the null must be people "
            "known not to be in training. Name another null, or remove them from it."
        )
    same = _items(galleries) & _items(nulls)
    if same:
        raise CalibrationError(
            f"{len(same)} pictures are, byte for byte, in the candidates and in the null, under other labels: the null must be "
            "other people. Name another null, or leave these out of it."
        )
    if len(names) < 2 * FOLDS:
        raise CalibrationError(
            f"The candidates have {len(names)} identities; at least {2 * FOLDS} are needed to see whether they are pictures "
            "like those of the null. Add people of the same data set whose membership is in question."
        )
    check_null_size(len(null_names))
    return nulls


def _names(galleries: Sequence[Gallery]) -> set[str]:
    return {name for gallery in galleries for name in gallery.index.column("identity").to_pylist() if name is not None}


def _items(galleries: Sequence[Gallery]) -> set[str]:
    return {item for gallery in galleries for item in gallery.index.column("item_id").to_pylist() if item}


@dataclass(frozen=True, slots=True)
class Matched:
    """As many photos of as many people on one side as on the other.

    `vectors` is (n, dim) float32, `identity` has the n labels, (index, identity) each.
    """

    vectors: NDArray[np.float32]
    identity: tuple[tuple[str, str], ...]


def match_sizes(galleries: Sequence[Gallery], nulls: Sequence[Gallery], *, seed: int) -> tuple[Matched, Matched]:
    """Cut candidates and null to equal size, person by person.

    A larger gallery has a better best match by chance alone, and so has one with more people in as many photos.  So
    equally many identities are drawn on both sides, those with most photos are paired with those with most photos, and
    of each pair the smaller number of photos is kept, drawn by lot.
    """
    sides = [_photos_by_identity(side) for side in (galleries, nulls)]
    people = min(len(side) for side in sides)
    chosen = []
    for number, side in enumerate(sides):
        rng = np.random.default_rng([seed, number, 0x517E])
        names = sorted(side)
        drawn = [names[i] for i in rng.permutation(len(names))[:people].tolist()]
        chosen.append(sorted(drawn, key=lambda name, of=side: (-len(of[name]), name)))  # type: ignore[misc]
    kept: list[list[tuple[tuple[str, str], list[tuple[int, int]]]]] = [[], []]
    total, lot = 0, np.random.default_rng([seed, 0x107])
    for left, right in zip(*chosen, strict=True):
        photos = min(len(sides[0][left]), len(sides[1][right]))
        if total and total + photos > MATCHED_MAX:
            break
        total += photos
        kept[0].append((left, _some(sides[0][left], photos, lot)))
        kept[1].append((right, _some(sides[1][right], photos, lot)))
    return _gather(galleries, kept[0]), _gather(nulls, kept[1])


def _photos_by_identity(galleries: Sequence[Gallery]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Return for each identity its photos, as (gallery, place among the live references)."""
    photos: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for number, gallery in enumerate(galleries):
        for place, name in enumerate(gallery.index.column("identity").to_pylist()):
            if name is not None:
                photos.setdefault((gallery.name, name), []).append((number, place))
    return photos


def _some(photos: list[tuple[int, int]], number: int, lot: np.random.Generator) -> list[tuple[int, int]]:
    """Return so many of the photos, drawn by lot, in order."""
    if number == len(photos):
        return photos
    return [photos[i] for i in np.sort(lot.permutation(len(photos))[:number]).tolist()]


def _gather(galleries: Sequence[Gallery], kept: Sequence[tuple[tuple[str, str], list[tuple[int, int]]]]) -> Matched:
    labels = tuple(name for name, photos in kept for _ in photos)
    places = np.array([photo for _, photos in kept for photo in photos], np.int64).reshape(-1, 2)
    vectors = np.empty((len(places), galleries[0].index.dim), np.float32)
    for number, gallery in enumerate(galleries):
        mine = np.flatnonzero(places[:, 0] == number)
        references = gallery.index.references()
        vectors[mine] = references.gather(references.live_rows()[places[mine, 1]])
    return Matched(vectors, labels)
