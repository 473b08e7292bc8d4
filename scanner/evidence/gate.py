"""The release gate: is the share of people that a generator gives away below what a policy tolerates?

People are the random part, the generated samples are fixed.  A person's statistic is the best score of her photos over
all samples.  The cut is the null's (1 - fpr) quantile: the j-th highest of K non-members, j = floor(fpr (K + 1)).

    r  chance that a member reaches the cut          h of M members do
    f  chance that somebody innocent reaches it      j of K non-members do
    d  chance that somebody given away reaches it    t of J planted copies do (another photo of a non-member)

With L the share of members that are given away, r = L d + (1 - L) f, so L = (r - f) / (d - f).  Each of the three
chances has a one-sided Clopper-Pearson bound, and the allowed error is split among them (Bonferroni), so both bounds
of L hold without any assumption on how the three counts hang together:

    upper = (r_high - f_low) / (d_low - f_low)       a half of the error for r, a quarter each for f and d
    lower = (r_low - f_high) / (1 - f_high)          a half each; d is taken to be 1, so no power estimate is believed

The cut is drawn from the null itself: f at the j-th highest of K is Beta(j, K - j + 1) (David & Nagaraja 2003, section
2.5), so the lower Clopper-Pearson bound of j in K is exact for it, and the upper one is on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scanner.errors import UsageError

State = Literal["pass", "fail", "inconclusive"]
LIKELY = 0.8
"""Chance with which a generator that gives nobody away should pass, for `Sizes.likely`."""
SIZE_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """What was decided before anything was measured.

    Attributes:
        leak_rate_max: largest tolerated share of member identities that are given away, in (0, 1).
        confidence: chance with which each bound of the leak rate holds, in (0.5, 1).
        fpr: share of innocent people that may reach the cut, in (0, 0.5].
        power_min: least chance that somebody given away reaches the cut, in (0, 1].
    """

    leak_rate_max: float
    confidence: float = 0.95
    fpr: float = 0.01
    power_min: float = 0.8

    def __post_init__(self) -> None:
        bounds = {
            "leak_rate_max": 0.0 < self.leak_rate_max < 1.0,
            "confidence": 0.5 < self.confidence < 1.0,  # noqa: PLR2004
            "fpr": 0.0 < self.fpr <= 0.5,  # noqa: PLR2004
            "power_min": 0.0 < self.power_min <= 1.0,
        }
        wrong = [f"{name} = {getattr(self, name)}" for name, fine in bounds.items() if not fine]
        if wrong:
            raise UsageError(
                f"The gate's policy cannot be: {', '.join(wrong)}. leak_rate_max and power_min are shares between 0 and 1, "
                "confidence lies between 0.5 and 1, fpr between 0 and 0.5."
            )


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many people a pass takes, at the power that was found.

    Attributes:
        possible: with this null and fewer members no pass is possible, whatever is found; None: with no number.
        likely: with so many members and as many non-members, a generator that gives nobody away passes with a chance of
            at least `LIKELY`; None: with no number up to `SIZE_MAX`.
    """

    possible: int | None
    likely: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says, and the counts that it rests on.

    Attributes:
        state: "pass", "fail" or "inconclusive".
        sentence: the same in words, with the reason.
        cut: a person whose statistic is at least this is counted; infinity when the null allows none.
        members: member identities, of which `member_hits` reach the cut.
        null_identities: non-member identities, of which `null_hits` reach it.
        planted: planted copies, of which `planted_hits` reach it.
        leak_rate: estimated share of members that are given away; `leak_low` and `leak_high` each hold with the
            policy's confidence.
        power: share of planted copies that reach the cut; `power_low` is its lower bound.
        sizes: how many members a pass takes.
    """

    state: State
    sentence: str
    cut: float
    members: int
    member_hits: int
    null_identities: int
    null_hits: int
    planted: int
    planted_hits: int
    leak_rate: float
    leak_low: float
    leak_high: float
    power: float
    power_low: float
    sizes: Sizes


def decide_gate(
    members: NDArray[np.floating],
    null: NDArray[np.floating],
    planted: NDArray[np.floating],
    *,
    policy: Policy,
    guards: Sequence[str] = (),
) -> Decision:
    """Hold a generator's leak rate against a policy.

    If the true leak rate is at most `leak_rate_max`, "fail" has a chance of at most 1 - confidence; if it is above,
    "pass" has.  Both need that members and null are drawn from like people and photographed alike, which is what
    `guards` are about; "pass" also needs that somebody given away is seen as surely as the planted copies are.

    Args:
        members: (M,) one statistic a member identity, M >= 1; higher is closer to the samples.
        null: (K,) the same of non-members, seen through as many photos each.
        planted: (J,) the same of people of whom another photo lay among the samples; J may be 0.
        policy: decided beforehand.
        guards: sentences of what speaks against any conclusion; one is enough for "inconclusive".
    """
    cut = null_cut(null, fpr=policy.fpr)
    error = 1.0 - policy.confidence
    h, j, t = (int((np.asarray(values) >= cut).sum()) for values in (members, null, planted))
    m, k, n = len(members), len(null), len(planted)
    f, d = j / max(k, 1), t / max(n, 1)
    f_low, d_low = at_least(j, k, error / 4), at_least(t, n, error / 4)
    r_high = at_most(h, m, error / 2)
    high = leak_rate(r_high, f_low, d_low)
    low = leak_rate(at_least(h, m, error / 2), at_most(j, k, error / 2), 1.0)
    sizes = _sizes(policy, f_low=f_low, d_low=d_low)
    blocked = list(guards)
    if j == 0:
        blocked.append(_no_cut(k, policy.fpr))
    elif r_high < f_low:
        blocked.append(
            f"members reach the cut less often ({h} of {m}) than non-members ({j} of {k}), which innocence does not explain: "
            "the two are not alike"
        )
    state, why = _verdict(policy, blocked, m=m, n=n, d=d, d_low=d_low, low=low, high=high, sizes=sizes)
    estimate = min(max(leak_rate(h / m, f, d), low), high)
    return Decision(state, why, cut, m, h, k, j, n, t, estimate, low, high, d, d_low, sizes)


def null_cut(null: NDArray[np.floating], *, fpr: float) -> float:
    """Return the lowest value that at most floor(fpr (K + 1)) of the K null statistics reach; infinity if there is none.

    A new innocent person reaches it with a chance of at most `fpr`.
    """
    ordered = np.sort(np.asarray(null, np.float64))[::-1]
    allowed = math.floor(fpr * (len(ordered) + 1) * (1 + 1e-12))  # 0.07 of 100 are 7, in floating point a little more
    values, counts = np.unique(-ordered, return_counts=True)  # highest first
    fitting = int(np.searchsorted(np.cumsum(counts), allowed, side="right"))  # ties are taken or left as a whole
    return float(-values[fitting - 1]) if fitting else math.inf


def leak_rate(r: float, f: float, d: float) -> float:
    """Return the share L in [0, 1] that solves r = L d + (1 - L) f; 1 where no share does and r is above f."""
    if r <= f:
        return 0.0
    return min(1.0, (r - f) / (d - f)) if d > f else 1.0


def at_least(hits: int, trials: int, error: float) -> float:
    """Return the lower Clopper-Pearson bound of a proportion, wrong with a chance of at most `error`."""
    return float(stats.beta.ppf(error, hits, trials - hits + 1)) if hits else 0.0


def at_most(hits: int, trials: int, error: float) -> float:
    """Return the upper Clopper-Pearson bound of a proportion, wrong with a chance of at most `error`."""
    return float(stats.beta.ppf(1.0 - error, hits + 1, trials - hits)) if hits < trials else 1.0


def members_at_least(policy: Policy) -> int:
    """Return how many members a pass takes with an endless null and perfect power: fewer are not worth starting with."""
    return math.ceil(math.log((1.0 - policy.confidence) / 2) / math.log1p(-_tolerated(policy, policy.fpr, 1.0)) - 1e-9)


@lru_cache(maxsize=256)
def _sizes(policy: Policy, *, f_low: float, d_low: float) -> Sizes:
    """Find the sizes, for a null and a power as good as these bounds say."""
    error = 1.0 - policy.confidence
    if d_low < policy.power_min or d_low <= f_low:
        return Sizes(None, None)
    possible = math.ceil(math.log(error / 2) / math.log1p(-_tolerated(policy, f_low, d_low)) - 1e-9)

    def passes(n: int) -> bool:
        j = math.floor(policy.fpr * (n + 1))
        if j == 0:
            return False
        usual = int(stats.betabinom.ppf(LIKELY, n, j, n - j + 1))  # an innocent generator's hits, over nulls as well
        return at_most(usual, n, error / 2) <= _tolerated(policy, at_least(j, n, error / 4), d_low)

    low, high = 0, 128
    while not passes(high):
        low, high = high, 2 * high
        if high > SIZE_MAX:
            return Sizes(possible, None)
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return Sizes(possible, high)


def _tolerated(policy: Policy, f_low: float, d_low: float) -> float:
    """Return the largest upper bound of r with which the leak rate's is still tolerated."""
    return f_low + policy.leak_rate_max * (d_low - f_low)


