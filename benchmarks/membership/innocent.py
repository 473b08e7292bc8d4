"""How often does the audit accuse a generator that memorised nobody, and how often does it see one that did?

    python benchmarks/membership/innocent.py BED --seeds 100      # BED was made by bed.py; about 20 minutes of one core

Each seed is one audit with samples, members and non-members drawn anew: samples
from a pool that the trained generator drew under another seed than the bed's, people from pools larger than an audit,
so that the luck of who was asked varies as well.  Only the people that a generator was trained on stay what they are.
Pools are drawn and embedded once, into BED/pools.

Flagged, each counted by itself: some member is named (q <= 0.05), the gate fails, or the lower end of a score's 95 %
interval of the AUC is above a half (2.5 % of innocent audits by chance).  Shares have Clopper-Pearson intervals.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble._hist_gradient_boosting import binning

from benchmarks.machine import describe_machine
from benchmarks.membership.audits import GATE, STRANGERS
from benchmarks.membership.decoder import load_generator
from benchmarks.membership.faces import CROWD, HELD_OUT_PHOTOS, MEMBERS, Crowd, person_name
from benchmarks.membership.pages import innocent_page
from benchmarks.membership.quick import embed, embed_people, read_pictures
from scanner.audit.look import look_all, look_through, radii_of
from scanner.audit.people import plant, sort_people
from scanner.audit.results import LEVEL, guard_sentence
from scanner.audit.sources import Faces
from scanner.evidence.attack_model import learned_scores, neighbourhood_features
from scanner.evidence.baselines import TABLE, min_match, tail_scores
from scanner.evidence.calibration import proportion_interval
from scanner.evidence.copying import set_table
from scanner.evidence.gate import Policy, decide_gate
from scanner.evidence.guards import two_sample
from scanner.evidence.identities import weigh_identities
from scanner.evidence.membership import join_photos, membership_scores
from scanner.evidence.roc import auc

Vectors = NDArray[np.float32]
POOL_SEED = 20_000
"""The bed's own samples are of seed 0."""
SAMPLES = 800
K, FOLDS = 5, 5
POLICY = Policy(**tomllib.loads(GATE)["gate"])
NON_MEMBERS_EACH = 1_000
"""An audit's non-members: from 1000 on a tail is fitted to the null, which is what could name somebody wrongly."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One generator's audits.

    Attributes:
        name: its folder in the bed.
        memorises: the truth.
        asked: the pool that members are drawn from.
        members: how many an audit asks for.
    """

    name: str
    memorises: bool
    asked: tuple[Crowd, ...]
    members: int


_TRAINED = Crowd(CROWD, 400, HELD_OUT_PHOTOS)
PLANS = (
    Plan("shrunk", False, (_TRAINED, Crowd(CROWD + 400, 600, HELD_OUT_PHOTOS)), 200),
    Plan("underfit", False, (_TRAINED,), 200),
    Plan("shifted", False, (Crowd(MEMBERS, 200, HELD_OUT_PHOTOS), Crowd(MEMBERS + 200, 400, HELD_OUT_PHOTOS)), 200),
    Plan("glo-20", True, (Crowd(MEMBERS, 20, HELD_OUT_PHOTOS),), 20),
    Plan("glo-50", True, (Crowd(MEMBERS, 50, HELD_OUT_PHOTOS),), 50),
)


@dataclass(frozen=True, slots=True)
class Pool:
    """People with their photos, (people, photos, d) float32, and their names."""

    vectors: Vectors
    names: tuple[str, ...]

    def draw(self, people: int, rng: np.random.Generator) -> Faces:
        """Return the photos of some people, drawn without putting back."""
        chosen = np.sort(rng.permutation(len(self.names))[:people])
        photos = self.vectors.shape[1]
        names = [self.names[row] for row in chosen for _ in range(photos)]
        return faces_of(self.vectors[chosen].reshape(-1, self.vectors.shape[2]), names)


