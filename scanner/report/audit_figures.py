"""The figures of an audit's page, as values for `curve.svg.j2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.evidence.roc import roc_curve
from scanner.report.curves import Line, Plot, exceedance, plot, shares

BINS = 40
_ROC_POINTS = 300
_DOSE_GROUPS = 10


def figures_of(generator: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], best: str) -> dict[str, Plot | None]:
    """Return the figures of one generator; None for what was not asked for or has no two points.

    Args:
        generator: its entry in `audit.json`.
        columns: `member`, `best_score`, `best_match` and the score `best`, one value an identity.
        best: name of the score with the largest AUC.
    """
    member = columns["member"].astype(bool)
    observed, null = columns["best_score"][member], columns["best_score"][~member]
    return {
        "distribution": _distribution(observed, null, generator["cut"]),
        "tail": _tail(observed, null, generator["cut"]),
        "roc": _roc(columns, member, best),
        "samples": _sweep(generator["sweeps"]["samples"], "samples"),
        "photos": _sweep(generator["sweeps"]["photos"], "photos an identity"),
        "dose": _dose(generator["dose"]),
        "power": _power(generator["power"]),
        **_recovery(generator.get("recovery")),
    }


def growth_figure(generators: Sequence[Mapping[str, Any]]) -> Plot | None:
    """AUC of each score against the number of identities in training, else against the training time."""
    for key, label in (("identities_in_training", "identities in training"), ("step", "training time")):
        places = [generator[key] for generator in generators]
        if None not in places and len(set(places)) > 1:
            names = [name for name in ("best_match", "learned") if all(name in g["scores"] for g in generators)]
            ordered = sorted(generators, key=lambda generator: generator[key])
            points = [(float(g[key]), {name: g["scores"][name]["auc"] for name in names}) for g in ordered]
            return _auc_plot(points, names, label, log=min(places) > 0)
    return None


def _distribution(observed: NDArray[Any], null: NDArray[Any], cut: Mapping[str, Any]) -> Plot:
    both = np.concatenate([observed, null])
    low, high = float(both.min()), float(both.max())
    edges = np.linspace(low, high + 1e-6, BINS + 1).tolist()
    return plot(
        [shares("members", observed, edges), shares("non-members", null, edges, filled=True)],
        x_label="best score over all samples (cosine)", y_label="share of identities", marks=_cut(cut),
    )  # fmt: skip


def _tail(observed: NDArray[Any], null: NDArray[Any], cut: Mapping[str, Any]) -> Plot:
    return plot(
        [exceedance("members", observed), exceedance("non-members", null, dashed=True)], y_log=True,
        x_label="best score over all samples (cosine)", y_label="share of identities at or above", marks=_cut(cut),
    )  # fmt: skip


def _cut(cut: Mapping[str, Any]) -> list[tuple[float, str]]:
    if cut["value"] is None:
        return []
    return [(cut["value"], f"{100 * cut['fpr']:g} % of non-members reach this")]


def _roc(columns: Mapping[str, NDArray[Any]], member: NDArray[np.bool_], best: str) -> Plot:
    floor = 0.5 / max(1, int((~member).sum()))
    lines = []
    for name in dict.fromkeys((best, "best_match")):
        if name in columns:
            false, true = roc_curve(columns[name][member], columns[name][~member])
            kept = np.unique(np.linspace(0, len(false) - 1, _ROC_POINTS).astype(np.int64))
            points = [(max(float(false[i]), floor), float(true[i])) for i in kept]
            lines.append(Line(name.replace("_", " "), tuple(points)))
    chance = np.geomspace(floor, 1.0, 60)
    lines.append(Line("chance", tuple((float(x), float(x)) for x in chance), dashed=True))
    return plot(
        lines, x_label="share of non-members called members (FPR)", y_label="share of members found (TPR)", x_log=True,
        y_range=(0.0, 1.0), marks=[(0.01, "1 %")] if floor < 0.01 else [],  # noqa: PLR2004
    )  # fmt: skip


def _recovery(recovery: Mapping[str, Any] | None) -> dict[str, Plot | None]:
    """Return the recovery errors of both sides, and how many photos are re-created at least as well."""
    if recovery is None:
        return {"recovery": None, "recovery_tail": None}
    members, others = (np.array(recovery["psnr_db"][side]) for side in ("members", "non_members"))
    both = np.concatenate([members, others])
    edges = np.linspace(float(both.min()), float(both.max()) + 1e-6, BINS // 2 + 1).tolist()
    label = "peak signal-to-noise ratio of what was re-created (dB)"
    return {
        "recovery": plot(
            [shares("members", members, edges), shares("non-members", others, edges, filled=True)],
            x_label=label, y_label="share of photos", height=200,
        ),
        "recovery_tail": plot(
            [exceedance("members", members), exceedance("non-members", others, dashed=True)], y_log=True,
            x_label=label, y_label="share of photos at or above", height=200,
        ),
    }  # fmt: skip


def _sweep(points: Sequence[Mapping[str, Any]], label: str) -> Plot | None:
    there = [point for point in points if point["scores"]]
    if not there:
        return None
    names = list(there[0]["scores"])
    values = [(float(point["size"]), {name: point["scores"][name]["auc"] for name in names}) for point in there]
    return _auc_plot(values, names, label, log=True)


def _auc_plot(
    points: Sequence[tuple[float, Mapping[str, Mapping[str, float]]]], names: Sequence[str], label: str, *, log: bool
) -> Plot:
    lines = [
        Line(
            name.replace("_", " "),
            tuple((x, at[name]["value"]) for x, at in points),
            tuple((x, at[name]["low"], at[name]["high"]) for x, at in points),
        )
        for name in names
    ]
    ends = [points[0][0], points[-1][0]]
    if ends[0] < ends[1]:
        lines.append(Line("chance", ((ends[0], 0.5), (ends[1], 0.5)), dashed=True))
    lowest = min(low for line in lines for _, low, _ in line.band or ((0.0, 0.5, 0.5),))
    return plot(lines, x_label=label, y_label="AUC", x_log=log, y_range=(min(0.4, lowest), 1.0))


def _dose(dose: Mapping[str, Any] | None) -> Plot | None:
    if dose is None or len({person["share"] for person in dose["people"]}) < 2:  # noqa: PLR2004
        return None
    people = dose["people"]  # in order of share
    groups = np.array_split(np.arange(len(people)), min(_DOSE_GROUPS, len(people)))
    points, band = [], []
    for group in groups:
        share = float(np.mean([people[i]["share"] for i in group]))
        best = [float(people[i]["best_match"]) for i in group]
        points.append((share, float(np.mean(best))))
        band.append((share, min(best), max(best)))
    log = all(share > 0 for share, _ in points)
    line = Line("", tuple(points), tuple(band))
    return plot([line], x_label="share of the training set", y_label="best score over all samples", x_log=log)


def _power(power: Mapping[str, Any]) -> Plot | None:
    if power["unknown"]:
        return None
    rates, detected = power["rates"], power["detected"]
    line = Line(
        "at least one person is named",
        tuple((rate, at["value"]) for rate, at in zip(rates, detected, strict=True)),
        tuple((rate, at["low"], at["high"]) for rate, at in zip(rates, detected, strict=True)),
    )
    named = Line("share of them that is named", tuple(zip(rates, power["named"], strict=True)), dashed=True)
    smallest = power["smallest"]
    marks = [] if smallest is None else [(smallest, f"seen with probability {power['wanted']:g}")]
    return plot(
        [line, named], x_label="share of members that is given away", y_label="probability", x_log=True,
        y_range=(0.0, 1.0), marks=marks,
    )  # fmt: skip
