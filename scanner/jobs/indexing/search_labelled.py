"""Searches every photo of a labelled set among one photo of each other person, and keeps the best-scoring pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scanner.evidence.one_to_many import Searches, searches_of
from scanner.progress import Progress, Silent

SEARCHES_MAX = 100_000
"""Photos that are searched at most; more are drawn from."""
PAIRS_KEPT = 4_000_000
"""Non-mated pairs that are kept at most, the best ones: one in 100 at 20 000 people.  Searching 20 000 faces of as many
people took 0.4 GB beside the vectors and 40 s on one core."""
_TILE_ROWS = 512
_DRAW = 7


def search_labelled(
    vectors: NDArray[np.float32],
    identities: Sequence[str | None],
    *,
    seed: int,
    progress: Progress | None = None,
    pairs_kept: int = PAIRS_KEPT,
) -> tuple[Searches, list[str]]:
    """Search every labelled photo among one photo of each other identity; return outcomes and the names of the codes.

    Args:
        vectors: (n, d) float32, unit rows.
        identities: n labels; rows without one are left out.
        seed: draws each identity's gallery photo, and `SEARCHES_MAX` photos when there are more.
        progress: where to report.
        pairs_kept: pairs that are kept at most; which they are does not depend on the tiles.

    Raises:
        CalibrationError: fewer than three identities.
    """
    progress = progress or Silent()
    rng = np.random.default_rng([seed, _DRAW])
    rows = np.array([i for i, name in enumerate(identities) if name is not None], np.int64)
    if len(rows) > SEARCHES_MAX:
        progress.note(f"{SEARCHES_MAX} of {len(rows)} labelled faces were drawn for the searches")
        rows = np.sort(rng.choice(rows, SEARCHES_MAX, replace=False))
    names, codes = np.unique(np.array([identities[i] for i in rows], dtype=np.object_), return_inverse=True)
    person = codes.astype(np.int32)
    first = _one_each(person, rng)
    gallery = np.ascontiguousarray(vectors[rows[first]])
    kept = _Best(pairs_kept)
    mates: list[NDArray[np.float32]] = []
    progress.stage("search", total=len(rows), unit="faces")
    for start in range(0, len(rows), _TILE_ROWS):
        own = person[start : start + _TILE_ROWS]
        scores = vectors[rows[start : start + _TILE_ROWS]] @ gallery.T
        places = np.arange(len(own))
        mates.append(scores[places, own])
        scores[places, own] = -np.inf
        kept.add(scores, start)
        progress.advance(len(own))
    others = np.ones(len(rows), np.bool_)
    others[first] = False
    score, search, reference = kept.ended()
    found = searches_of(
        person, score, search, reference, mated=np.concatenate(mates)[others] if mates else np.empty(0, np.float32),
        mated_person=person[others], people=len(names), floor=kept.floor,
    )  # fmt: skip
    return found, names.tolist()


def _one_each(person: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the place of one random photo of each person, in the order of their codes."""
    order = np.lexsort((rng.random(len(person)), person))
    return np.asarray(order[np.unique(person[order], return_index=True)[1]], np.int64)


class _Best:
    """The best-scoring pairs so far.

    A floor rises as better ones come, so that most tiles leave only a few behind.  Pairs that tie with the last one kept
    are left out, all of them: `floor` is the lowest score of which *every* pair is there.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._score, self._search, self._reference = _empty()
        self.floor = -1.0

    def add(self, scores: NDArray[np.float32], start: int) -> None:
        """Take in a tile (rows, people) of scores of the searches from `start` on; -inf is no pair."""
        # Rounding can put a score a little below -1; only -inf is left out while there is no floor.
        least = np.float32(self.floor) if self.floor > -1.0 else np.float32(-2.0)
        rows, people = np.nonzero(scores >= least)
        self._score = np.concatenate([self._score, scores[rows, people]])
        self._search = np.concatenate([self._search, (rows + start).astype(np.int32)])
        self._reference = np.concatenate([self._reference, people.astype(np.int32)])
        if len(self._score) > self._most + self._most // 4:
            self._cut()

    def _cut(self) -> None:
        # The (most + 1)th best is where pairs start to be missing.
        worst = len(self._score) - self._most - 1
        missing = np.partition(self._score, worst)[worst]
        self.floor = float(np.nextafter(missing, np.float32(np.inf)))
        keep = self._score > missing
        self._score, self._search, self._reference = self._score[keep], self._search[keep], self._reference[keep]

    def ended(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
        """Return score, search and reference of the pairs that were kept, in order of search and reference."""
        if len(self._score) > self._most:
            self._cut()
        return self._score, self._search, self._reference


def _empty() -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    return np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int32)
