"""Photos among samples: what both the attack and its sweeps start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.audit.people import People
from scanner.audit.sources import Faces
from scanner.errors import NothingScanned
from scanner.evidence.neighbours import Neighbours, concatenate
from scanner.search import neighbours_of

CANARIES = 8
_SHARES = (0.0005, 0.001, 0.002, 0.0032, 0.005, 0.01, 0.02)
"""Of the samples, that innocent photos should see within the radii: `membership` picks the one that suits."""
_PHOTOS, _SAMPLES = 256, 20_000
"""How many of each the radii are taken from."""


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """One generator's part of an audit: who, what it put out, and what else is known of it."""

    people: People
    samples: Faces
    reference: Faces | None
    training: Faces | None
    shares: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """Both sides' photos among the samples, everybody seen through equally many.

    Attributes:
        near: (n photos) members' first, then the others', each in order of identity and rank.
        reference: the same among the reference generator's samples; None without one.
        codes: (n,) identity of each; members 0..M-1, then the others.
        members: M.
        names: identities in order of code.
    """

    near: Neighbours
    reference: Neighbours | None
    codes: NDArray[np.int64]
    members: int
    names: tuple[str, ...]

    @property
    def is_member(self) -> NDArray[np.bool_]:
        """(people,) True for members."""
        return np.arange(len(self.names)) < self.members

    def best(self) -> NDArray[np.float32]:
        """Return (people,) float32: a person's best score over all samples and photos."""
        statistic = np.full(len(self.names), -1.0, np.float32)
        np.maximum.at(statistic, self.codes, self.near.score[:, 0])
        return statistic


def look_all(
    people: People, samples: NDArray[np.float32], *, k: int, radii: Sequence[float] = ()
) -> tuple[Neighbours, Neighbours]:
    """Look every photo of both sides up among some samples; return the members' and the others'."""
    sides = (people.members, people.others)
    members, others = (neighbours_of(side.vectors, samples, k=k, radii=radii) for side in sides)
    return members, others


def look_through(
    photos: int, people: People, near: tuple[Neighbours, Neighbours], reference: tuple[Neighbours, Neighbours] | None
) -> Looked:
    """See everybody who has as many through `photos` photos."""
    codes, names, rows = [], [], []
    for side in (people.members, people.others):
        chosen = side.through(photos)
        present, code = np.unique(side.codes[chosen], return_inverse=True)
        codes.append(code.astype(np.int64))
        names.append([side.names[person] for person in present])
        rows.append(chosen)
    return Looked(
        _both(near, rows),
        None if reference is None else _both(reference, rows),
        np.concatenate([codes[0], codes[1] + len(names[0])]),
        len(names[0]),
        (*names[0], *names[1]),
    )


def radii_of(people: People, samples: NDArray[np.float32], *, seed: int) -> tuple[float, ...]:
    """Return scores that given shares of pairs of a non-member's photo and a sample reach, falling shares first."""
    rng = np.random.default_rng([seed, len(samples)])
    others = people.others.vectors
    photos = others[np.sort(rng.permutation(len(others))[:_PHOTOS])]
    drawn = samples[np.sort(rng.permutation(len(samples))[:_SAMPLES])]
    levels = np.quantile(photos @ drawn.T, 1.0 - np.array(_SHARES))
    return tuple(float(level) for level in np.clip(levels, -0.999, 1.0))


def check_canaries(photos: NDArray[np.float32], samples: NDArray[np.float32]) -> dict[str, int]:
    """Plant a few photos among the samples and find them again; an audit that does not is no result.

    Raises:
        NothingScanned: a planted photo was not found with a score of 1.
    """
    rows = np.unique(np.linspace(0, len(photos) - 1, CANARIES).astype(np.int64))
    planted = photos[rows]
    own = np.einsum("ij,ij->i", planted, planted)
    near = neighbours_of(planted, np.concatenate([samples, planted]), k=1)
    found = int((near.score[:, 0] >= own - 1e-5).sum())  # float32 sums in another order
    if found < len(rows):
        raise NothingScanned(
            f"Only {found} of {len(rows)} photos that were planted among the samples were found again, so this audit would miss "
            "leaks. Check that the embeddings are whole: scanner embed writes them with checksums."
        )
    return {"planted": len(rows), "found": found}


def _both(near: tuple[Neighbours, Neighbours], rows: Sequence[NDArray[np.int64]]) -> Neighbours:
    return concatenate([side.take(chosen) for side, chosen in zip(near, rows, strict=True)])
