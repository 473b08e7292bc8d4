"""What is measured in worlds whose truth is known: uniform p-values, false discoveries, power, and FPIR.

One random identity and one random cluster a run enter the tests of uniformity, so that what is tested is independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from null_shortcut import LEVEL, Found, label, state_of
from null_worlds import World
from numpy.typing import NDArray
from scipy import stats

from scanner.errors import CalibrationError
from scanner.evidence.calibration import proportion_interval
from scanner.evidence.multiple import by_q_values
from scanner.jobs.indexing.search_labelled import search_labelled

UNIFORM = ("identity", "identity_conformal", "search", "search_conformal", "paired", "paired_won", "population")
RULES = ("bh", "by", "bh_conformal", "by_conformal", "search", "paired")
PLANTED_RULES = (*RULES, "paired_people")
"""`paired` weighs every cluster 1, as `search` does; `paired_people` counts winning identities, as its q-values do."""
RARE = (0.01, 0.001, 0.0001)
FPIRS, GALLERIES = (0.01, 0.05), (100, 500)


def record(world: World, found: Found, run: int, seed: int) -> dict[str, Any]:
    """Return what one run adds: the p-values of one identity and one cluster, what was named, and how much of it wrongly."""
    rng = np.random.default_rng([seed, run, 0xACC])
    identity = int(rng.integers(len(found.names)))
    sample = int(rng.choice(np.flatnonzero(found.cluster == rng.integers(found.cluster.max() + 1))))
    paired = float(found.paired.p_paired[sample])
    values = found.identities
    q_values = {
        "bh": values.q_bh, "by": values.q_by, "bh_conformal": values.q_conformal,
        "by_conformal": by_q_values(values.p_conformal),
    }  # fmt: skip
    right = np.isin(found.names, list(world.planted))
    named = {rule: _named(q <= LEVEL, right, np.ones(len(q))) for rule, q in q_values.items()}
    weight = 1.0 / np.bincount(found.cluster)[found.cluster]
    of_leak = np.isin(found.cluster, found.cluster[world.is_leak])
    for rule, q in (("search", found.searches.q_value), ("paired", found.paired.q_paired)):
        named[rule] = _named(q <= LEVEL, of_leak, weight)
    winners = np.unique(found.winner[found.paired.q_paired <= LEVEL])
    people = np.array(sorted(world.planted | set(winners.tolist())))
    planted = np.isin(people, list(world.planted))
    named["paired_people"] = _named(np.isin(people, winners), planted, np.ones(len(people)))
    return {
        "p": {
            "identity": float(values.p_value[identity]), "identity_conformal": float(values.p_conformal[identity]),
            "search": float(found.searches.p_value[sample]), "search_conformal": float(found.searches.p_conformal[sample]),
            "paired": paired, "paired_won": 2.0 * paired if paired <= 0.5 else None,
            "population": found.population.p_value,
        },
        "named": named, "state": state_of(found), "inconclusive": found.inconclusive, "share": found.population.share,
        "interval": found.population.share_interval, "tail": values.tail.refused == "", "clusters": int(found.cluster.max()) + 1,
        "winners": found.population.winners,
        "rare": [float((values.p_value <= level).mean()) for level in RARE],
    }  # fmt: skip


def _named(mask: NDArray[np.bool_], right: NDArray[np.bool_], weight: NDArray[np.float64]) -> tuple[float, float, int]:
    """Return the share of what was named that is wrong, the share of what is right that was named, and the number."""
    called = float(weight[mask].sum())
    wrong = float(weight[mask & ~right].sum())
    all_ = float(weight[right].sum())
    return (wrong / called if called else 0.0, (called - wrong) / all_ if all_ else 0.0, int(mask.sum()))


def summarise(records: Sequence[dict[str, Any]], *, leaks: int) -> dict[str, Any]:
    """Return rates over all runs of a setting."""
    runs = len(records)
    result: dict[str, Any] = {
        "runs": runs,
        "states": {state: sum(r["state"] == state for r in records) for state in ("named", "none", "undecided", "inconclusive")},
        "inconclusive": _share([r["inconclusive"] for r in records]),
        "with_tail": sum(r["tail"] for r in records),
        "clusters": float(np.median([r["clusters"] for r in records])),
        "winners": float(np.median([r["winners"] for r in records])),
        "share": float(np.mean([r["share"] for r in records])),
    }  # fmt: skip
    truth = result["share"] if leaks else 0.5
    result["population_covers"] = _share([r["interval"][0] <= truth <= r["interval"][1] for r in records])
    if leaks:
        result["named"] = {rule: _mean(records, rule) for rule in PLANTED_RULES}
        return result
    rare = np.array([r["rare"] for r in records])
    result["rare"] = [
        {"level": level, "share": float(share), "error": float(error)}
        for level, share, error in zip(RARE, rare.mean(0), 1.96 * rare.std(0, ddof=1) / np.sqrt(runs), strict=True)
    ]
    result["uniform"] = {name: _uniform([p for r in records if (p := r["p"][name]) is not None]) for name in UNIFORM}
    result["anybody_named"] = {rule: _share([r["named"][rule][2] > 0 for r in records]) for rule in RULES}
    return result


def _share(hits: Sequence[bool]) -> dict[str, float]:
    low, high = proportion_interval(sum(hits), len(hits))
    return {"share": sum(hits) / len(hits), "low": low, "high": high}


def _mean(records: Sequence[dict[str, Any]], rule: str) -> dict[str, float]:
    wrong, right, number = np.array([r["named"][rule] for r in records]).T
    error = 1.96 * float(wrong.std(ddof=1)) / np.sqrt(len(wrong))
    return {
        "fdr": float(wrong.mean()),
        "error": float(error),
        "power": float(right.mean()),
        "named": float(number.mean()),
    }


def _uniform(p_values: Sequence[float]) -> dict[str, float]:
    """Test p-values: two-sided Kolmogorov-Smirnov, and one-sided for values too small, which alone does harm."""
    p = np.array(p_values)
    return {
        "n": len(p), "ks_p": float(stats.kstest(p, "uniform").pvalue),
        "too_small_p": float(stats.kstest(p, "uniform", alternative="greater").pvalue),
        "at_1": float((p <= 0.01).mean()), "at_5": float((p <= 0.05).mean()), "at_10": float((p <= 0.1).mean()), "mean": float(p.mean()),
    }  # fmt: skip


def fpir_on_others(
    vectors_for: Callable[[int], tuple[NDArray[np.float32], NDArray[np.int64]]], splits: int
) -> list[dict[str, Any]]:
    """Set a threshold at an FPIR on one half of the people and measure it on the other, both ways."""
    found: dict[tuple[float, str], list[tuple[float, bool]]] = {}
    refused: dict[tuple[float, str], int] = {}
    for number in range(splits):
        vectors, codes = vectors_for(number)
        left = np.random.default_rng([number, 0xF1]).permutation(codes.max() + 1)[: (codes.max() + 1) // 2]
        mask = np.isin(codes, left)
        names = np.array([label(code) for code in codes.tolist()])
        halves = [
            search_labelled(vectors[m], names[m].tolist(), seed=number, pairs_kept=400_000)[0] for m in (mask, ~mask)
        ]
        for one, other in (halves, halves[::-1]):
            for size, shown in (*((n, str(n)) for n in GALLERIES), (one.gallery, "all")):
                for asked in FPIRS:
                    try:
                        cut = one.threshold_at(asked, size=size)
                        rate = other.fpir_at(cut, size=size)
                    except CalibrationError:
                        refused[(asked, shown)] = refused.get((asked, shown), 0) + 1
                        continue
                    found.setdefault((asked, shown), []).append((rate.value, rate.low <= asked <= rate.high))
    rows = []
    for (asked, shown), values in found.items():
        measured = np.array([value for value, _ in values])
        rows.append({
            "asked": asked, "gallery": shown, "halves": len(values), "refused": refused.get((asked, shown), 0),
            "mean": float(measured.mean()), "low": float(measured.min()), "high": float(measured.max()),
            "asked_in_interval": sum(inside for _, inside in values) / len(values),
        })  # fmt: skip
    return rows
