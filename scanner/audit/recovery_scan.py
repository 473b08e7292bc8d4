"""Do re-created photos show the person?  Asked of the person's other photos, for members and for non-members alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner.audit.sources import Faces
from scanner.errors import CalibrationError, NothingScanned
from scanner.evidence.calibration import operating_point, proportion_interval
from scanner.evidence.clusters import cluster_bootstrap
from scanner.evidence.membership import join_photos
from scanner.evidence.roc import auc
from scanner.jobs.embedding.intake import take_in
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress
from scanner.search import count_pairs

FMRS = (1e-3, 1e-2)
"""A reconstruction shows its person from the score that this share of strangers' pairs reaches; the first that the
non-members' photos can support is taken."""
PEOPLE_MIN = 5


def scan_recovered(
    tars: Sequence[str],
    sides: Mapping[str, tuple[str, bool]],
    *,
    members: Faces,
    others: Faces,
    training: Faces | None,
    faces: FaceOptions,
    work: Path,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Embed reconstructions, and look for their people among photos that were not inverted.

    Args:
        tars: reconstructions, each named by the hash of the photo that it stands for.
        sides: person, and whether a member, by that hash.
        members: labelled photos of members.
        others: labelled photos of non-members.
        training: training photos, which are no other photos of anybody; None where they are not known.
        faces: how pictures become vectors.
        work: folder of finished shards.
        seed: of the intervals.
        progress: where to report.

    Returns:
        Share of reconstructions that reach their own person's other photos, and share that is closer to them than to
        anybody else's, by side; or why nothing can be said.
    """
    try:
        intake = take_in(
            list(tars), work=work, sources=SourceOptions(), faces=faces, progress=progress, plan={}, resume=True
        )
        tables = list(intake.faces())
        cut, fmr = _cut(others)
    except (NothingScanned, CalibrationError) as error:
        return {"unknown": str(error)}
    vectors = np.concatenate([vectors_of(table) for table in tables])
    uris = pa.concat_tables([table.select(["uri"]) for table in tables])["uri"].to_pylist()
    keys = [Path(uri).name.partition(".")[0] for uri in uris]
    rows = [row for row, key in enumerate(keys) if key in sides]
    gallery = _gallery(members, others, training)
    own, rest = own_and_rest(vectors[rows], [keys[row] for row in rows], sides, *gallery)
    seen = np.isfinite(own)
    people = [sides[keys[row]] for row, has_own in zip(rows, seen, strict=True) if has_own]
    names = sorted({(not member, person) for person, member in people})
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place[(not member, person)] for person, member in people], np.int64)
    is_member = np.array([not is_other for is_other, _ in names], np.bool_)
    if min(int(is_member.sum()), int((~is_member).sum())) < PEOPLE_MIN:
        return {
            "unknown": f"of {int(is_member.sum())} members and {int((~is_member).sum())} non-members a face was found in what was "
            f"re-created and another photo is there to compare with; at least {PEOPLE_MIN} of each are needed"
        }
    reach, first = own[seen] >= cut, own[seen] > rest[seen]
    joined = join_photos(own[seen], codes)
    return {
        "unknown": "",
        "cut": cut,
        "fmr": fmr,
        "gallery": len(set(gallery[1])),
        "without_face": len(sides) - len(rows),
        "members": _side(reach, first, codes, is_member[codes], seed),
        "non_members": _side(reach, first, codes, ~is_member[codes], seed),
        "auc": auc(joined[is_member], joined[~is_member]),
    }


def own_and_rest(
    vectors: NDArray[np.float32],
    keys: Sequence[str],
    sides: Mapping[str, tuple[str, bool]],
    gallery: NDArray[np.float32],
    people: Sequence[str],
    items: Sequence[str | None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n,) the best score with the own person's other photos, -inf without one, and that with anybody else's.

    Args:
        vectors: (n, d) of reconstructions.
        keys: hash of the photo that each stands for; that photo is not looked at.
        sides: person by hash.
        gallery: (m, d) labelled photos.
        people: their people.
        items: their hashes.
    """
    scores = vectors.astype(np.float64) @ gallery.T.astype(np.float64)
    owner, item = np.array(people, object), np.array(items, object)
    is_own = np.array([owner == sides[key][0] for key in keys], np.bool_)
    is_self = np.array([item == key for key in keys], np.bool_)
    own = np.where(is_own & ~is_self, scores, -np.inf).max(axis=1)
    rest = np.where(~is_own, scores, -np.inf).max(axis=1)
    return own, rest


def _gallery(
    members: Faces, others: Faces, training: Faces | None
) -> tuple[NDArray[np.float32], list[str], list[str | None]]:
    banned = set() if training is None else {mark for marks in training.marks for mark in marks}
    rows: list[NDArray[np.float32]] = []
    people: list[str] = []
    items: list[str | None] = []
    for faces in (members, others):
        for vector, person, marks in zip(faces.vectors, faces.identities, faces.marks, strict=True):
            if person is not None and banned.isdisjoint(marks):
                rows.append(vector)
                people.append(person)
                items.append(next((mark.split(" ")[1] for mark in marks if mark.startswith("item ")), None))
    return np.stack(rows), people, items


def _cut(others: Faces) -> tuple[float, float]:
    """Return the score that strangers among the non-members reach at one of `FMRS`, and which."""
    labelled = [row for row, person in enumerate(others.identities) if person is not None]
    names = [str(others.identities[row]) for row in labelled]
    non_mated, mated, _ = count_pairs(others.vectors[labelled], names, seed=0)
    for fmr in FMRS[:-1]:
        try:
            return operating_point(non_mated, mated, fmr=fmr).threshold, fmr
        except CalibrationError:
            continue
    return operating_point(non_mated, mated, fmr=FMRS[-1]).threshold, FMRS[-1]


def _side(
    reach: NDArray[np.bool_], first: NDArray[np.bool_], codes: NDArray[np.int64], rows: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    rates = {"reaching": _rate(reach[rows], codes[rows], seed), "first": _rate(first[rows], codes[rows], seed)}
    return {"photos": int(rows.sum()), "people": len(np.unique(codes[rows])), **rates}


def _rate(hits: NDArray[np.bool_], codes: NDArray[np.int64], seed: int) -> dict[str, float]:
    """Return a share of photos with its interval over people; one photo a person where all or none are hit."""
    value = float(hits.mean())
    if value in {0.0, 1.0}:
        low, high = proportion_interval(int(value) * len(np.unique(codes)), len(np.unique(codes)))
    else:
        low, high = cluster_bootstrap(hits, codes, seed=seed)
    return {"value": value, "low": min(low, value), "high": max(high, value)}
