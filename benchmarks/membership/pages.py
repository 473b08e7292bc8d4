"""What was recorded of the test bed's audits, as pages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from scanner.evidence.baselines import TABLE

OURS = ("best_match", "mean_of_k", "count_within", "calibrated", "learned")
BASELINES = ("min_match", "privet")
RATES = {"auc": "AUC", "tpr_1": "TPR at FPR 1 %", "tpr_0.1": "TPR at FPR 0.1 %"}
LEVEL = 0.05
SIZES = ("glo-20", "glo-50", "glo-100", "glo-200")


def audit_page(report: dict[str, Any]) -> str:
    """Return what `audits.py` recorded."""
    rows, people = report["rows"], report["rows"][0]["people"]
    lines = [
        "# The membership test bed through `scanner audit`", "",
        f"{people['non_members']['identities']} non-members, {people['photos_each']} photos a person, none of them in training; "
        f"{rows[0]['samples']['faces']} samples a generator; one audit of {report['seconds']:.0f} s. In brackets 95 % intervals.",
    ]  # fmt: skip
    columns = (
        "generator, identities in training, memorises, members, named at q <= 0.05, gate, given away in %, guard fired"
    )
    lines += _head("What the audit says", *columns.split(", "))
    for row in rows:
        gate = row["gate"]
        bounds = ", ".join(f"{100 * gate[key]:.1f}" for key in ("leak_low", "leak_high"))
        lines.append(
            f"| {row['name']} | {row['training_identities']} | {_yes(row['memorises'])} | {gate['members']} | "
            f"{row['evidence']['below_level']} | {gate['state']} | {100 * gate['leak_rate']:.1f} [{bounds}] | "
            f"{_yes(row['guard']['differ'])} |"
        )
    names = (*OURS, *BASELINES)
    for rate, title in RATES.items():
        lines += _head(f"{title}: ours, then the baselines {' and '.join(BASELINES)}", "generator", *names)
        lines += [
            f"| {row['name']} | " + " | ".join(_cell(row["scores"][n][rate]) for n in names) + " |" for row in rows
        ]
    lines += _set_lines(rows) + _seen_lines(rows) + _against_lines(rows) + _often_lines(rows) + _target_lines(rows)
    return "\n".join([*lines, ""])


def _set_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = [row["name"] for row in rows[0]["sets"]["rows"]]
    title = "Baselines of the whole set: value / what copying nobody gives (p)"
    note = "They compare the samples with the training photos, `ks` and `mre_gap` with the members' other photos."
    lines = _head(title, "generator", *names, note=note)
    for row in rows:
        cells = []
        for found in row["sets"]["rows"]:
            p_value = "" if found["p_value"] is None else f" ({found['p_value']:.2g})"
            cells.append(f"{found['value']:.3f} / {found['expected']:.3f}{p_value}")
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return lines


def _against_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    note = (
        "The best of five scores is chosen after the fact; the last columns hold one score fixed. Innocent rows are left out: every "
        "score should be at chance there."
    )
    columns = [
        "generator",
        "rate",
        "ours",
        "baseline",
        "more by",
        "in members",
        "best_match more by",
        "learned more by",
    ]
    lines = _head("Our best score against the better of min_match and privet", *columns, note=note)
    below = []
    for row in (row for row in rows if row["memorises"]):
        for rate, title in RATES.items():
            of = row["against"][rate]
            people = f"{of['more'] * row['gate']['members']:+.0f}" if rate != "auc" else ""
            lines.append(
                f"| {row['name']} | {title} | {of['ours']} {of['value']:.3f} | {of['baseline']} {of['its_value']:.3f} | "
                f"{of['more']:+.3f} | {people} | {of['each']['best_match']:+.3f} | {of['each']['learned']:+.3f} |"
            )
            if of["more"] < 0:
                ours, theirs = (row["scores"][of[side]][rate] for side in ("ours", "baseline"))
                inside = (
                    ours["low"] <= theirs["value"] <= ours["high"] and theirs["low"] <= ours["value"] <= theirs["high"]
                )
                why = f"each lies {'' if inside else 'not '}in the other's interval, so chance {'can' if inside else 'cannot'} do that"
                below.append(
                    f"- {row['name']}, {title}: {-of['more']:.3f} below {of['baseline']} ({people} members); {why}."
                )
    return [*lines, "", "Rows in which a baseline is above our best:", "", *(below or ["- none"])]


def _seen_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Count the rows in which each measure says that something was memorised."""
    says = {
        f"{name}: AUC above a half": [row["scores"][name]["auc"]["low"] > 0.5 for row in rows]
        for name in (*OURS, *BASELINES)
    }
    says["somebody named"] = [row["evidence"]["below_level"] > 0 for row in rows]
    says["gate fails"] = [row["gate"]["state"] == "fail" for row in rows]
    for place, found in enumerate(rows[0]["sets"]["rows"]):
        if found["p_value"] is not None:
            says[f"{found['name']}: p < {LEVEL}"] = [row["sets"]["rows"][place]["p_value"] < LEVEL for row in rows]
    title = "In how many rows each measure speaks of memorisation"
    lines = _head(title, "measure", "memorising", "innocent", "which innocent")
    guilty = sum(row["memorises"] for row in rows)
    for name, flags in says.items():
        right = sum(flag for flag, row in zip(flags, rows, strict=True) if row["memorises"])
        wrong = [row["name"] for flag, row in zip(flags, rows, strict=True) if flag and not row["memorises"]]
        lines.append(f"| {name} | {right} of {guilty} | {len(wrong)} of {len(rows) - guilty} | {', '.join(wrong)} |")
    return lines


