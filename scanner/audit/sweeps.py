"""The attack at other sizes: fewer samples, fewer or more photos an identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.audit.look import Input, Looked, look_all, look_through
from scanner.evidence.membership import join_photos, photo_scores
from scanner.evidence.neighbours import Neighbours
from scanner.evidence.roc import auc, tpr_at_fpr

SWEPT = ("best_match", "mean_of_k")
"""The scores that need nothing besides the samples, so that sizes are all that differs."""
PEOPLE_MIN = 10
"""A size at which fewer people of a side have enough photos is left out."""
FPR = 0.01


def over_samples(sizes: Sequence[int], given: Input, *, k: int, seed: int) -> list[dict[str, Any]]:
    """Attack with the first `size` of the samples in an order drawn once: a smaller size is part of a larger one."""
    samples = given.samples.vectors
    order = np.random.default_rng([seed, 0, len(samples)]).permutation(len(samples))
    points: list[dict[str, Any]] = []
    for size in sorted(set(sizes)):
        if size > len(samples):
            points.append(_missing(size, f"there are {len(samples)} samples"))
            continue
        near = look_all(given.people, np.ascontiguousarray(samples[np.sort(order[:size])]), k=k)
        points.append(_point(size, look_through(given.people.photos, given.people, near, None), k, seed))
    return points


def over_photos(
    sizes: Sequence[int], given: Input, near: tuple[Neighbours, Neighbours], *, k: int, seed: int
) -> list[dict[str, Any]]:
    """Attack with everybody who has `size` photos, seen through as many."""
    points: list[dict[str, Any]] = []
    for size in sorted(set(sizes)):
        people = [int((side.photos >= size).sum()) for side in (given.people.members, given.people.others)]
        if min(people) < PEOPLE_MIN:
            points.append(_missing(size, f"{people[0]} members and {people[1]} non-members have as many photos"))
            continue
        points.append(_point(size, look_through(size, given.people, near, None), k, seed))
    return points


def _point(size: int, looked: Looked, k: int, seed: int) -> dict[str, Any]:
    by_photo = photo_scores(looked.near, reference=None, null=None, k=k)
    scores = {name: join_photos(by_photo[name], looked.codes) for name in SWEPT}
    return {
        "size": size,
        "members": looked.members,
        "non_members": len(looked.names) - looked.members,
        "scores": {name: _rates(values, looked.is_member, seed) for name, values in scores.items()},
        "left_out": "",
    }


def _rates(values: NDArray[np.float64], is_member: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    members, others = values[is_member], values[~is_member]
    return {
        "auc": asdict(auc(members, others)),
        "tpr_1": asdict(tpr_at_fpr(members, others, fpr=FPR, seed=seed)),
    }


def _missing(size: int, why: str) -> dict[str, Any]:
    return {"size": size, "members": 0, "non_members": 0, "scores": {}, "left_out": why}
