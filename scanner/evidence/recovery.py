"""Does a generator re-create the photos it was trained on better than photos it never saw?  The white-box attack.

A photo is looked for among everything that the generator can make; what is left is its recovery error.  A generator
that memorised finds its training photos again and others less well.

Webster, Rabin, Simon & Jurie (CVPR 2019, "Detecting overfitting of deep generative networks via latent recovery"): the
Kolmogorov-Smirnov test between the errors of training and of validation images, and the MRE-gap, the relative gap of
their medians.  GAN-Leaks (Chen et al. 2020, 1909.03935), white box: the error of one image as its membership score,
less the error under a generator that did not see it where there is one.

Photos of one person are alike, so people are the trials here: p-values permute people, intervals draw people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.membership import check_identities, join_photos
from scanner.evidence.roc import Estimate, auc, tpr_at_fpr

PEOPLE_MIN = 5
"""Fewest people of a side that anything is said about."""
PERMUTATIONS = 4000
DRAWS = 1000
FPRS = (0.01, 0.001)
_NUMBERS = 1 << 21
_NEAR_THE_END = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RecoveryEvidence:
    """What recovery errors say.

    Attributes:
        photos: of members and of non-members.
        people: likewise.
        median: recovery error of members' and of non-members' photos.
        ks: two-sided Kolmogorov-Smirnov statistic between the two.
        ks_p: of a statistic as large when people are shuffled between the sides; at least 1 / (permutations + 1).
        ks_p_photos: Kolmogorov's p as it is usually printed, which takes photos to be independent.
        mre_gap: (median of non-members - median of members) / median of non-members, with its interval over people;
            above 0 means that members' photos are re-created better.
        by_photo: AUC and true positive rates of the single photo's error.
        by_identity: likewise of a person's photos together (`membership.join_photos`).
    """

    photos: tuple[int, int]
    people: tuple[int, int]
    median: tuple[float, float]
    ks: float
    ks_p: float
    ks_p_photos: float
    mre_gap: Estimate
    by_photo: dict[str, Estimate]
    by_identity: dict[str, Estimate]


def weigh_recovery(
    errors: NDArray[np.floating], identities: NDArray[np.int64], member: NDArray[np.bool_], *, seed: int
) -> RecoveryEvidence:
    """Hold the recovery errors of members' photos against those of others.

    Args:
        errors: (n,) of each photo, at least 0 and lower when re-created better: mean squared error over pixels in
            0..1, or that less the error under a reference generator (then of any sign, and without a meaningful gap).
        identities: (n,) codes 0..people-1 of whose photo it is; every code occurs.
        member: (people,) whether the person's photos were in training; photos of one person are all on one side.
        seed: of permutations and bootstraps.

    Raises:
        CalibrationError: fewer than `PEOPLE_MIN` people on a side, or an error that is not finite.
    """
    people = check_identities(identities, len(errors))
    inside = member[identities]
    counts = int(member.sum()), int((~member).sum())
    if people != len(member) or min(counts) < PEOPLE_MIN or not np.isfinite(errors).all():
        raise CalibrationError(
            f"Recovery errors of {counts[0]} members and {counts[1]} non-members cannot be compared: at least {PEOPLE_MIN} people "
            "of each side with finite errors are needed. Let more photos be recovered (images_max)."
        )
    values = np.asarray(errors, np.float64)
    sides = values[inside], values[~inside]
    statistic, p_value = ks_by_people(values, identities, member, seed=seed)
    joined = join_photos(-values, identities)
    return RecoveryEvidence(
        photos=(len(sides[0]), len(sides[1])),
        people=counts,
        median=(float(np.median(sides[0])), float(np.median(sides[1]))),
        ks=statistic,
        ks_p=p_value,
        ks_p_photos=float(stats.ks_2samp(*sides).pvalue),
        mre_gap=mre_gap(values, identities, member, seed=seed),
        by_photo=_by_photo(-values, identities, member, seed),
        by_identity=_rates(joined[member], joined[~member], seed),
    )


def ks_by_people(
    values: Floats, identities: NDArray[np.int64], member: NDArray[np.bool_], *, seed: int, draws: int = PERMUTATIONS
) -> tuple[float, float]:
    """Return the two-sided Kolmogorov-Smirnov statistic, and its p-value with people shuffled between the sides.

    Kolmogorov's law takes the values to be independent.  With several photos a person they are not, and its p is far
    too small: with four photos that are nearly alike it is below 0.05 in more than a third of cases where nothing differs.
    Shuffling people keeps their photos together; the p-value is exact when people of both sides are alike.

    Args:
        values: (n,), any.
        identities: (n,) codes of people.
        member: (people,) which side.
        seed: of the shuffling.
        draws: shuffles.
    """
    order = np.argsort(values, kind="stable")
    is_last = np.append(np.diff(values[order]) > 0, True)  # the two steps are compared where both have risen
    owner = identities[order]
    measured = float(_ks(member[None], owner, is_last)[0])
    rng = np.random.default_rng([seed, len(member), 0x6B73])
    block = max(1, _NUMBERS // len(values))
    reached = 0
    for first in range(0, draws, block):
        shuffled = rng.permuted(np.tile(member, (min(block, draws - first), 1)), axis=1)
        reached += int((_ks(shuffled, owner, is_last) >= measured - 1e-12).sum())
    return measured, (1 + reached) / (draws + 1)


def _ks(members: NDArray[np.bool_], owner: NDArray[np.int64], is_last: NDArray[np.bool_]) -> Floats:
    """Return the statistic for each row of `members` (draws, people); `owner` (n,) in order of value."""
    inside = members[:, owner]
    own = np.cumsum(inside, axis=1)
    all_ = np.arange(1, len(owner) + 1)
    gap = own / own[:, -1:] - (all_ - own) / (len(owner) - own[:, -1:])
    return np.asarray(np.abs(gap[:, is_last]).max(axis=1))


def mre_gap(
    errors: Floats, identities: NDArray[np.int64], member: NDArray[np.bool_], *, seed: int, draws: int = DRAWS
) -> Estimate:
    """Return the MRE-gap with the 95 % percentile interval of a bootstrap over people.

    (median of non-members' errors - median of members' errors) / median of non-members' errors: Webster et al. 2019
    with their validation images in the place of non-members.  0 says that both are recovered alike, 1 that members' photos
    are recovered without an error.
    """

    def gap(inside: Floats, outside: Floats) -> Floats:
        return (outside - inside) / np.maximum(np.abs(outside), 1e-300)

    inside = member[identities]
    middle = [np.array([np.median(errors[side])]) for side in (inside, ~inside)]
    drawn = [_weighted_rank(errors[side], weights, 0.5) for side, weights in _drawn(identities, member, seed, draws)]
    low, high = np.quantile(gap(drawn[0], drawn[1]), [0.025, 0.975])
    value = float(gap(middle[0], middle[1])[0])
    return Estimate(value, min(float(low), value), max(float(high), value))


def _drawn(
    identities: NDArray[np.int64], member: NDArray[np.bool_], seed: int, draws: int
) -> Iterator[tuple[NDArray[np.bool_], Floats]]:
    """Yield, for members and for others, which photos are theirs, and (draws, photos) how often each was drawn."""
    for side, is_side in enumerate((member, ~member)):
        count = int(is_side.sum())
        rng = np.random.default_rng([seed, side, count, 0x626F6F74])
        times = np.zeros((draws, len(member)))
        times[:, is_side] = rng.multinomial(count, np.full(count, 1.0 / count), size=draws)
        photos = is_side[identities]
        yield photos, times[:, identities[photos]]


def _weighted_rank(values: Floats, weights: Floats, share: float) -> Floats:
    """Return (draws,) the lowest value with at least `share` of a draw's weight at or below it."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[:, order], axis=1)
    place = (below >= share * below[:, -1:]).argmax(axis=1)
    return np.asarray(values[order][place])