def _often_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = ("best_match", "count_within", "calibrated", "learned", *BASELINES)
    columns = [
        "generator",
        "its share",
        "of the samples",
        "best match",
        "p",
        "q",
        "tail of the null",
        "members above it",
    ]
    columns += [f"non-members above it ({', '.join(names)})", "rho of share and best match, all members (p)"]
    lines = _head("One over-represented identity", *columns)
    for row in (row for row in rows if "often" in row):
        of = row["often"]
        above = ", ".join(str(of["above"][name]["non_members_above"]) for name in names)
        rising = of["rising"]["best_match"]
        cells = [
            f"{100 * of['share']:.0f} %",
            f"{100 * of['hits']:.1f} %",
            f"{of['best_match']:.3f}",
            f"{of['p_value']:.2g}",
        ]
        cells += [f"{of['q_value']:.2g}", row["evidence"]["tail_refused"] or "fitted"]
        cells += [f"{of['above']['best_match']['members_above']} of {of['members']}", above]
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {rising['rho']:.2f} ({rising['p_value']:.2g}) |")
    return lines


def _target_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    by_name = {row["name"]: row for row in rows}
    lines = ["", "## Targets", ""]
    for name in ("glo-20", "glo-50"):
        scores = by_name[name]["scores"]
        met = [n for n in OURS if scores[n]["auc"]["value"] >= 0.95 and scores[n]["tpr_1"]["value"] >= 0.5]
        lines.append(f"- {name}: AUC >= 0.95 and TPR >= 0.5 at FPR 1 % by {', '.join(met) or 'no score'}.")
    for score in OURS:
        areas = [by_name[name]["scores"][score]["auc"]["value"] for name in SIZES]
        falling = all(a > b for a, b in itertools.pairwise(areas))
        listed = ", ".join(f"{area:.3f}" for area in areas)
        lines.append(f"- AUC of {score} over 20, 50, 100, 200 identities: {listed}; falling: {_yes(falling)}.")
    for row in (row for row in rows if "often" in row):
        found = "found" if row["often"]["q_value"] < LEVEL else "not found"
        lines.append(
            f"- {row['name']}: the over-represented identity is {found} at q < {LEVEL} (q = {row['often']['q_value']:.2g})."
        )
    return lines


def _head(title: str, *columns: str, note: str = "") -> list[str]:
    """Return a section's title and the head of its table."""
    above = ["", f"## {title}", "", *([note, ""] if note else [])]
    return [*above, f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def _cell(of: dict[str, Any]) -> str:
    mark = "*" if of["note"].endswith("above all of them") else ""
    return f"{of['value']:.3f} [{of['low']:.2f}, {of['high']:.2f}]{mark}"


def _yes(flag: bool) -> str:  # noqa: FBT001
    return "yes" if flag else "no"


def innocent_page(report: dict[str, Any]) -> str:
    """Return what `innocent.py` recorded."""
    rows = report["generators"]
    lines = [
        "# How often the audit flags a generator", "",
        f"Each audit: {report['samples']} samples of a pool of {report['pool']}, {report['non_members']} non-members of {report['strangers']}, 4 photos a "
        "person, reference of the bed, gate as in `audits.py`. Shares in per cent with 95 % Clopper-Pearson intervals.", "",
        "| generator | memorises | members of pool | audits | somebody named, q <= 0.05 | people named | gate fails | gate passes | "
        "named or fails | guard fired | s an audit |", "|---" * 11 + "|",
    ]  # fmt: skip
    for row in rows:
        cells = [_percent(row[key]) for key in ("gate_fails", "gate_passes", "named_or_fails", "guard_fired")]
        lines.append(
            f"| {row['name']} | {'yes' if row['memorises'] else 'no'} | {row['members']} of {row['asked_pool']} | {row['audits']} | "
            f"{_percent(row['named'])} | {row['people_named']} | {' | '.join(cells)} | {row['seconds_each']:.1f} |"
        )
    for key, title in (
        ("auc_above_half", "Lower end of the AUC's interval above a half (innocent: 2.5 % by chance)"),
        ("auc_below_half", "Upper end below a half (innocent: 2.5 % by chance)"),
    ):
        lines += ["", f"## {title}", "", "| generator | " + " | ".join(TABLE) + " |", "|---" * (len(TABLE) + 1) + "|"]
        lines += [f"| {row['name']} | " + " | ".join(_percent(row[key][name]) for name in TABLE) + " |" for row in rows]
    lines += ["", "## Mean AUC (standard deviation over audits)", "", "| generator | " + " | ".join(TABLE) + " |",
              "|---" * (len(TABLE) + 1) + "|"]  # fmt: skip
    for row in rows:
        cells = [f"{row['auc_mean'][name]:.3f} ({row['auc_sd'][name]:.3f})" for name in TABLE]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    sets = list(rows[0]["set_p_below_5pc"])
    lines += ["", "## Measures of the whole set, p < 0.05 (baselines; without the training photos)", "",
              "| generator | " + " | ".join(sets) + " |", "|---" * (len(sets) + 1) + "|"]  # fmt: skip
    lines += [
        f"| {row['name']} | " + " | ".join(_percent(row["set_p_below_5pc"][name]) for name in sets) + " |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


def _percent(of: dict[str, float]) -> str:
    share = 100 * of["hits"] / of["trials"]
    return f"{share:.0f} ({100 * of['low']:.1f} to {100 * of['high']:.1f})"
