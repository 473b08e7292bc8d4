"""The learned attack: a second model that tells members from others by what lies near their photos.

It sees photos one by one and never how many an identity has; folds are drawn by identity, so no person is in
training and test at once; the kind of model is chosen inside the training part of each fold.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.membership import check_identities, check_samples, join_photos
from scanner.evidence.neighbours import Neighbours

SIDE_MIN = 4
"""Fewest members, and fewest others, that an attack is learned from."""
FOLDS_MIN = 2
TREES_FROM = 50
"""Trees are tried when the training part holds as many members, and as many others; fewer teach them noise."""
INNER_FOLDS = 3
TIE = 0.01
"""A model later in the list must beat the earlier ones by more AUC than this."""


class Attack(Protocol):
    """A classifier of scikit-learn that has learned."""

    def decision_function(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log-odds of membership."""
        ...


def neighbourhood_features(near: Neighbours, reference: Neighbours | None = None) -> NDArray[np.float64]:
    """Return what the attack sees of each photo.

    Args:
        near: n photos among the generator's samples.
        reference: the same photos among samples of a reference generator.

    Returns:
        (n, f) float64: the k best scores, how far the first stands above each of the others, log(1 + number of samples
        within each radius), mean and standard deviation over all samples, and the best score, the mean of the k
        best and the last of them in standard deviations above the mean.  With a reference, all of these less the same in
        the reference as well (in so far as both have them).
    """
    own = _features(near)
    if reference is None:
        return own
    other = _features(reference)
    if len(own) != len(other) or own.shape[1] != other.shape[1]:
        raise CalibrationError(
            f"The reference generator's neighbours have {len(other)} photos and {other.shape[1]} features, the generator's "
            f"{len(own)} and {own.shape[1]}. Look the same photos up in both, with one k and the same radii."
        )
    return np.column_stack([own, own - other])


def _features(near: Neighbours) -> NDArray[np.float64]:
    """Return (n, f) features of one neighbourhood."""
    check_samples(near)
    best = near.score[:, : near.samples].astype(np.float64)
    sd = np.maximum(near.sd, 1e-12)
    raised = (np.column_stack([best[:, 0], best.mean(1), best[:, -1]]) - near.mean[:, None]) / sd[:, None]
    return np.column_stack([best, best[:, :1] - best[:, 1:], np.log1p(near.within), near.mean, near.sd, raised])


def learned_scores(
    features: NDArray[np.float64],
    identities: NDArray[np.int64],
    member: NDArray[np.bool_],
    *,
    folds: int = 5,
    seed: int,
) -> NDArray[np.float64]:
    """Return a membership score of each identity from models that never saw the identity.

    Folds hold members and others in equal shares.  The models of different folds do not speak one scale, so the
    log-odds of a fold are put in standard deviations above the mean of the *training* others, scored out of fold within
    the training part.  Photos of an identity are put together by `join_photos`.

    Args:
        features: (n, f) of the photos, finite.
        identities: (n,) codes 0..people-1; every code occurs.
        member: (people,) whether the identity was in training.
        folds: at least 2; fewer are made when a side has less than two identities for each.
        seed: draws the folds; equal seeds give equal bytes, in whatever order the photos stand.

    Raises:
        CalibrationError: fewer than `SIDE_MIN` members or others, fewer than 2 folds, or codes with gaps.
    """
    people = check_identities(identities, len(features))
    folds = _folds_for(member, people, folds)
    order = np.lexsort((*features.T[::-1], identities))
    x, who = np.asarray(features[order], np.float64), identities[order]
    rng = np.random.default_rng([seed, 0x61747461])
    fold = draw_folds(member, folds, rng)
    found = np.empty(len(x))
    from sklearn import config_context
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), config_context(skip_parameter_validation=True):
        for place in range(folds):
            train = fold[who] != place
            found[~train] = _score_fold(x[train], who[train], member, x[~train], rng)
    return join_photos(found, who)