def faces_of(vectors: Vectors, names: Sequence[str | None] | None = None) -> Faces:
    """Return vectors as the audit takes them; nothing is marked, for no photo here was trained on or put out."""
    labels = tuple(names) if names is not None else (None,) * len(vectors)
    return Faces(np.ascontiguousarray(vectors), labels, ((),) * len(vectors), "drawn", {})


def people_pool(bed: Path, crowds: Sequence[Crowd]) -> Pool:
    """Draw and embed people, or read them where that was done before."""
    parts, names = [], []
    for crowd in crowds:
        path = bed / "pools" / f"people-{crowd.first}-{crowd.people}-{len(crowd.photos)}.npy"
        if not path.exists():
            _save(path, embed_people(crowd, bed / "faces"))
        parts.append(np.load(path, allow_pickle=False))
        names += [person_name(number) for number in crowd.numbers]
    return Pool(np.concatenate(parts), tuple(names))


def sample_pool(bed: Path, name: str, size: int) -> Vectors:
    """Draw and embed (size, d) samples of a generator, or read them where that was done before."""
    weights = bed / name / "generator.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    path = bed / "pools" / f"samples-{name}-{size}-{digest}.npy"
    if not path.exists():
        _save(path, embed(load_generator(weights).sample(size, POOL_SEED)))
    return np.asarray(np.load(path, allow_pickle=False), np.float32)


def _save(path: Path, vectors: Vectors) -> None:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    partial.replace(path)


def one_audit(
    plan: Plan, asked: Pool, strangers: Pool, samples: Vectors, reference: Vectors, *, seed: int
) -> dict[str, Any]:
    """Draw samples and people, and return what `scanner.audit.results.measure` says of them, part by part."""
    rng = np.random.default_rng([seed, zlib.crc32(plan.name.encode())])
    made = np.ascontiguousarray(samples[np.sort(rng.permutation(len(samples))[:SAMPLES])])
    members, others = asked.draw(plan.members, rng), strangers.draw(NON_MEMBERS_EACH, rng)
    people = sort_people(members, others, used=[], photos=None, seed=seed, what=plan.name)
    radii = radii_of(people, made, seed=seed)
    near, far = (look_all(people, vectors, k=K, radii=radii) for vectors in (made, reference))
    looked = look_through(people.photos, people, near, far)
    best, inside, count = looked.best(), looked.is_member, looked.members
    table = membership_scores(looked.near, looked.codes, reference=looked.reference, null=None, k=K)
    table |= {"min_match": min_match(looked.near, looked.codes)}
    table |= {"privet": join_photos(tail_scores(looked.near), looked.codes)}
    features = neighbourhood_features(looked.near, looked.reference)
    with quick_bins():
        table["learned"] = learned_scores(features, looked.codes, inside, folds=FOLDS, seed=seed)
    null = best[count:]
    found = weigh_identities(best[:count], np.arange(count), null, np.arange(len(null)), seed=seed)
    one_each = [side.vectors[side.through(1)] for side in (people.members, people.others)]
    fit = two_sample(*one_each, seed=seed)
    planted = plant(people.others, people.photos).statistic(near[1].score[:, 0])
    guards = [guard_sentence(fit)] if fit.differ else []
    gate = decide_gate(best[:count], null, planted, policy=POLICY, guards=guards)
    areas = {name: auc(x[inside], x[~inside], cross_fitted=name == "learned") for name, x in table.items()}
    sets = set_table(made, *one_each, training=None, seed=seed)
    return {
        "named": int((found.q_bh <= LEVEL).sum()),
        "tail_fitted": not found.tail.refused,
        "gate": gate.state,
        "guard_fired": fit.differ,
        "auc": areas,
        "sets": {row.name: row.p_value for row in sets if row.p_value is not None},
    }


