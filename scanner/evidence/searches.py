"""What one search says: a sample's best candidate against the best of people known not to be in training.

Two roads.  *Against other searches*: the best candidate score is compared with the best null scores of all samples.
It needs no pairing, but a sample that is close to everybody is close to candidates too.  *Paired*: the same sample
against both galleries.  If it leaks nobody, its winner is as likely a null person as a candidate, and the searches
that null people win show how far a winner is ahead by chance (target-decoy competition, Elias & Gygi 2007; knockoff+,
Barber & Candes 2015, section 3).  Whatever a sample does to both sides alike, cancels.

Samples of one generated identity are one trial: each cluster weighs 1, however many samples it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.evidence.null import Tail, conformal_p, fit_tail


@dataclass(frozen=True, slots=True)
class SearchEvidence:
    """What is said of each sample; all arrays are (n,) float64, one entry a sample.

    Attributes:
        p_value: from the fitted tail where the score lies in it, else `p_conformal`.
        p_conformal: from the null's ranks alone; never below `floor`.
        p_paired: from the paired contest, at most 1/2 when a candidate won and 1 otherwise; nan when the galleries' sizes do
            not allow one (see `weigh_searches`).  A cluster's samples are judged by what clusters reach, so it answers for
            the most striking of them, and is on the safe side for any other.
        q_value: false discovery rate of calling this sample and all with a smaller `p_value`; a cluster of m samples counts
            as one, each of its samples as 1/m (Benjamini & Hochberg 1997).
        q_paired: likewise of the paired contest; counts whole clusters or winning identities; nan as `p_paired`.
        tail: fitted to the null, or why there is none.
        floor: smallest `p_conformal` that can be.
        clusters: number of clusters, so of independent null searches.
    """

    p_value: NDArray[np.float64]
    p_conformal: NDArray[np.float64]
    p_paired: NDArray[np.float64]
    q_value: NDArray[np.float64]
    q_paired: NDArray[np.float64]
    tail: Tail
    floor: float
    clusters: int


@dataclass(frozen=True, slots=True)
class Winners:
    """Who won each search, label and all, for contests that hubs cannot spoil.

    Attributes:
        candidate_identity: (n,) int64 code of the identity of each sample's best candidate photo.
        null_identity: (n,) int64 the same of the best null photo; codes of the two sides need not differ.
        usual: (n,) what is usual for this sample, from both galleries together and blind to which is which: for instance
            its mean score over all photos of both.  Taken from the winner's score.
    """

    candidate_identity: NDArray[np.int64]
    null_identity: NDArray[np.int64]
    usual: NDArray[np.floating]


def weigh_searches(
    candidate_best: NDArray[np.float32],
    null_best: NDArray[np.float32],
    cluster: NDArray[np.int32],
    *,
    blocks: float = 1.0,
    seed: int,
    winners: Winners | None = None,
) -> SearchEvidence:
    """Return p- and q-values of each search.

    `p_value` and `q_value` take one random sample of each cluster as the null, so it has as many values as there are
    independent trials.  They hold when the best null score of one sample is like the best candidate score of
    another that leaks nobody: so the galleries have as many people, in pictures of one kind, and no hub sits in one of
    them.  A candidate gallery of `blocks` times as many references as the null search has is that many searches (Bonferroni).

    The paired contest without `winners`: the size of a search is |candidate_best - null_best|, that of a cluster the
    largest of its samples', and clusters are counted.  It holds when no person is among the best of many clusters: a hub
    among the candidates wins many at once.  With `winners` the size is the winner's score less `usual`, and
    winning identities are counted, each once: neither depends on who is a candidate, so their labels are a fair lottery
    and hubs are no more than one of them.  Only this contest can be unfair in a known way, so only it takes `blocks` > 1.

    Args:
        candidate_best: (n,) each sample's best score over the candidate gallery.
        null_best: (n,) its best score over the null gallery.
        cluster: (n,) codes of generated identities, any integers.
        blocks: references among the candidates over those that the null search has, at least 1.  If these were drawn by lot
            from as many, the best of all lies among them with chance 1 / blocks, so a p-value is that many times larger.
        seed: draws the sample that stands for its cluster in the null.
        winners: who won, when it is known.
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    null = null_best[_one_each(codes, np.random.default_rng([seed, len(codes)]))]
    tail = fit_tail(null)
    one = conformal_p(candidate_best, null)
    in_tail = (candidate_best > tail.start) & (tail.refused == "")
    p_value = np.minimum(blocks * np.where(in_tail, tail.p(candidate_best), one), 1.0)
    p_paired, q_paired = _paired(candidate_best, null_best, codes, blocks, winners)
    return SearchEvidence(
        p_value=p_value,
        p_conformal=np.minimum(blocks * one, 1.0),
        p_paired=p_paired,
        q_value=weighted_q_values(p_value, 1.0 / np.bincount(codes)[codes]),
        q_paired=q_paired,
        tail=tail,
        floor=min(1.0, blocks / (len(null) + 1)),
        clusters=len(null),
    )


