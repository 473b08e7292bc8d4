"""Is the whole set of samples closer to the members than to people who were not in training?  Known measures.

All work on unit identity embeddings where the papers use pixels or features of pictures; the score of two vectors is
their cosine, and an "error" is 1 - cosine.  Where a paper has a training photo, `training` is taken if the caller has it,
else the members' other photos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scanner.errors import CalibrationError

CELL_MIN = 10
"""Fewest samples, and fewest held-out photos, that a cell of C_T is tested with."""
CELL_PHOTOS = 50
CELLS_MAX = 20
SWAPS = 2000
_TILE_ROWS = 1024

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SetBaseline:
    """What one measure says of the set of samples.

    Attributes:
        name: of the measure.
        value: measured.
        expected: what a generator that copies nobody would give.
        p_value: of a value as far on the copying side (`ks`: either side) without copying; None where the method has no
            null of its own.  Photos are taken to be independent, which those of one person are not.
        higher_is_copying: on which side of `expected` copying lies.
        photos: training-side and held-out photos that it rests on.
    """

    name: str
    value: float
    expected: float
    p_value: float | None
    higher_is_copying: bool
    photos: tuple[int, int]


def set_table(
    samples: Vectors, member_photos: Vectors, other_photos: Vectors, *, training: Vectors | None, seed: int
) -> tuple[SetBaseline, ...]:
    """Return C_T, AuthPct, privacy loss, DCR share, KS and MRE-gap of a set of samples, in this order.

    Args:
        samples: (m, d) float32, unit rows, of the generator.
        member_photos: (n, d) float32 of people in training, photos that were not.
        other_photos: (j, d) float32 of people who were not in training.
        training: (t, d) float32, the training photos themselves, if known.
        seed: draws equal sizes, cells and swaps.

    Raises:
        CalibrationError: fewer than `CELL_MIN` vectors in one of the sets.
    """
    trained = member_photos if training is None else training
    sets = {"samples": samples, "member photos": member_photos, "photos of others": other_photos, "training": trained}
    for name, vectors in sets.items():
        if len(vectors) < CELL_MIN:
            raise CalibrationError(
                f"Measures of a whole set need at least {CELL_MIN} vectors on every side; there are {len(vectors)} {name}. "
                "Add some, or leave these measures out."
            )
    return (
        c_t(samples, trained, other_photos, seed=seed),
        auth_share(samples, trained, other_photos),
        privacy_loss(samples, trained, other_photos, seed=seed),
        dcr_share(samples, trained, other_photos, seed=seed),
        *recovery(samples, member_photos, other_photos),
    )


def nearest(
    left: Vectors, right: Vectors, *, among_itself: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (n,) the best score of each row of `left` with a row of `right`, and which row that is.

    `among_itself`: `left` and `right` are one set, and a row is no neighbour of its own.
    """
    best, row = np.empty(len(left)), np.empty(len(left), np.int64)
    other = np.asarray(right, np.float64).T
    for start in range(0, len(left), _TILE_ROWS):
        tile = slice(start, min(start + _TILE_ROWS, len(left)))
        scores = np.asarray(left[tile], np.float64) @ other
        if among_itself:
            scores[np.arange(len(scores)), np.arange(tile.start, tile.stop)] = -np.inf
        # Rounded, so that the last bit of a product cannot decide which of two copies is the nearest.
        scores = np.round(scores, 9)
        row[tile] = scores.argmax(1)
        best[tile] = scores.max(1)
    return best, row


def c_t(samples: Vectors, training: Vectors, held_out: Vectors, *, seed: int) -> SetBaseline:
    """Return C_T (Meehan, Chaudhuri & Dasgupta 2004.05675, section 3.2).

    In every cell of a k-means partition of the training photos: Z_U, the standardised Mann-Whitney U of the samples'
    against the held-out photos' errors to their nearest training photo; C_T is the mean of Z_U over cells weighted by
    the share of held-out photos.  Below 0: samples lie closer to training than held-out photos do.

    Deviations: cells count when they hold `CELL_MIN` samples and held-out photos (the paper: a share of samples);
    without such a cell everything is one cell; ties count as a half.  The p-value is that of C_T over its
    own standard deviation sqrt(sum w^2), since cells are independent given who falls into them (the paper compares with
    -3 and 3).
    """
    centres = _centres(training, seed)
    errors = [1.0 - nearest(side, training)[0] for side in (samples, held_out)]
    cells = [_cell_of(side, centres) for side in (samples, held_out)]
    z, weight = [], []
    for cell in range(int(max(c.max() for c in cells)) + 1):
        inside = [error[place == cell] for error, place in zip(errors, cells, strict=True)]
        if min(len(part) for part in inside) >= CELL_MIN:
            z.append(_z_u(*inside))
            weight.append(len(inside[1]))
    if not z:
        z, weight = [_z_u(*errors)], [1]
    share = np.array(weight) / sum(weight)
    value = float(share @ np.array(z))
    p_value = float(stats.norm.cdf(value / np.sqrt(share @ share)))
    return SetBaseline("c_t", value, 0.0, p_value, higher_is_copying=False, photos=(len(training), len(held_out)))


def _z_u(errors: NDArray[np.float64], held_out: NDArray[np.float64]) -> float:
    """Return U of the samples' errors over the held-out ones', in standard deviations from its mean."""
    m, n = len(errors), len(held_out)
    u = float(stats.mannwhitneyu(errors, held_out).statistic)
    return float((u - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12))