def _folds_for(member: NDArray[np.bool_], people: int, folds: int) -> int:
    """Return how many folds the smaller side can fill."""
    members, others = int(member.sum()), int((~member).sum())
    smaller = min(members, others)
    if len(member) != people or smaller < SIDE_MIN or folds < FOLDS_MIN:
        raise CalibrationError(
            f"An attack is learned from at least {SIDE_MIN} members and {SIDE_MIN} others in {FOLDS_MIN} folds or more; got {members} "
            f"members and {others} others for {people} identities with photos, and {folds} folds. Name more identities "
            "on the smaller side, or leave the learned attack out."
        )
    return min(folds, smaller // 2)


def draw_folds(member: NDArray[np.bool_], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (people,) int64 folds 0..folds-1; each side is spread evenly."""
    fold = np.empty(len(member), np.int64)
    for side in (member, ~member):
        fold[side] = rng.permutation(np.arange(int(side.sum())) % folds)
    return fold


def _score_fold(
    x: NDArray[np.float64],
    who: NDArray[np.int64],
    member: NDArray[np.bool_],
    unseen: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Choose and fit a model on the training photos `x`, and return calibrated scores of `unseen` ones."""
    known, codes = np.unique(who, return_inverse=True)
    truth = member[known]
    inner = draw_folds(truth, min(INNER_FOLDS, int(min(truth.sum(), (~truth).sum()))), rng)
    weights = _weights(codes, truth)
    best, best_auc, best_scores = 0, -1.0, np.zeros(len(x))
    seed = int(rng.integers(2**31))
    for choice in range(_choices(truth)):
        scores = np.empty(len(x))
        for place in range(int(inner.max()) + 1):
            train = inner[codes] != place
            model = _fit(choice, x[train], truth[codes[train]], weights[train], seed)
            scores[~train] = model.decision_function(x[~train])
        auc = _photo_auc(scores, truth[codes], weights)
        if auc > best_auc + TIE:
            best, best_auc, best_scores = choice, auc, scores
    other = ~truth[codes]
    middle = np.average(best_scores[other], weights=weights[other])
    spread = np.sqrt(np.average((best_scores[other] - middle) ** 2, weights=weights[other]))
    model = _fit(best, x, truth[codes], weights, seed)
    return np.asarray((model.decision_function(unseen) - middle) / max(float(spread), 1e-9), np.float64)


def _weights(codes: NDArray[np.int64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) weights: each identity counts once, each side for a half; 1 on average."""
    photos = np.bincount(codes)
    side = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    return np.asarray(len(codes) * (side / photos)[codes], np.float64)


def _photo_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Return how often a random member's random photo is above a random other's, ties as a half."""
    ordered, place = np.unique(scores[~truth], return_inverse=True)
    mass = np.bincount(place, weights=weights[~truth])
    below = np.concatenate([[0.0], np.cumsum(mass)])
    left = np.searchsorted(ordered, scores[truth], side="left")
    right = np.searchsorted(ordered, scores[truth], side="right")
    wins = (below[left] + below[right]) / (2.0 * below[-1])
    return float(np.average(wins, weights=weights[truth]))


_PENALTIES = (0.01, 0.3)
"""Inverse penalties C of the two logistic regressions; the stiff one first."""


def _choices(truth: NDArray[np.bool_]) -> int:
    """Return how many kinds of model the training part can feed."""
    return len(_PENALTIES) + int(min(truth.sum(), (~truth).sum()) >= TREES_FROM)


def _fit(choice: int, x: NDArray[np.float64], y: NDArray[np.bool_], weights: NDArray[np.float64], seed: int) -> Attack:
    """Fit the model of that number: a logistic regression, or after them boosted trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Attack
    if choice < len(_PENALTIES):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTIES[choice], max_iter=500)).fit(
            x, y, logisticregression__sample_weight=weights, standardscaler__sample_weight=weights
        )
        return model
    model = HistGradientBoostingClassifier(
        max_iter=40, learning_rate=0.1, max_leaf_nodes=8, max_bins=63, min_samples_leaf=10, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
    ).fit(x, y, sample_weight=weights)  # fmt: skip
    return model