def weighted_q_values(p_values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Benjamini-Hochberg q-values of tests that do not weigh the same (Benjamini & Hochberg 1997, section 3).

    The rate is that of weights: expected share, in weight, of what is false among what is called.  With equal
    weights these are `multiple.bh_q_values`.

    Args:
        p_values: (n,) in [0, 1].
        weights: (n,) above 0.
    """
    order = np.argsort(p_values, kind="stable")
    called = np.cumsum(weights[order])
    raised = p_values[order] * weights.sum() / called
    q = np.empty(len(order))
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return q


def _one_each(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one random row of each code."""
    order = np.lexsort((rng.random(len(codes)), codes))
    return order[np.unique(codes[order], return_index=True)[1]]


def _largest_each(codes: NDArray[np.int64], size: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row of the largest size of each code, the first of equals."""
    order = np.lexsort((-size, codes))
    return order[np.unique(codes[order], return_index=True)[1]]


def _paired(
    candidate_best: NDArray[np.float32],
    null_best: NDArray[np.float32],
    codes: NDArray[np.int64],
    blocks: float,
    winners: Winners | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return p- and q-values of the contest between the galleries.

    The sample of the largest size speaks for its cluster.  What is counted ("units", each by its `chief`) is clusters,
    or the identities that win speakers.  A sample is called with its unit, if it won as well and is as far ahead.  A tie is
    lost: that can only make the others' q larger.
    """
    won = candidate_best > null_best
    if not len(codes) or (winners is None and blocks > 1):
        return np.full(len(codes), np.nan), np.full(len(codes), np.nan)
    if winners is None:
        size = np.abs(candidate_best.astype(np.float64) - null_best)
        chief = _largest_each(codes, size)
        of_sample = np.arange(len(chief))[codes]
    else:
        size = np.maximum(candidate_best, null_best).astype(np.float64) - winners.usual
        label = np.stack([np.where(won, winners.candidate_identity, winners.null_identity), won])
        identity = np.unique(label, axis=1, return_inverse=True)[1].ravel()
        speaker = _largest_each(codes, size)
        chief = speaker[_largest_each(identity[speaker], size[speaker])]
        unit = np.full(identity.max() + 1, -1)  # an identity may win samples, but speak for no cluster
        unit[identity[chief]] = np.arange(len(chief))
        of_sample = unit[identity]
    chance = blocks / (blocks + 1.0)
    p = _contest_p(won, size, chief, chance)
    q = _contest_q(won[chief], size[chief], blocks, np.minimum(size, size[chief][of_sample]))
    called = won & (of_sample >= 0) & won[chief][of_sample]
    return p, np.where(called, q, 1.0)


def _contest_p(
    won: NDArray[np.bool_], size: NDArray[np.float64], chief: NDArray[np.int64], chance: float
) -> NDArray[np.float64]:
    """Return p-values: the chance to win, times the conformal p-value of the size among what was lost; 1 when lost.

    Only the lost side is looked at, so leaks, which win, do not make the null look smaller than it is.
    """
    lost = np.sort(size[chief][~won[chief]])
    above = (1.0 + len(lost) - np.searchsorted(lost, size, side="left")) / (1.0 + len(lost))
    return np.where(won, chance * above, 1.0)


def _contest_q(
    won: NDArray[np.bool_], size: NDArray[np.float64], blocks: float, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return knockoff+ q-values of calling every unit that won with a size of at least `at`.

    The estimate at t is blocks x (1 + lost units of size >= t) / won units of size >= t (for blocks > 1: Levitsky et
    al. 2017), its q-value the smallest over all t that call this unit as well.
    """
    cuts = np.unique(size)
    lost = np.sort(size[~won])
    gained = np.sort(size[won])
    decoys = len(lost) - np.searchsorted(lost, cuts, side="left")
    called = len(gained) - np.searchsorted(gained, cuts, side="left")
    rate = np.minimum(blocks * (1.0 + decoys) / np.maximum(called, 1), 1.0)
    rate[called == 0] = 1.0
    lowest = np.minimum.accumulate(rate)
    return np.asarray(lowest[np.searchsorted(cuts, at, side="left").clip(max=len(cuts) - 1)], np.float64)
