"""Was this identity in training?  Four scores an identity, from what lies near its photos among the samples.

Protocol of Webster et al. 2021 (2107.06018): photos are of the people in question, but none of them was in training
itself.  Each score is first taken photo by photo, then `join_photos` makes one number an identity of them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from scanner.errors import CalibrationError
from scanner.evidence.neighbours import Neighbours

SCORES = ("best_match", "mean_of_k", "count_within", "calibrated")
_BODY = 0.8
"""Share of the photos that are counted by rank."""
SHARE_WITHIN = (0.001, 0.01)
"""Share of the samples that an innocent photo should see within the radius."""
_SHARE_AIM = math.sqrt(SHARE_WITHIN[0] * SHARE_WITHIN[1])


def membership_scores(
    near: Neighbours,
    identities: NDArray[np.int64],
    *,
    reference: Neighbours | None,
    null: Neighbours | None,
    k: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the scores `SCORES` of each identity; higher speaks for membership.

    Args:
        near: n photos among the generator's samples.
        identities: (n,) codes 0..people-1 of whose photo it is; every code occurs.
        reference: the same photos among samples of a generator that was trained on other people.
        null: photos of people known not to be in training, among the generator's samples.
        k: how many best scores `mean_of_k` takes.

    Returns:
        For each name (people,) float64, comparable within one call only: see `join_photos`.

    Raises:
        CalibrationError: codes with gaps, no samples, or a `reference` with other photos.
    """
    by_photo = photo_scores(near, reference=reference, null=null, k=k)
    return {name: join_photos(by_photo[name], identities) for name in SCORES}


def photo_scores(
    near: Neighbours, *, reference: Neighbours | None, null: Neighbours | None, k: int
) -> dict[str, NDArray[np.float64]]:
    """Return the scores `SCORES` of each photo, (n,) float64; arguments as in `membership_scores`.

    best_match: the highest score with any sample.
    mean_of_k: mean of the k highest.
    count_within: number of samples within a radius (Hilprecht et al. 1906.03006, section 4.1: Monte-Carlo integration
        with an epsilon ball), equal numbers in order of the best match.  The radius is set by people who are not in
        training, see `counts_within`.
    calibrated: best match less the best match in a reference generator's samples (GAN-Leaks, Chen et al. 1909.03935,
        section 4.4).  Without one, less what is usual for the photo: with a null, what a linear fit through the null
        photos gives for its mean and standard deviation over all samples; else in its own standard deviations
        above its own mean.
    """
    check_samples(near)
    if reference is not None and len(reference) != len(near):
        raise CalibrationError(
            f"The reference generator's neighbours are of {len(reference)} photos, the generator's of {len(near)}; scores are "
            "compared photo by photo. Look the same photos up in both."
        )
    best = near.score[:, 0].astype(np.float64)
    kept = min(k, near.score.shape[1], near.samples)
    return {
        "best_match": best,
        "mean_of_k": near.score[:, :kept].mean(1, dtype=np.float64),
        "count_within": counts_within(near, null) + 0.5 * (1.0 + np.clip(best, -1.0, 1.0)) * _BELOW_ONE,
        "calibrated": _calibrated(near, reference, null),
    }


_BELOW_ONE = 1.0 - 1e-9
"""What the best match adds to a count stays below one sample."""


def check_samples(near: Neighbours) -> None:
    """Refuse neighbours among no samples."""
    if near.samples == 0 or near.score.shape[1] == 0:
        raise CalibrationError(
            f"Membership scores need samples and their best scores; got {near.samples} samples and k = "
            f"{near.score.shape[1]}. Generate samples, and look photos up with k of at least 1."
        )


def counts_within(near: Neighbours, null: Neighbours | None) -> NDArray[np.float64]:
    """Return (n,) how many samples each photo sees within the radius that suits.

    Of `near.radii` the one is taken where null photos (all photos, without a null) see a share of the samples closest
    to the middle of `SHARE_WITHIN`, on a log scale.  Without radii, `radius_for` sets one and at most k are counted.
    """
    innocent = near if null is None else null
    if near.radii.size == 0:
        return np.asarray((near.score >= radius_for(innocent)).sum(1), np.float64)
    share = np.maximum(innocent.within.mean(0), 1e-3) / innocent.samples
    return near.within[:, int(np.argmin(np.abs(np.log(share / _SHARE_AIM))))].astype(np.float64)


