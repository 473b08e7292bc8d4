"""Who takes part in an audit: the hygiene that a membership attack stands or falls with.

Nobody may stand on both sides, no photo may be one that the generator was trained on or has put out (the attack works
by photos that were not in training), and everybody is seen through equally many photos: more photos are more chances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.audit.sources import Faces
from scanner.errors import CalibrationError
from scanner.evidence.identities import NULL_MIN

MEMBERS_MIN = 20
"""Fewest member identities that an audit says anything about."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Members, or non-members, after all hygiene.

    Attributes:
        vectors: (n, d) float32.
        codes: (n,) int64 places in `names`; every one occurs.
        rank: (n,) int64 place of a photo among those of its person, drawn by the seed: 0, 1, ...
        names: identities, sorted.
        left_out: photos by the reason why they take no part.
    """

    vectors: NDArray[np.float32]
    codes: NDArray[np.int64]
    rank: NDArray[np.int64]
    names: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def photos(self) -> NDArray[np.int64]:
        """(identities,) number of photos of each."""
        return np.bincount(self.codes, minlength=len(self.names))

    def through(self, photos: int) -> NDArray[np.int64]:
        """Return the rows of the first `photos` photos of everybody who has as many, in order of identity and rank."""
        rows = np.flatnonzero((self.rank < photos) & (self.photos[self.codes] >= photos))
        return rows[np.lexsort((self.rank[rows], self.codes[rows]))]


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Both sides of an audit, and through how many photos everybody is seen."""

    members: Side
    others: Side
    photos: int


def sort_people(
    members: Faces, others: Faces, *, used: Sequence[Faces], photos: int | None, seed: int, what: str
) -> People:
    """Clean both sides and decide through how many photos everybody is seen.

    Args:
        members: labelled photos of people in training.
        others: labelled photos of people who are not.
        used: what the generator was trained on or has put out; photos that stand there are left out.
        photos: as in the file; None takes what the poorest identity has.
        seed: draws which photos of a person come first.
        what: what the generator is called, for messages.

    Raises:
        CalibrationError: somebody stands on both sides, or a side has too few identities.
    """
    banned = {mark for faces in used for marks in faces.marks for mark in marks}
    on_left = {mark for marks in members.marks for mark in marks}
    on_right = {mark for marks in others.marks for mark in marks}
    both = sorted({i for i in members.identities if i is not None} & {i for i in others.identities if i is not None})
    if both:
        raise CalibrationError(
            f"{len(both)} identities are members and non-members of {what} ({', '.join(both[:3])}): the null must be people "
            "known not to be in training. Take them out of one of the two."
        )
    left = _side(members, banned, on_right, photos, seed=seed)
    right = _side(others, banned, on_left, photos, seed=seed)
    for side, name, least in ((left, "members", MEMBERS_MIN), (right, "non-members", NULL_MIN)):
        if len(side.names) < least:
            raise CalibrationError(
                f"{what} has {len(side.names)} identities as {name}; at least {least} are needed. "
                f"Photos left out: {_account(side.left_out)}. Name more people{' or ask for fewer photos each' if photos else ''}."
            )
    poorest = int(min(left.photos.min(), right.photos.min()))
    return People(left, right, photos or poorest)


def _side(faces: Faces, banned: Collection[str], opposite: Collection[str], photos: int | None, *, seed: int) -> Side:
    """Leave out what must not take part, and put the photos of each person into a drawn order."""
    left_out = dict.fromkeys(
        ("no_identity", "in_samples_or_training", "on_both_sides", "duplicate", "too_few_photos"), 0
    )
    kept: list[int] = []
    seen: set[str] = set()
    for row, (identity, marks) in enumerate(zip(faces.identities, faces.marks, strict=True)):
        if identity is None:
            left_out["no_identity"] += 1
        elif any(mark in banned for mark in marks):
            left_out["in_samples_or_training"] += 1
        elif any(mark in opposite for mark in marks):
            left_out["on_both_sides"] += 1
        elif any(mark in seen for mark in marks):
            left_out["duplicate"] += 1
        else:
            seen.update(marks)
            kept.append(row)
    labels = [str(faces.identities[row]) for row in kept]
    number = Counter(labels)
    enough = [row for row, label in zip(kept, labels, strict=True) if number[label] >= (photos or 1)]
    left_out["too_few_photos"] = len(kept) - len(enough)
    names = sorted({str(faces.identities[row]) for row in enough})
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place[str(faces.identities[row])] for row in enough], np.int64)
    return Side(faces.vectors[enough], codes, _ranks(codes, seed), tuple(names), left_out)


def _ranks(codes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the place of each photo in a drawn order of its person's photos."""
    order = np.lexsort((np.random.default_rng(seed).random(len(codes)), codes))
    starts = np.searchsorted(codes[order], codes[order], side="left")
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - starts
    return rank


def _account(left_out: dict[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in left_out.items() if number) or "none"


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """Another photo of some non-members, to be put among the samples: how close would a leak of them be?

    Attributes:
        score: (pairs,) float32 between a kept photo and the planted one.
        row: (pairs,) int64 row of the kept photo in the side.
        code: (pairs,) int64 0.. of the person.
    """

    score: NDArray[np.float32]
    row: NDArray[np.int64]
    code: NDArray[np.int64]

    def statistic(self, best: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (people,) float32 best scores with the planted photo among the samples.

        Args:
            best: (n,) best score of every photo of the side over the samples alone.
        """
        reached = np.full(int(self.code.max(initial=-1)) + 1, -1.0, np.float32)
        np.maximum.at(reached, self.code, np.maximum(self.score, best[self.row]))
        return reached

    def mated(self) -> NDArray[np.float32]:
        """Return (people,) float32: one score between two photos of each person."""
        return self.score[np.unique(self.code, return_index=True)[1]]


def plant(side: Side, photos: int) -> Planted:
    """Plant the last photo of everybody who has two or more, and at least `photos`.

    The person is then seen through at most `photos` of the rest; who has only `photos` is seen through one fewer, which
    makes the power look smaller than it is, never larger.
    """
    enough = np.flatnonzero(side.photos >= max(2, photos))
    place = np.full(len(side.names), -1, np.int64)
    place[enough] = np.arange(len(enough))
    last = np.empty(len(side.names), np.int64)
    at_end = np.flatnonzero(side.rank == side.photos[side.codes] - 1)
    last[side.codes[at_end]] = at_end
    wanted = np.minimum(photos, side.photos - 1)[side.codes]
    rows = np.flatnonzero((place[side.codes] >= 0) & (side.rank < wanted))
    rows = rows[np.lexsort((side.rank[rows], side.codes[rows]))]
    score = np.einsum("ij,ij->i", side.vectors[rows], side.vectors[last[side.codes[rows]]])
    return Planted(score.astype(np.float32), rows, place[side.codes[rows]])