def _rates(members: Floats, others: Floats, seed: int) -> dict[str, Estimate]:
    hits = {f"tpr_{100 * fpr:g}": tpr_at_fpr(members, others, fpr=fpr, seed=seed) for fpr in FPRS}
    return {"auc": auc(members, others), **hits}


def _by_photo(
    scores: Floats, identities: NDArray[np.int64], member: NDArray[np.bool_], seed: int
) -> dict[str, Estimate]:
    """Return AUC and rates of single photos; intervals draw people.

    Near 0 and 1 a bootstrap sees too little; there the interval also holds that of one photo a person, which
    `roc` gives with people as trials.
    """
    inside = member[identities]
    value = _rates(scores[inside], scores[~inside], seed)
    first = np.unique(identities, return_index=True)[1]
    single = _rates(scores[first][member], scores[first][~member], seed)
    (_, weights_in), (_, weights_out) = _drawn(identities, member, seed, DRAWS)
    drawn: dict[str, Callable[[], Floats]] = {
        "auc": lambda: _drawn_auc(scores[inside], scores[~inside], weights_in, weights_out),
        **{
            f"tpr_{100 * fpr:g}": lambda fpr=fpr: _drawn_tpr(  # type: ignore[misc]
                scores[inside], scores[~inside], weights_in, weights_out, fpr
            )
            for fpr in FPRS
        },
    }
    return {name: _around(value[name], drawn[name](), single[name]) for name in value}


def _around(value: Estimate, drawn: Floats, single: Estimate) -> Estimate:
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    if min(value.value, 1.0 - value.value) < _NEAR_THE_END:
        low, high = min(low, single.low), max(high, single.high)
    return Estimate(value.value, min(low, value.value), max(high, value.value), value.note)


def _drawn_auc(members: Floats, others: Floats, weights_in: Floats, weights_out: Floats) -> Floats:
    """Return (draws,) weighted AUCs, ties as a half."""
    ordered = np.argsort(others, kind="stable")
    below = np.cumsum(np.pad(weights_out[:, ordered], ((0, 0), (1, 0))), axis=1)
    left, right = (np.searchsorted(others[ordered], members, side=side) for side in ("left", "right"))
    won = 0.5 * (below[:, left] + below[:, right])
    return np.asarray((won * weights_in).sum(axis=1) / (below[:, -1] * weights_in.sum(axis=1)))


def _drawn_tpr(members: Floats, others: Floats, weights_in: Floats, weights_out: Floats, fpr: float) -> Floats:
    """Return (draws,) shares of members above the cut that a share `fpr` of the drawn others exceeds."""
    order = np.argsort(-others, kind="stable")
    above = np.cumsum(weights_out[:, order], axis=1)
    cut = others[order][(above > fpr * above[:, -1:] * (1 + 1e-12)).argmax(axis=1)]
    return np.asarray(((members[None] > cut[:, None]) * weights_in).sum(axis=1) / weights_in.sum(axis=1))
