"""What the runs of several embedders say together: their tables → `joint.parquet` and `joint.json`.

A function of what lies in the run folder, so that anybody who has it can work it out again.  In memory is a row a
labelled photo of each embedder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes.atomic import write_json
from scanner import artefacts
from scanner.errors import CalibrationError
from scanner.evidence.joint import JointEvidence, agreement, weigh_jointly
from scanner.jobs.folders import sweep

JOINT_FORMAT: Final = "identity-leak-joint"
JOINT_VERSION: Final = 1
MATED_MIN: Final = 30
"""Fewest people with two photos from whom it is learnt how well each embedder knows a person again."""
_PHOTO_COLUMNS = ["side", "reference_uri", "item_id", "identity", "best_score", "mated_score"]
_ALONE_COLUMNS = ["identity", "best_score", "p_value", "q_value"]
Photo = tuple[str, str, int]
"""Identity, picture, and which of its faces: what a photo is called in the runs of all embedders."""


@dataclass(frozen=True, slots=True)
class _Side:
    """The photos of one side that all counted embedders saw.

    `scores` is (n, e) float32, `codes` (n,) int64 places in `names`, `mated` (j, e) scores of photos with another one of
    their person, for all embedders; `photos_left_out` were not seen by all.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    scores: NDArray[np.float32]
    mated: NDArray[np.float64]
    photos_left_out: int


def write_joint(out: Path, embedders: Sequence[Mapping[str, Any]], *, seed: int, level: float) -> dict[str, Any]:
    """Weigh the runs together; write `joint.parquet` and, last, `joint.json`, and return what stands there.

    Args:
        out: the run folder.
        embedders: of each its `embedder`, `fingerprint`, `folder` (below `out`), whether it is `counted`, and whether its
            `null_differs` from the candidates; all else is passed on.
        seed: draws the photo that stands for each null identity.
        level: false discovery rate at which identities are named.

    Raises:
        CalibrationError: no candidate photo, or too few null people, were seen by all counted embedders.
    """
    table, document = weigh_runs(out, embedders, seed=seed, level=level)
    sweep(out)  # what a job that was killed here, or after, has left
    artefacts.write_tables(out / "joint.parquet", table.schema, [table])
    write_json(out / "joint.json", document)
    return document


def weigh_runs(
    out: Path, embedders: Sequence[Mapping[str, Any]], *, seed: int, level: float
) -> tuple[pa.Table, dict[str, Any]]:
    """Work out the joint statement from the tables of the runs; arguments and errors as of `write_joint`."""
    counted = [place for place, one in enumerate(embedders) if one["counted"]]
    folders = [out / one["folder"] for one in embedders]
    candidates, null = (_side([folders[place] for place in counted], side) for side in ("candidate", "null"))
    if not candidates.names:
        raise CalibrationError(
            f"No candidate photo was seen by all {len(counted)} embedders of {out}, expected the same photos: build the "
            "indexes of each embedder from the same files, under the same names."
        )
    together = np.concatenate([candidates.mated, null.mated])
    mated = np.median(together, axis=0) if len(together) >= MATED_MIN else None
    found = weigh_jointly(candidates.scores, candidates.codes, null.scores, null.codes, mated=mated, seed=seed)
    alone = [_alone(folder) for folder in folders]
    columns: dict[str, Any] = {
        name: [[one.get(person, _UNSEEN)[part] for one in alone] for person in candidates.names]
        for part, name in enumerate(_ALONE_COLUMNS[1:])
    }
    own = np.array([[one.get(person, _UNSEEN)[2] for one in alone] for person in candidates.names], np.float64)
    agree = agreement(own[:, counted], level=level)  # a missing q-value is NaN, which is not below the level
    table = _table(candidates.names, found, columns, agree)
    named = found.q_bh <= level
    return table, {
        "format": JOINT_FORMAT,
        "format_version": JOINT_VERSION,
        "embedders": [
            {
                **one,
                "named_alone": int((own[:, place] <= level).sum()),
                "weight": round(float(found.weights[counted.index(place)]), 6) if place in counted else 0.0,
            }
            for place, one in enumerate(embedders)
        ],
        "level": level,
        "seed": seed,
        "identities": len(candidates.names),
        "null_identities": len(null.names),
        "photos_left_out": {"candidate": candidates.photos_left_out, "null": null.photos_left_out},
        "mated_pairs": len(together),
        "p_floor": 1.0 / (len(null.names) + 1),
        "tail_refused": found.tail.refused,
        "correlation": [[round(value, 6) for value in row] for row in found.correlation.tolist()],
        "named": int(named.sum()),
        "named_by": int((found.q_by <= level).sum()),
        "named_conformal": int((found.q_conformal <= level).sum()),
        "named_by_all_alone": int((named & (agree == len(counted))).sum()),
        "named_by_none_alone": int((named & (agree == 0)).sum()),
        "disagreement": {
            "named_jointly_not_by_all_alone": _some(candidates.names, named & (agree < len(counted))),
            "named_alone_not_jointly": _some(candidates.names, ~named & (agree > 0)),
        },
        "agreement": {str(n): int((agree == n).sum()) for n in range(len(counted) + 1)},
        "inconclusive": any(bool(embedders[place]["null_differs"]) for place in counted),
    }