def _cell_of(vectors: Vectors, centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (n,) the centre that each vector is nearest to."""
    nearness = np.asarray(vectors, np.float64) @ centres.T - 0.5 * (centres**2).sum(1)
    return np.asarray(nearness.argmax(1), np.int64)


def _centres(training: Vectors, seed: int) -> NDArray[np.float64]:
    """Return (c, d) centres of k-means over the training photos, about `CELL_PHOTOS` to a cell."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    distinct = len(np.unique(training, axis=0))
    count = int(np.clip(distinct // CELL_PHOTOS, 1, CELLS_MAX))
    with threadpool_limits(1):
        found = KMeans(count, n_init=3, random_state=seed).fit(np.asarray(training, np.float64))
    return np.asarray(found.cluster_centers_, np.float64)


def auth_share(samples: Vectors, training: Vectors, held_out: Vectors) -> SetBaseline:
    """Return the share of samples that are not authentic (Alaa et al. 2022, ICML, section 4.3; 1 - AuthPct / 100).

    A sample is not authentic when it is nearer to its nearest training photo than that one is to its nearest other
    training photo.  Deviation: the paper gives no null; `expected` is the same share with the held-out photos in the
    place of samples, as a generator of real strangers would have it.
    """
    own = nearest(training, training, among_itself=True)[0]

    def share(side: Vectors) -> float:
        best, row = nearest(side, training)
        return float((best > own[row]).mean())

    return SetBaseline("auth_share", share(samples), share(held_out), None, True, (len(training), len(held_out)))


def privacy_loss(samples: Vectors, training: Vectors, held_out: Vectors, *, seed: int) -> SetBaseline:
    """Return the privacy loss AA(held-out, samples) - AA(training, samples) (Yale et al. 2020, Neurocomputing 416).

    AA(T, S) = (mean[d_TS > d_TT] + mean[d_ST > d_SS]) / 2 is the accuracy of a nearest-neighbour adversary, where d_TS
    are the errors of T to their nearest in S and d_TT to their nearest other in T.  It is defined for equal sizes, so
    as many vectors are drawn of each set as the smallest has.
    """
    rng = np.random.default_rng([seed, 0x6E6E6161])
    size = min(len(samples), len(training), len(held_out))
    drawn, trained, held = (part[rng.permutation(len(part))[:size]] for part in (samples, training, held_out))
    value = _adversary(held, drawn) - _adversary(trained, drawn)
    return SetBaseline("privacy_loss", value, 0.0, None, higher_is_copying=True, photos=(size, size))


def _adversary(photos: Vectors, samples: Vectors) -> float:
    """Return AA of two sets of equal size."""
    own = nearest(photos, photos, among_itself=True)[0], nearest(samples, samples, among_itself=True)[0]
    across = nearest(photos, samples)[0], nearest(samples, photos)[0]
    return float(np.mean([(across[0] < own[0]).mean(), (across[1] < own[1]).mean()]))


def dcr_share(samples: Vectors, training: Vectors, held_out: Vectors, *, seed: int) -> SetBaseline:
    """Return the share of samples that are nearer to training than to held-out photos, ties as a half.

    The nearest-record measure of synthetic data tools (Platzer & Reutterer 2021, Frontiers in Big Data 4), with equal
    numbers of photos on both sides, drawn by seed: with unequal ones the larger side wins (SDMetrics#743).
    Deviation: the usual p-value takes samples for independent, but few photos may attract them all; ours swaps photos
    between the sides at random, what they attract staying with them.
    """
    rng = np.random.default_rng([seed, 0x646372])
    size = min(len(training), len(held_out))
    trained, held = (part[rng.permutation(len(part))[:size]] for part in (training, held_out))
    (near_t, row_t), (near_h, row_h) = nearest(samples, trained), nearest(samples, held)
    won = (near_t > near_h) + 0.5 * (near_t == near_h)
    value = float(won.mean())
    # What each photo attracts: its share of the samples, whichever side it is put on.
    drawn = np.bincount(np.append(row_t, size + row_h), np.append(won, 1.0 - won), 2 * size) / len(samples)
    swapped = np.array([drawn[rng.permutation(2 * size)[:size]].sum() for _ in range(SWAPS)])
    p_value = float((1 + (swapped >= value - 1e-12).sum()) / (SWAPS + 1))
    return SetBaseline("dcr_share", value, 0.5, p_value, higher_is_copying=True, photos=(size, size))


def recovery(samples: Vectors, member_photos: Vectors, other_photos: Vectors) -> tuple[SetBaseline, SetBaseline]:
    """Return KS and the MRE-gap (Webster, Rabin, Simon & Jurie, CVPR 2019, section 4.1).

    KS: the two-sided Kolmogorov-Smirnov statistic between the recovery errors of training and of validation images,
    here of members' and others' photos.  MRE-gap: (median of the others' errors - median of the members') / median of
    the others'.  Deviation: the paper recovers an image by optimising the latent code; here the error is 1 - the best
    score with any sample.  `expected` of KS is the mean of Kolmogorov's law at these sizes.
    """
    errors = [1.0 - nearest(side, samples)[0] for side in (member_photos, other_photos)]
    found = stats.ks_2samp(*errors)
    n, j = (len(side) for side in errors)
    middle = [float(np.median(side)) for side in errors]
    usual = np.sqrt(np.pi / 2) * np.log(2) / np.sqrt(n * j / (n + j))
    gap = (middle[1] - middle[0]) / max(middle[1], 1e-12)
    return (
        SetBaseline("ks", float(found.statistic), float(usual), float(found.pvalue), True, (n, j)),
        SetBaseline("mre_gap", gap, 0.0, None, higher_is_copying=True, photos=(n, j)),
    )
