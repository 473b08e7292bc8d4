"""Does a generator as a whole prefer the candidates to people known not to be in training?

One question instead of thousands: in how many clusters is the closest photo of all a candidate's?  If nobody was trained
on, who is a candidate and who is null is a lottery among identities, whatever the samples look like.  So the
labels are drawn again, identity by identity: all clusters that one identity wins move with it, and a hub that wins half of
them counts as the single accident that it is (a randomisation test; Lehmann & Romano 2005, section 15.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.clusters import cluster_bootstrap
from scanner.evidence.rates import beta_interval


@dataclass(frozen=True, slots=True)
class Population:
    """What is said of all samples together.

    Attributes:
        clusters: generated identities.
        won: clusters whose closest photo is a candidate's.
        lost: clusters whose closest photo is a null person's.
        tied: clusters where both are equally close.
        winners: different identities, of both sides, among the closest.
        p_value: chance of as many wins if nobody was trained on; never below 1 / (draws + 1).
        share: share of clusters won, ties by half.
        share_interval: 95 % bootstrap interval, drawing winning identities with all their clusters: of other samples
            *and* other people.  Simulated, it covers 93 to 96 % with galleries much larger than the number of winners and
            up to one hub; 91 to 92 % with two hubs of a tenth each; more than 97 % when most people of small galleries win.
            Where all clusters are won alike, the interval of a proportion with one trial a winner.
        leaking: estimate of the share of clusters that would not have been won without training: (share - chance) / (1 -
            chance), at least 0, where chance = candidates / (candidates + nulls); 2 share - 1 for equal sizes.  It is
            *not* the share of candidates that leak, nor does it say which cluster does.  A leak too weak to
            beat a stranger is not in it; a hub among the candidates is, so read it only where `p_value` is small.
        leaking_interval: `share_interval`, converted alike.
    """

    clusters: int
    won: int
    lost: int
    tied: int
    winners: int
    p_value: float
    share: float
    share_interval: tuple[float, float]
    leaking: float
    leaking_interval: tuple[float, float]


def weigh_population(
    candidate_best: NDArray[np.float32],
    candidate_identity: NDArray[np.int64],
    null_best: NDArray[np.float32],
    null_identity: NDArray[np.int64],
    cluster: NDArray[np.int32],
    *,
    candidates: int,
    nulls: int,
    draws: int = 10_000,
    seed: int,
) -> Population:
    """Test whether candidates are closest more often than a lottery explains, and estimate by how much.

    Only the closest identity of each cluster enters, and that does not depend on who is a candidate; identities that win
    nothing enter by their number.  So the two bests and the two sizes are all that an exact test needs.  It asks that
    identities of both sides were drawn alike: the same kind of pictures, and as many of each person.

    Args:
        candidate_best: (n,) each sample's best score over the candidate photos, n >= 1.
        candidate_identity: (n,) code of the identity of that photo.
        null_best: (n,) the same over the null photos.
        null_identity: (n,) likewise; codes of the two sides are apart, so both may start at 0.
        cluster: (n,) codes of generated identities, any integers.
        candidates: identities in the candidate galleries, whether or not they win.
        nulls: identities in the null galleries.
        draws: lotteries drawn.
        seed: draws them, the winners of ties, and the bootstrap.

    Raises:
        CalibrationError: more identities win on a side than it is said to have.
    """
    rng = np.random.default_rng([seed, len(cluster)])
    won, tied, winner = _closest(candidate_best, candidate_identity, null_best, null_identity, cluster, rng)
    identity, times = np.unique(winner, return_counts=True)
    _check_sizes(int((identity >= 0).sum()), candidates, "candidate")
    _check_sizes(int((identity < 0).sum()), nulls, "null")
    drawn = lottery(times, candidates=candidates, nulls=nulls, draws=draws, rng=rng)
    p_value = (1.0 + int((drawn >= int((winner >= 0).sum())).sum())) / (draws + 1.0)
    value = np.where(tied, 0.5, won)
    share, interval = float(value.mean()), _interval(value, winner, seed)
    chance = candidates / (candidates + nulls)
    return Population(
        clusters=len(winner),
        won=int(won.sum()),
        lost=len(winner) - int(won.sum()) - int(tied.sum()),
        tied=int(tied.sum()),
        winners=len(identity),
        p_value=p_value,
        share=share,
        share_interval=interval,
        leaking=_leaking(share, chance),
        leaking_interval=(_leaking(interval[0], chance), _leaking(interval[1], chance)),
    )


def lottery(
    times: NDArray[np.integer], *, candidates: int, nulls: int, draws: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many clusters candidates win when the labels are drawn anew.

    Identities that win equally often are alike, so only how many of each kind become candidates is drawn.

    Args:
        times: (k,) number of clusters that each winning identity wins.
        candidates: labels "candidate" to give.
        nulls: labels "null" to give; candidates + nulls >= k.
        draws: number of lotteries.
        rng: draws them.

    Returns:
        (draws,) int64.
    """
    wins, alike = np.unique(times, return_counts=True)
    kinds = np.append(alike, candidates + nulls - len(times))
    labels = rng.multivariate_hypergeometric(kinds, candidates, size=draws, method="marginals")
    return np.asarray(labels[:, :-1] @ wins, np.int64)


def _interval(value: NDArray[np.float64], winner: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Return the interval of the share: where all was won alike, which has no spread to draw from, one trial a winner."""
    winners = len(np.unique(winner))
    if winners > 1 and value.min() == value.max():
        return beta_interval(float(value[0]) * winners, winners)
    low, high = cluster_bootstrap(value, winner, seed=seed)
    return max(low, 0.0), min(high, 1.0)


def _closest(
    candidate_best: NDArray[np.float32],
    candidate_identity: NDArray[np.int64],
    null_best: NDArray[np.float32],
    null_identity: NDArray[np.int64],
    cluster: NDArray[np.int32],
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Return for each cluster whether a candidate won, whether it is a tie, and the winner: null people are -1 - code.

    The winner of a tie is drawn, so that ties do not depend on the labels.
    """
    place = np.unique(cluster, return_inverse=True)[1]
    row, null_row = _highest_each(place, candidate_best), _highest_each(place, null_best)
    won, tied = candidate_best[row] > null_best[null_row], candidate_best[row] == null_best[null_row]
    takes = won | (tied & (rng.integers(2, size=len(row)) == 1))
    return won, tied, np.where(takes, candidate_identity[row], -1 - null_identity[null_row])


def _highest_each(place: NDArray[np.int64], best: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the row of the highest value of each place, the first of equals."""
    order = np.lexsort((-best, place))
    return order[np.unique(place[order], return_index=True)[1]]


def _leaking(share: float, chance: float) -> float:
    """Return the share of clusters beyond what chance wins."""
    return max(0.0, (share - chance) / (1.0 - chance))


def _check_sizes(winners: int, size: int, side: str) -> None:
    """Refuse fewer identities than are seen to win."""
    if size < max(winners, 1):
        raise CalibrationError(
            f"{winners} {side} identities are closest to a sample, but the {side} galleries are said to hold {size}. Count the "
            "identities of the same galleries that were searched."
        )
