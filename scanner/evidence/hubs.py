"""Photos that are close to everything: hubs, which look like leaks and are none.

In high-dimensional spaces a few points are the nearest neighbour of very many others (Radovanovic, Nanopoulos & Ivanovic
2010, Hubs in Space, JMLR 11).  A hub is central: it scores higher than photos usually do with samples of every
kind.  A person whom a generator has memorised over and over also absorbs many samples, but only samples of that
person: with all others the photo scores as photos do.  So what is looked at is a photo's mean score over the samples
that its identity does *not* absorb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.evidence.null import conformal_p

LEVEL = 0.01
"""Photos whose centrality has a smaller p-value among null photos are flagged."""
REST_MIN = 0.05
"""Smallest share of samples, absorbed by others, that a photo's centrality is taken from."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side's photos against all samples.

    Attributes:
        identity: (p,) int64 codes 0.. of whose photo it is.
        mean: (p,) float64 mean score of each photo over all samples (`Neighbours.mean`).
        best_row: (n,) int64 row of each sample's best photo of this side.
        best_score: (n,) float32 its score.
    """

    identity: NDArray[np.int64]
    mean: NDArray[np.float64]
    best_row: NDArray[np.int64]
    best_score: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hubs:
    """How unevenly photos are hit, on both sides.

    Attributes:
        photos: candidate photos.
        flagged: candidate photos whose centrality is beyond the null's; about `LEVEL` x photos are by chance.
        expected: `LEVEL` x photos.
        skewness: of the candidates' k-occurrence; about that of the null when there are no hubs and no leaks.
        null_skewness: of the null's.
        largest: share of clusters that hit the most-hit candidate photo.
        null_largest: the same among the null.
        largest_is_hub: the most-hit candidate photo is flagged.
        absorbed: share of clusters that hit a flagged photo.
    """

    photos: int
    flagged: int
    expected: float
    skewness: float
    null_skewness: float
    largest: float
    null_largest: float
    largest_is_hub: bool
    absorbed: float


def k_occurrence(rows: NDArray[np.int64], cluster: NDArray[np.integer], *, photos: int) -> NDArray[np.int64]:
    """Return in how many clusters each photo is among the best hits.

    Args:
        rows: (n,) or (n, k) int64 photo rows of each sample's best hits; -1 where there is none.
        cluster: (n,) codes of generated identities, any integers; many samples of one count once.
        photos: number of photos.

    Returns:
        (photos,) int64.
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    hits = rows.reshape(len(rows), -1)
    pairs = (codes[:, None] * np.int64(photos) + hits)[hits >= 0]
    return np.bincount(np.unique(pairs) % photos, minlength=photos).astype(np.int64)


def skewness(counts: NDArray[np.integer]) -> float:
    """Return the third standardised moment of k-occurrences, 0 when all are equal (Radovanovic et al. 2010, section 3)."""
    spread = counts.std()
    return float((((counts - counts.mean()) / spread) ** 3).mean()) if spread > 0.0 else 0.0


def local_scaling(
    best: NDArray[np.floating], mean: NDArray[np.float64], sd: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each photo's best score in units of what is usual for it: (best - mean) / sd.

    Zero normalisation of speaker recognition (Auckenthaler et al. 2000), a hub's remedy by its own scores as CSLS is
    (Conneau et al. 2018).  CSLS takes the mean of the k best instead, which removes just those people who were memorised
    often.  They raise their own mean and sd too, by their share; use it beside the plain score, not instead.

    Args:
        best: (p,) best score over all samples.
        mean: (p,) mean score over all samples.
        sd: (p,) standard deviation; where it is 0 (one sample, or equal ones) the result is 0.
    """
    over = np.asarray(best, np.float64) - mean
    return np.divide(over, sd, out=np.zeros(len(over)), where=sd > 0.0)


def centrality(side: Side) -> NDArray[np.float64]:
    """Return each photo's mean score over the samples whose best photo is not of the same identity.

    Where another photo of the identity was best, this photo's own score is not known and taken to be as high: so
    the value errs on the low side, by little when the photos of a person are alike.  An identity that absorbs
    more than 1 - `REST_MIN` of the samples keeps its mean over all of them: nothing is left to tell a hub from a
    generator that makes one person only.

    Returns:
        (p,) float64.
    """
    samples = len(side.best_row)
    people = int(side.identity.max(initial=-1)) + 1
    owner = side.identity[side.best_row]
    taken = np.bincount(owner, minlength=people)[side.identity]
    score = np.bincount(owner, weights=side.best_score, minlength=people)[side.identity]
    rest = samples - taken
    enough = rest >= max(1.0, REST_MIN * samples)
    return np.where(enough, (side.mean * samples - score) / np.maximum(rest, 1), side.mean)


def find_hubs(
    candidate: Side, null: Side, cluster: NDArray[np.integer], *, level: float = LEVEL
) -> tuple[NDArray[np.bool_], Hubs]:
    """Flag candidate photos that are more central than null photos are.

    Args:
        candidate: candidate photos.
        null: null photos, over the same samples; fewer than 1 / level of them can flag nothing.
        cluster: (n,) codes of generated identities of the samples.
        level: photos with a smaller conformal p-value are flagged.

    Returns:
        (p,) bool, True for hubs; and the figures.
    """
    mask = conformal_p(centrality(candidate), centrality(null)) < level
    clusters = max(1, len(np.unique(cluster)))
    hits = k_occurrence(candidate.best_row, cluster, photos=len(candidate.identity))
    null_hits = k_occurrence(null.best_row, cluster, photos=len(null.identity))
    struck = np.unique(cluster[mask[candidate.best_row]])
    return mask, Hubs(
        photos=len(mask),
        flagged=int(mask.sum()),
        expected=level * len(mask),
        skewness=skewness(hits),
        null_skewness=skewness(null_hits),
        largest=float(hits.max(initial=0)) / clusters,
        null_largest=float(null_hits.max(initial=0)) / clusters,
        largest_is_hub=bool(mask[hits.argmax()]) if len(hits) else False,
        absorbed=len(struck) / clusters,
    )
