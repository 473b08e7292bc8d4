"""Pairs of one index's references → groups that hang together by pairs: numbers a group, no names.

Single-link: one pair joins two groups, so a row of look-alikes chains people together who have nothing in common. Each
group's lowest score and its share of the possible pairs show where that happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexes import Components
from indexes.self_join import Pairs


class Kind(Enum):
    """What two labels say of a pair."""

    WITHIN = "within"
    BETWEEN = "between"
    UNLABELLED = "unlabelled"


KINDS = tuple(Kind)
MEMBERS_TOGETHER = 65_536


@dataclass(frozen=True, slots=True)
class Labelled:
    """The references of an index that are not erased.

    Attributes:
        ids: (n,) int64, strictly ascending.
        identities: (n,) int32, equal numbers for equal labels, -1 without one.
    """

    ids: NDArray[np.int64]
    identities: NDArray[np.int32]

    def kinds(self, pairs: Pairs) -> NDArray[np.int8]:
        """Return the place in `KINDS` of each pair: (p,)."""
        one, other = (self.identities[np.searchsorted(self.ids, ids)] for ids in (pairs.id, pairs.other_id))
        known = (one >= 0) & (other >= 0)
        places = np.where(known, np.where(one == other, 0, 1), 2)
        return places.astype(np.int8)

    def pairs_between(self) -> int:
        """Return how many pairs are not known to be of one identity."""
        n = len(self.ids)
        of_one = np.bincount(self.identities[self.identities >= 0]).astype(np.int64)
        return n * (n - 1) // 2 - int((of_one * (of_one - 1) // 2).sum())


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups of two or more references.

    Attributes:
        of: (n,) int64, of every reference the lowest id in its group; its own where it is alone.
        ids: (g,) int64, ascending: the groups, each named by its lowest id.
        references: (g,) int64, at least 2.
        identities: (g,) int64, different labels; references without one do not count.
        pairs: (g,) int64, found.
        lowest_score: (g,) float32, of these pairs.
    """

    of: NDArray[np.int64]
    ids: NDArray[np.int64]
    references: NDArray[np.int64]
    identities: NDArray[np.int64]
    pairs: NDArray[np.int64]
    lowest_score: NDArray[np.float32]

    def density(self) -> NDArray[np.float64]:
        """Return the found share of the pairs that each group could have: (g,), in (0, 1]."""
        return self.pairs / (self.references * (self.references - 1) / 2)

    def summary(self) -> dict[str, Any]:
        """Return what the groups add up to."""
        sizes, counts = np.unique(self.references, return_counts=True)
        return {
            "groups": len(self.ids),
            "groups_of_one_identity": int((self.identities == 1).sum()),
            "groups_of_several_identities": int((self.identities > 1).sum()),
            "groups_unlabelled": int((self.identities == 0).sum()),
            "references_in_groups": int(self.references.sum()),
            "references_alone": len(self.of) - int(self.references.sum()),
            "group_sizes": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
        }


def find_groups(labelled: Labelled, parts: Iterable[Pairs], again: Iterable[Pairs]) -> Groups:
    """Join what pairs hold together.

    Args:
        labelled: the references; memory is some 100 bytes for each, whatever the number of pairs.
        parts: all pairs, in blocks, in any order.
        again: the same pairs once more: what a group holds is counted when the groups are known.
    """
    components = Components(labelled.ids)
    for pairs in parts:
        components.add(pairs.id, pairs.other_id)
    of = components.labels()
    ids, place, references = np.unique(of, return_inverse=True, return_counts=True)
    found = np.zeros(len(ids), np.int64)
    lowest = np.full(len(ids), np.inf, np.float32)
    for pairs in again:
        groups = place[np.searchsorted(labelled.ids, pairs.id)]
        np.add.at(found, groups, 1)
        np.minimum.at(lowest, groups, pairs.score)
    known = labelled.identities >= 0
    names = int(labelled.identities.max(initial=0)) + 1
    both = np.unique(place[known] * names + labelled.identities[known])  # one number for a group and a label
    identities = np.bincount(both // names, minlength=len(ids))
    several = references > 1
    return Groups(of, ids[several], references[several], identities[several], found[several], lowest[several])


def members(labelled: Labelled, groups: Groups) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (place in `groups`, reference id) of everybody in a group, by group and id, `MEMBERS_TOGETHER` at a time."""
    place = np.searchsorted(groups.ids, groups.of)
    place[place == len(groups.ids)] = 0
    inside = np.flatnonzero(groups.ids[place] == groups.of) if len(groups.ids) else np.empty(0, np.int64)
    inside = inside[np.argsort(place[inside], kind="stable")]
    for start in range(0, len(inside), MEMBERS_TOGETHER):
        some = inside[start : start + MEMBERS_TOGETHER]
        yield place[some], labelled.ids[some]
