"""What is measured of one generator: every score of every identity, its rates, and what the gate and the page need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.audit.config import AuditConfig, GeneratorSection
from scanner.audit.look import Input, Looked, check_canaries, look_all, look_through, radii_of
from scanner.audit.people import People, Side, plant
from scanner.audit.sweeps import over_photos, over_samples
from scanner.errors import CalibrationError
from scanner.evidence.baselines import score_table
from scanner.evidence.calibration import operating_point
from scanner.evidence.clusters import cluster_sizes, lead_clusters
from scanner.evidence.copying import set_table
from scanner.evidence.dose import dose_response
from scanner.evidence.gate import Policy, decide_gate, null_cut
from scanner.evidence.guards import TwoSample
from scanner.evidence.identities import IdentityEvidence, weigh_identities
from scanner.evidence.kind import are_apart
from scanner.evidence.power import power_of
from scanner.evidence.roc import auc, tpr_at_fpr
from scanner.search import count_pairs

FPRS = (0.01, 0.001)
LEVEL = 0.05
"""False discovery rate at which identities are counted as named."""
SAME_PERSON_FMRS = (1e-3, 1e-2)
"""Two samples are one generated identity from the score that this share of strangers' pairs reaches; the first that the
non-members can support is taken."""


def measure(generator: GeneratorSection, given: Input, config: AuditConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure one generator.

    Returns:
        Its entry in `audit.json`, and its columns of `scores.parquet`, one row an identity.
    """
    seed, k, people, samples = config.audit.seed, config.attack.k, given.people, given.samples.vectors
    canaries = check_canaries(people.others.vectors, samples)
    radii = radii_of(people, samples, seed=seed)  # the reference generator's counts need the same
    near = look_all(people, samples, k=k, radii=radii)
    reference = None if given.reference is None else look_all(people, given.reference.vectors, k=k, radii=radii)
    looked = look_through(people.photos, people, near, reference)
    best, is_member = looked.best(), looked.is_member
    table = score_table(
        looked.near, looked.codes, is_member, reference=looked.reference, k=k, folds=config.attack.folds, seed=seed
    )
    found = _weigh(best, looked.members, seed)
    fit = are_apart(_one_each(people.members), _one_each(people.others), seed=seed)
    planted = plant(people.others, people.photos)
    statistic = planted.statistic(near[1].score[:, 0])
    policy = config.gate.policy() if config.gate else None
    document = {
        "name": generator.name,
        "identities_in_training": generator.identities or looked.members,
        "step": generator.step,
        "people": _people(people, looked),
        "samples": {"faces": len(samples), **_clusters(people.others, samples)},
        "canaries": canaries,
        "scores": {name: _rates(name, values, is_member, seed) for name, values in table.items()},
        "sets": _sets(given, seed),
        "evidence": _evidence(found),
        "guard": {**asdict(fit), "differ": fit.differ, "says": guard_sentence(fit)},
        "power": _power(best[~is_member], planted.mated(), looked.members, seed),
        "cut": _cut(best, is_member, statistic, policy.fpr if policy else FPRS[0]),
        "gate": None if policy is None else _gate(best, is_member, statistic, policy, fit),
        "sweeps": {
            "samples": over_samples(config.sweep.samples, given, k=k, seed=seed),
            "photos": over_photos(config.sweep.photos, given, near, k=k, seed=seed),
        },
        "dose": _dose(given.shares, looked, table, found, seed),
    }
    return plain(document), _columns(generator.name, looked, people.photos, best, table, found)


def plain(value: Any) -> Any:
    """Return JSON's kinds of values; what is not finite becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def guard_sentence(fit: TwoSample) -> str:
    """Say whether members and non-members are pictures of one kind."""
    told = f"a classifier tells members' pictures from non-members' with AUC {fit.auc:.2f} (0.5 is chance, p = {fit.p_value:.2g})"
    return (
        f"{told}, so their scores cannot be compared"
        if fit.differ
        else f"{told}: nothing speaks against comparing them"
    )


def _weigh(best: NDArray[np.float32], members: int, seed: int) -> IdentityEvidence:
    """Weigh members: everybody is seen through equally many photos, so a person's best one is the whole person."""
    null = best[members:]
    return weigh_identities(best[:members], np.arange(members), null, np.arange(len(null)), seed=seed)


def _one_each(side: Side) -> NDArray[np.float32]:
    """Return one photo of each person."""
    return side.vectors[side.through(1)]


def _people(people: People, looked: Looked) -> dict[str, Any]:
    """Account for every labelled photo of both sides."""
    account: dict[str, Any] = {"photos_each": people.photos}
    for name, side in (("members", people.members), ("non_members", people.others)):
        used = len(side.through(people.photos))
        account[name] = {
            "identities": looked.members if name == "members" else len(looked.names) - looked.members,
            "photos": len(side.codes) + sum(side.left_out.values()),
            "used": used,
            "left_out": {**side.left_out, "beyond_photos_each": len(side.codes) - used},
        }
    return account