def radius_for(near: Neighbours, *, share: float = _SHARE_AIM) -> float:
    """Return the radius within which photos see `share` of the samples on average, or all k best if these are fewer.

    Args:
        near: photos of people who are not in training, or of whom few are.
        share: of the samples, in (0, 1).
    """
    check_samples(near)
    kept = near.score[:, : near.samples]
    wanted = int(np.clip(round(share * near.samples * len(near)), 1, kept.size))
    return float(np.partition(kept.ravel(), kept.size - wanted)[kept.size - wanted])


def _calibrated(near: Neighbours, reference: Neighbours | None, null: Neighbours | None) -> NDArray[np.float64]:
    """Return (n,) the best match against what is to be expected of the photo."""
    best = near.score[:, 0].astype(np.float64)
    if reference is not None:
        check_samples(reference)
        return best - reference.score[:, 0]
    if null is None:
        return (best - near.mean) / np.maximum(near.sd, 1e-12)
    usual = np.column_stack([np.ones(len(null)), null.mean, null.sd])
    weights = np.linalg.lstsq(usual, null.score[:, 0].astype(np.float64), rcond=None)[0]
    return np.asarray(best - np.column_stack([np.ones(len(near)), near.mean, near.sd]) @ weights, np.float64)


def check_identities(identities: NDArray[np.int64], photos: int) -> int:
    """Return the number of identities; every code from 0 must occur.

    Raises:
        CalibrationError: another number of codes than photos, or codes with gaps.
    """
    people = int(identities.max(initial=-1)) + 1
    if len(identities) != photos or people == 0 or np.bincount(identities, minlength=people).min() == 0:
        raise CalibrationError(
            f"Every photo needs an identity, and codes must run from 0 without gaps; got {len(identities)} codes for {photos} "
            f"photos, the highest {people - 1}. Number the identities again after photos were left out."
        )
    return people


def join_photos(values: NDArray[np.floating], identities: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return one value an identity of the values of its photos, whose spread does not depend on how many there are.

    The best of many photos is higher than that of one whoever it is, and a mean varies less; both would tell members
    from others merely by their number of photos.  So: `_normal_scores` of all photos, their sum over an
    identity's p photos, divided by its standard deviation sqrt(p + p (p - 1) r), where r is the correlation of two
    photos of one identity (Stouffer's method for dependent scores; Strube 1985).  More photos of a member still
    count for more: their mean stands out against a smaller spread.  With one photo each this is the order of
    the photos.

    Args:
        values: (n,) one a photo, higher speaks for membership.
        identities: (n,) codes; every code occurs.

    Returns:
        (people,) float64, about standard normal when all identities are alike; depends on all photos given.
    """
    people = check_identities(identities, len(values))
    normal = _normal_scores(np.asarray(values, np.float64))
    # Added in order of value: the order of rows must not show in the last bit.
    order = np.lexsort((normal, identities))
    photos = np.bincount(identities).astype(np.float64)
    total = np.bincount(identities[order], weights=normal[order], minlength=people)
    squares = np.bincount(identities[order], weights=normal[order] ** 2, minlength=people)
    several = photos > 1
    pairs = photos * (photos - 1.0)
    shared = 0.0
    if several.any():
        level = float((np.sort(normal) ** 2).mean())
        products = ((total**2 - squares)[several] / pairs[several]).mean()
        shared = float(np.clip(products / max(level, 1e-12), 0.0, 1.0))
    return np.asarray(total / np.sqrt(photos + pairs * shared), np.float64)


def _normal_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) ranks as normal scores, but straight on above `_BODY`.

    Ranks make the body symmetric, which keeps AUC at a half when identities differ in their number of photos.  Ranks
    alone would also say that a match of 0.9 is hardly more than one of 0.5 when both are among the highest; on
    faces that cost a sixth of the members found without a false one.
    """
    normal = special.ndtri((stats.rankdata(values) - 0.5) / len(values))
    middle, end = np.quantile(values, [0.5, _BODY])
    if end > middle:
        at_end = float(special.ndtri(_BODY))
        straight = at_end * (values - middle) / (end - middle)
        normal = np.where(values > end, straight, np.minimum(normal, at_end))
    # A mean above 0 would add up over photos; sorted, since the order of rows must not show in the last bit.
    return np.asarray(normal - np.sort(normal).mean(), np.float64)