@contextmanager
def quick_bins() -> Iterator[None]:
    """Have boosted trees find their bins' weighted quantiles in one pass; scikit-learn 1.9 sorts anew for each of 62.

    The same bins, five times sooner: values arrive sorted and without weights of 0.
    """
    usual = binning._weighted_percentile  # noqa: SLF001

    def one_pass(values: Any, weights: Any, rank: float, *, average: bool) -> Any:
        cdf = last[1] if (last := kept.get("of")) is not None and last[0] is values else np.cumsum(weights)
        kept["of"] = (values, cdf)
        wanted = rank / 100 * cdf[-1]
        place = min(int(np.searchsorted(cdf, wanted)), len(values) - 1)
        if not average or cdf[place] - wanted > np.finfo(values.dtype).eps:
            return values[place]
        return (values[place] + values[min(place + 1, len(values) - 1)]) / 2

    kept: dict[str, Any] = {}
    binning._weighted_percentile = one_pass  # noqa: SLF001
    try:
        yield
    finally:
        binning._weighted_percentile = usual  # noqa: SLF001


def summarise(plan: Plan, rounds: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Count in how many audits each verdict flags the generator."""
    named = [r["named"] > 0 for r in rounds]
    failed = [r["gate"] == "fail" for r in rounds]
    areas = {name: [r["auc"][name] for r in rounds] for name in TABLE}
    return {
        "name": plan.name,
        "memorises": plan.memorises,
        "members": plan.members,
        "asked_pool": sum(crowd.people for crowd in plan.asked),
        "audits": len(rounds),
        "seconds_each": round(seconds / len(rounds), 2),
        "named": _share(named),
        "people_named": sum(r["named"] for r in rounds),
        "gate_fails": _share(failed),
        "gate_passes": _share([r["gate"] == "pass" for r in rounds]),
        "named_or_fails": _share([a or b for a, b in zip(named, failed, strict=True)]),
        "guard_fired": _share([r["guard_fired"] for r in rounds]),
        "tail_fitted": _share([r["tail_fitted"] for r in rounds]),
        "auc_above_half": {name: _share([a.low > 0.5 for a in found]) for name, found in areas.items()},
        "auc_below_half": {name: _share([a.high < 0.5 for a in found]) for name, found in areas.items()},
        "auc_mean": {name: float(np.mean([a.value for a in found])) for name, found in areas.items()},
        "auc_sd": {name: float(np.std([a.value for a in found])) for name, found in areas.items()},
        "set_p_below_5pc": {name: _share([r["sets"][name] < 0.05 for r in rounds]) for name in rounds[0]["sets"]},
    }


def _share(flags: Sequence[bool]) -> dict[str, float]:
    hits, trials = sum(flags), len(flags)
    low, high = proportion_interval(hits, trials)
    return {"hits": hits, "trials": trials, "low": low, "high": high}


def main() -> None:
    """Run all audits and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bed", type=Path)
    parser.add_argument("--seeds", type=int, default=100, help="audits of each innocent generator")
    parser.add_argument("--memorising", type=int, default=50, help="audits of each memorising generator")
    parser.add_argument("--pool", type=int, default=4_000, help="samples that those of an audit are drawn from")
    parser.add_argument("--only", nargs="*", choices=[plan.name for plan in PLANS])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    strangers = people_pool(args.bed, STRANGERS)
    reference = embed(read_pictures(args.bed / "reference" / "samples.tar"))
    rows = []
    for plan in [plan for plan in PLANS if args.only is None or plan.name in args.only]:
        asked, samples = people_pool(args.bed, plan.asked), sample_pool(args.bed, plan.name, args.pool)
        began = time.monotonic()
        count = args.memorising if plan.memorises else args.seeds
        rounds = [one_audit(plan, asked, strangers, samples, reference, seed=seed) for seed in range(count)]
        rows.append(summarise(plan, rounds, time.monotonic() - began))
        print(
            plan.name,
            json.dumps({k: rows[-1][k] for k in ("named", "gate_fails", "seconds_each")}),
            file=sys.stderr,
            flush=True,
        )
        report = {
            "machine": describe_machine(),
            "samples": SAMPLES,
            "pool": args.pool,
            "non_members": NON_MEMBERS_EACH,
            "strangers": len(strangers.names),
            "generators": rows,
        }
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "membership_innocent.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
        (args.out / "membership_innocent.md").write_text(innocent_page(report))


if __name__ == "__main__":
    main()