def _verdict(
    policy: Policy,
    blocked: Sequence[str],
    *,
    m: int,
    n: int,
    d: float,
    d_low: float,
    low: float,
    high: float,
    sizes: Sizes,
) -> tuple[State, str]:
    """Return the state and its sentence."""
    most, sure = share(policy.leak_rate_max), share(policy.confidence)
    if blocked:
        return "inconclusive", f"Inconclusive: {'; '.join(blocked)}."
    if low > policy.leak_rate_max:
        return "fail", (
            f"Fail: more than {share(low)} of the member identities are given away, with {sure} confidence; {most} are tolerated."
        )
    if n == 0:
        return "inconclusive", (
            "Inconclusive: no non-member has a second photo, so nobody knows how surely a leak would have been seen. "
            "Add non-members with several photos each."
        )
    if d_low < policy.power_min:
        return "inconclusive", (
            f"Inconclusive: {share(d)} of {n} planted copies were seen, so the power is at least {share(d_low)}; "
            f"{share(policy.power_min)} are asked for. Take a better embedder, more photos a person, or a larger fpr."
        )
    if high <= policy.leak_rate_max:
        return "pass", (
            f"Pass: at most {share(high)} of the member identities are given away, with {sure} confidence; {most} are tolerated."
        )
    return "inconclusive", f"Inconclusive: {_undecided(policy, m, low, high, sizes)}"


