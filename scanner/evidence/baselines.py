"""Other people's scores of one identity, and the table that holds them beside ours.

What is said of a whole set of samples is in `scanner.evidence.copying`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scanner.evidence.attack_model import learned_scores, neighbourhood_features
from scanner.evidence.membership import check_identities, check_samples, join_photos, membership_scores
from scanner.evidence.neighbours import Neighbours

TABLE = ("best_match", "mean_of_k", "count_within", "calibrated", "learned", "min_match", "privet")
"""Names of the scores in `score_table`: five of ours, then the baselines."""
_NEIGHBOURS_MIN = 3
_TINY = -30.0
"""Below, 1 - (1 - p)^n is n p to the last digit."""


def score_table(
    near: Neighbours,
    identities: NDArray[np.int64],
    member: NDArray[np.bool_],
    *,
    reference: Neighbours | None,
    k: int,
    folds: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return every score of every identity, under the names of `TABLE`.

    Only "learned" is told who is a member, and gives each identity a score from models that never saw it; its AUC
    needs `cross_fitted=True` (see `scanner.evidence.roc.auc`).

    Args:
        near: n photos among the generator's samples.
        identities: (n,) codes 0..people-1 of whose photo it is; every code occurs.
        member: (people,) whether the identity was in training.
        reference: the same photos among a reference generator's samples, or None.
        k: best scores that the mean takes.
        folds: of the learned attack.
        seed: of the learned attack.

    Returns:
        For each name (people,) float64, higher speaks for membership.

    Raises:
        CalibrationError: what `membership_scores` and `learned_scores` refuse.
    """
    table = membership_scores(near, identities, reference=reference, null=None, k=k)
    features = neighbourhood_features(near, reference)
    table["learned"] = learned_scores(features, identities, member, folds=folds, seed=seed)
    table["min_match"] = min_match(near, identities)
    table["privet"] = join_photos(tail_scores(near), identities)
    return {name: table[name] for name in TABLE}


def min_match(near: Neighbours, identities: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the highest score of any photo of the identity with any sample, as most tools print it.

    Source: the full-black-box attack of GAN-Leaks (Chen et al. 1909.03935, section 4.2: L is the least reconstruction
    error over the samples), with 1 - cosine of identity embeddings for the error.  Deviation: nothing is
    done about the number of photos, so identities with more of them score higher whoever they are.

    Returns:
        (people,) float64 in [-1, 1].
    """
    check_samples(near)
    best = np.full(check_identities(identities, len(near)), -1.0)
    np.maximum.at(best, identities, near.score[:, 0].astype(np.float64))
    return best


def tail_scores(near: Neighbours) -> NDArray[np.float64]:
    """Return how far each photo's best match stands out of the tail of its own neighbours, as -ln p.

    In the manner of PRIVET (Szatkownik et al. 2510.24233): near 0 the gaps u = 1 - score between a photo and
    samples follow a Weibull-type law F(u) ~ u^a, so of the k smallest the first over the last, to the power a, is
    the least of k - 1 uniform numbers: p = 1 - (1 - (u_1 / u_k)^a)^(k - 1).  The exponent a is one for all photos, matched
    to the mean of ln(u_k / u_j) over the neighbours 2..k (Hill's estimator without the first, where a copy would weigh).

    Deviations, as far as the paper's abstract and summaries show: it scores samples against training data and
    subtracts the same against a test set; we score photos, and their own further neighbours are the comparison.  It chooses
    between Weibull and Gumbel laws; we take Weibull's, since cosines end at 1.  Embeddings, not pixels.

    Returns:
        (n,) float64, at least 0; exponential with mean 1 where the law holds and nothing was copied.  All 0 when fewer
        than 3 neighbours are known.
    """
    check_samples(near)
    kept = min(near.score.shape[1], near.samples)
    if kept < _NEIGHBOURS_MIN:
        return np.zeros(len(near))
    gaps = np.maximum(1.0 - near.score[:, :kept].astype(np.float64), 1e-9)
    # a ln(u_k / u_j) are k - 1 ordered standard exponentials; the largest belongs to the best match and is left out.
    ratios = np.log(gaps[:, -1:] / gaps)
    spread = float(ratios[:, 1:-1].sum()) / max(len(gaps), 1)
    expected = _mean_without_largest(kept - 1)
    exponent = expected / max(spread, 1e-12)
    least = -exponent * ratios[:, 0]
    return np.asarray(-_log_p_of_least(least, kept - 1), np.float64)


def _mean_without_largest(count: int) -> float:
    """Return the expected sum of `count` standard exponentials less their largest (Rényi 1953)."""
    return count - float((1.0 / np.arange(1, count + 1)).sum())


def _log_p_of_least(log_least: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return ln of 1 - (1 - e^log_least)^count, exact also where e^log_least is tiny."""
    with np.errstate(divide="ignore"):
        survives = count * np.log1p(-np.exp(np.minimum(log_least, 0.0)))
    tiny = log_least < _TINY
    exact = np.log(-np.expm1(np.where(tiny, -1.0, survives)))
    return np.where(tiny, log_least + np.log(count), exact)