def _clusters(others: Side, samples: NDArray[np.float32]) -> dict[str, Any]:
    """Count generated identities, by a radius that strangers among the non-members set."""
    names = [others.names[code] for code in others.codes]
    non_mated, mated, _ = count_pairs(others.vectors, names, seed=0)
    for fmr in SAME_PERSON_FMRS:
        try:
            radius = operating_point(non_mated, mated, fmr=fmr).threshold
        except CalibrationError:
            continue
        return {"radius": radius, "radius_fmr": fmr, **asdict(cluster_sizes(lead_clusters(samples, radius=radius)))}
    return {"radius": None, "radius_fmr": None, "clusters": None, "largest": None, "effective_n": None}


def _rates(name: str, values: NDArray[np.floating], is_member: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    members, others = values[is_member], values[~is_member]
    hits = {f"tpr_{100 * fpr:g}": asdict(tpr_at_fpr(members, others, fpr=fpr, seed=seed)) for fpr in FPRS}
    return {"auc": asdict(auc(members, others, cross_fitted=name == "learned")), **hits}


def _sets(given: Input, seed: int) -> dict[str, Any]:
    """Return the measures of the whole set; one photo a person, for their p-values take photos to be independent."""
    members, others = _one_each(given.people.members), _one_each(given.people.others)
    training = None if given.training is None else given.training.vectors
    try:
        rows = set_table(given.samples.vectors, members, others, training=training, seed=seed)
    except CalibrationError as error:
        return {"unknown": str(error), "rows": []}
    return {"unknown": "", "rows": [asdict(row) for row in rows], "training": given.training is not None}


def _evidence(found: IdentityEvidence) -> dict[str, Any]:
    return {
        "level": LEVEL,
        "below_level": int((found.q_bh <= LEVEL).sum()),
        "below_level_by": int((found.q_by <= LEVEL).sum()),
        "null_identities": found.null_identities,
        "p_floor": 1.0 / (found.null_identities + 1),
        "fewest_nameable": found.fewest_nameable(LEVEL),
        "tail_refused": found.tail.refused,
    }


def _power(null: NDArray[np.float32], mated: NDArray[np.float32], members: int, seed: int) -> dict[str, Any]:
    """How small a leak would have been seen; or why nobody knows."""
    try:
        found = power_of(null, mated, candidates=members, seed=seed)
    except CalibrationError as error:
        return {"unknown": str(error)}
    return {**asdict(found), "unknown": ""}


def _cut(
    best: NDArray[np.float32], is_member: NDArray[np.bool_], planted: NDArray[np.float32], fpr: float
) -> dict[str, Any]:
    cut = null_cut(best[~is_member], fpr=fpr)
    sides = {"members": best[is_member], "non_members": best[~is_member], "planted": planted}
    counts = {name: {"people": len(values), "reaching": int((values >= cut).sum())} for name, values in sides.items()}
    return {"value": cut, "fpr": fpr, **counts}


def _gate(
    best: NDArray[np.float32],
    is_member: NDArray[np.bool_],
    planted: NDArray[np.float32],
    policy: Policy,
    fit: TwoSample,
) -> dict[str, Any]:
    guards = [guard_sentence(fit)] if fit.differ else []
    return asdict(decide_gate(best[is_member], best[~is_member], planted, policy=policy, guards=guards))


def _dose(
    shares: Mapping[str, float],
    looked: Looked,
    table: Mapping[str, NDArray[np.floating]],
    found: IdentityEvidence,
    seed: int,
) -> dict[str, Any] | None:
    """Set what was found of each member against its share of the training set."""
    rows = [(code, shares[name]) for code, name in enumerate(looked.names[: looked.members]) if name in shares]
    if not rows:
        return None
    codes, share = np.array([code for code, _ in rows], np.int64), np.array([value for _, value in rows])
    order = np.lexsort((codes, share))
    responses = {"best_match": found.statistic, "count_within": table["count_within"]}
    people = [
        {
            "identity": looked.names[codes[i]],
            "share": share[i],
            "best_match": found.statistic[codes[i]],
            "p_value": found.p_value[codes[i]],
            "q_value": found.q_bh[codes[i]],
        }
        for i in order
    ]
    rising = {name: asdict(dose_response(share, values[codes], seed=seed)) for name, values in responses.items()}
    return {"people": people, "rising": rising}


def _columns(
    name: str,
    looked: Looked,
    photos: int,
    best: NDArray[np.float32],
    table: Mapping[str, NDArray[np.floating]],
    found: IdentityEvidence,
) -> dict[str, Any]:
    n, m = len(looked.names), looked.members
    return {
        "generator": [name] * n,
        "identity": list(looked.names),
        "member": looked.is_member.tolist(),
        "photos": [photos] * n,
        "best_score": best,
        "p_value": [*found.p_value.tolist(), *[None] * (n - m)],
        "q_value": [*found.q_bh.tolist(), *[None] * (n - m)],
        "scores": {key: np.asarray(values, np.float64) for key, values in table.items()},
    }