def _undecided(policy: Policy, m: int, low: float, high: float, sizes: Sizes) -> str:
    """Say why neither bound decides, and what would."""
    most = share(policy.leak_rate_max)
    likely = f" With {sizes.likely} members and as many non-members an innocent generator would pass in {share(LIKELY)} of audits."
    if sizes.likely is None:
        likely = " At this power and fpr no number of people makes a pass likely: tolerate more, or take another fpr."
    if sizes.possible is not None and m < sizes.possible:
        return f"with {m} members no pass at {most} is possible; at least {sizes.possible} are needed.{likely}"
    return (
        f"between {share(low)} and {share(high)} of the member identities are given away; {most} are tolerated.{likely}"
    )


def _no_cut(k: int, fpr: float) -> str:
    """Say why no cut keeps all but `fpr` of the null out."""
    needed = math.ceil(1.0 / fpr - 1.0 - 1e-9)
    if k < needed:
        return f"{k} non-members say nothing about 1 innocent person in {1.0 / fpr:.0f}; at least {needed} are needed"
    return f"too many of the {k} non-members come equally close, so no cut keeps all but {share(fpr)} of them out"


def share(value: float) -> str:
    """Return a share as per cent, with two digits."""
    return f"{100 * value:.3g} %" if value >= 0.1 else f"{100 * value:.2g} %"  # noqa: PLR2004