_UNSEEN: Final = (None, None, None)
_NAMED_MAX: Final = 20


def _some(names: Sequence[str], chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how many are chosen, and the first of them; the whole list is in `joint.parquet`."""
    places = np.flatnonzero(chosen)
    return {"identities": len(places), "first": [names[place] for place in places[:_NAMED_MAX].tolist()]}


def _table(
    names: Sequence[str], found: JointEvidence, columns: Mapping[str, Any], agree: NDArray[np.int32]
) -> pa.Table:
    """Return the rows of `joint.parquet`, the most unusual identity first."""
    everything = {
        "identity": list(names),
        "photos": found.photos.astype(np.int32),
        **columns,
        "statistic": found.statistic,
        "p_conformal": found.p_conformal,
        "p_joint": found.p_value,
        "q_joint": found.q_bh,
        "q_by": found.q_by,
        "agreement": agree,
    }
    order = np.lexsort((np.arange(len(names)), -found.statistic, found.p_value))
    return artefacts.table_of(artefacts.stamped(artefacts.JOINT, "joint"), everything).take(pa.array(order))


def _side(folders: Sequence[Path], side: str) -> _Side:
    """Return the photos of one side that stand in all runs, in the order of their names."""
    seen = [_photos(folder, side) for folder in folders]
    everywhere = sorted(set.intersection(*(set(photos) for photos in seen)))
    names = sorted({identity for identity, _, _ in everywhere})
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place[identity] for identity, _, _ in everywhere], np.int64)
    values = np.array([[photos[photo] for photos in seen] for photo in everywhere], np.float64)
    values = values.reshape(len(everywhere), len(folders), 2)
    mated = values[..., 1][~np.isnan(values[..., 1]).any(axis=1)]
    left_out = len(set.union(*(set(photos) for photos in seen))) - len(everywhere)
    return _Side(tuple(names), codes, values[..., 0].astype(np.float32), mated, left_out)


def _photos(folder: Path, side: str) -> dict[Photo, tuple[float, float]]:
    """Return the best score of each labelled photo of a run, and its score with another photo of its person or NaN.

    A photo is named by its bytes, or by its uri where vectors came without pictures; several faces of one picture by
    their order in the index.
    """
    table = artefacts.read_table(folder / "photos.parquet", "photos", columns=_PHOTO_COLUMNS)
    table = table.filter(pc.equal(table["side"], side))
    found: dict[Photo, tuple[float, float]] = {}
    faces: dict[tuple[str, str], int] = {}
    columns = (table[name].to_pylist() for name in _PHOTO_COLUMNS[1:])
    for uri, item, identity, best, mated in zip(*columns, strict=True):
        key = (identity, item or uri)
        faces[key] = faces.get(key, -1) + 1
        found[(*key, faces[key])] = (best, np.nan if mated is None else mated)
    return found


def _alone(folder: Path) -> dict[str, tuple[float | None, float | None, float | None]]:
    """Return what a run alone says of each identity: best score, p and q; of its most unusual index."""
    table = artefacts.read_table(folder / "identities.parquet", "identities", columns=_ALONE_COLUMNS)
    found: dict[str, tuple[float | None, float | None, float | None]] = {}
    for identity, *values in zip(*(table[name].to_pylist() for name in _ALONE_COLUMNS), strict=True):
        found.setdefault(identity, (values[0], values[1], values[2]))  # the table begins with the most unusual
    return found
