"""Do the evidence's error rates hold where the truth is known: no leak anywhere, or planted ones?

    python benchmarks/evidence_null.py --runs 200
    python benchmarks/evidence_null.py --faces lfw.parquet --generated generated.parquet --runs 200

People are drawn or, given files of `scanner embed`, real and split by lot (`null_worlds`).  Each run weighs them as
`jobs.statement` does, but in memory; for some runs the whole `scan` must give the same numbers (`null_shortcut`).  What
is counted is in `null_measures`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from null_measures import GALLERIES, PLANTED_RULES, RARE, RULES, UNIFORM, fpir_on_others, record, summarise
from null_shortcut import LEVEL, same_as_scan, weigh
from null_worlds import Setting, World, draw, real, settings, split
from numpy.typing import NDArray

LEAKS = (10, 40)
Settings = dict[str, dict[str, dict[str, Any]]]
"""What was measured, by the setting's name and the number of planted leaks."""


def many(setting: Setting, make: Callable[[Setting, int], World], runs: int, seed: int) -> dict[str, Any]:
    """Run a setting many times, as it is and with leaks (half as often)."""
    result: dict[str, Any] = {}
    for leaks in (0, *(LEAKS if setting.samples != "clustered" else ())):
        own, records, started = replace(setting, leaks=leaks), [], time.monotonic()
        for run in range(runs if not leaks else runs // 2):
            world = make(own, run)
            found = weigh(world, run, guarded=not leaks)  # the guard does not look at scanned faces
            records.append(record(world, found, run, seed))
        result[str(leaks)] = summarise(records, leaks=leaks)
        print(
            setting.name,
            leaks,
            f"{time.monotonic() - started:.0f} s",
            json.dumps(result[str(leaks)])[:160],
            file=sys.stderr,
        )
    return result


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    found = report["settings"]
    lines = [
        "# Error rates of the evidence where the truth is known", "",
        f"{report['runs']} runs a setting without a leak, {report['runs'] // 2} with (real faces: {report['real_runs']} and "
        f"{report['real_runs'] // 2}); level {LEVEL:g}; sizes are candidates/null identities, then photos a person, then scanned "
        "faces (300; clustered: 30 faces of 10 samples; hubs: 3 % of people of both sides lean towards all faces). lfw: real "
        "faces split by identity, 300 generated portraits. "
        f"In {report['whole_runs']} runs the whole `scan` gave the same numbers (largest difference {report['largest_apart']:.1g}).",
    ]  # fmt: skip
    sections = (_uniform(found), _named(found), _rare(found), _planted(found), _fpir(report["fpir"]))
    return "\n".join([*lines, *(line for section in sections for line in ("", *section)), ""])


def _table(*columns: str) -> list[str]:
    """Return the head of a table."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def _uniform(settings_: Settings) -> list[str]:
    lines = [
        "## No leak: are p-values uniform?", "",
        "Kolmogorov-Smirnov p, one-sided for values that are too small (the harmful side) / two-sided; with several photos, and for "
        "searches among more candidate photos than the null search has (Bonferroni), values are larger than uniform by design. "
        "Paired: values above 1/2 are 1 by design, `won` is twice the value of those below.", "",
        *_table("setting", *UNIFORM),
    ]  # fmt: skip
    for name, of in settings_.items():
        cells = [f"{u['too_small_p']:.3f} / {u['ks_p']:.3f}" for u in (of["0"]["uniform"][key] for key in UNIFORM)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _named(settings_: Settings) -> list[str]:
    lines = [
        "## No leak: runs in which anybody is named, %", "",
        "identities by BH, BY, and both without tail; searches; paired searches. Inconclusive: the guard says that the pictures are "
        "of two kinds. Covers: the population's 95 % interval holds 1/2.", "",
        *_table("setting", "BH", "BY", "BH no tail", "BY no tail", "searches", "paired", "inconclusive", "covers",
                "winners (median)", "tail fitted"),
    ]  # fmt: skip
    for name, of in settings_.items():
        row = of["0"]
        cells = [_percent(row["anybody_named"][rule]) for rule in RULES]
        cells += [_percent(row["inconclusive"]), _percent(row["population_covers"]), f"{row['winners']:.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['with_tail']} of {row['runs']} |")
    return lines


def _rare(settings_: Settings) -> list[str]:
    lines = [
        "## No leak: share of all identity p-values that are small, over the nominal share", "",
        "Mean over runs; a p-value without tail cannot be small in a small null.", "",
        *_table("setting", *(f"p <= {level:g}" for level in RARE)),
    ]  # fmt: skip
    for name, of in settings_.items():
        cells = [f"{r['share'] / r['level']:.2f} ± {r['error'] / r['level']:.2f}" for r in of["0"]["rare"]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _planted(settings_: Settings) -> list[str]:
    lines = [
        "## Planted leaks: false discovery rate, % (share of the planted that are named, %)", "",
        "± is 1.96 standard errors over runs. Searches and `paired, by cluster` count clusters of scanned faces; `paired, by person` "
        "counts winning people, as the paired q-values do.", "",
        *_table("setting", "planted", "BH", "BY", "BH no tail", "BY no tail", "searches", "paired, by cluster",
                "paired, by person", "population covers"),
    ]  # fmt: skip
    for name, of in settings_.items():
        for leaks, row in of.items():
            if leaks != "0":
                cells = [
                    f"{100 * c['fdr']:.1f} ± {100 * c['error']:.1f} ({100 * c['power']:.0f})"
                    for c in (row["named"][rule] for rule in PLANTED_RULES)
                ]
                lines.append(f"| {name} | {leaks} | {' | '.join(cells)} | {_percent(row['population_covers'])} |")
    return lines


def _fpir(rates: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        "## FPIR asked for on one half of the people, measured on the other half", "",
        "The threshold is random as well, so the asked rate lies in the measured 95 % interval in about 83 % of cases (two equal "
        "variances), not 95.", "",
        *_table("people", "asked", "gallery", "measured: mean (lowest to highest)", "asked lies in the measured interval",
                "halves (refused as too few)"),
    ]  # fmt: skip
    for people, rows in rates.items():
        lines += [
            f"| {people} | {r['asked']:g} | {r['gallery']} | {r['mean']:.4f} ({r['low']:.4f} to {r['high']:.4f}) | "
            f"{100 * r['asked_in_interval']:.0f} % | {r['halves']} ({r['refused']}) |"
            for r in rows
        ]
    return lines


def _percent(of: dict[str, float]) -> str:
    return f"{100 * of['share']:.1f} ({100 * of['low']:.1f} to {100 * of['high']:.1f})"


def main() -> None:
    """Run all settings and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--generated", type=Path)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--real-runs", type=int, help="runs on real faces; default: as many")
    parser.add_argument("--radius", type=float, default=0.43, help="same person from this score on, for real faces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    worlds: list[tuple[str, Setting, Callable[[Setting, int], World]]] = [
        (s.name, s, lambda setting, run: draw(setting, run, args.seed)) for s in settings()
    ]
    apart = [
        same_as_scan(draw(replace(s, leaks=leaks), 0, args.seed), 0)
        for s in list(settings())[:12:3]
        for leaks in (0, 10)
    ]
    people = 2 * (max(GALLERIES) + 100)
    drawn = Setting(people, 0, "several", "independent")

    def drawn_people(number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        world = draw(drawn, number, args.seed + 1)
        return world.vectors[0], world.people[0]

    rates = {"drawn": fpir_on_others(drawn_people, 20)}
    if args.faces and args.generated:
        vectors, codes, generated = real(args.faces, args.generated)
        half = int(codes.max() + 1) // 2

        def take(setting: Setting, run: int) -> World:
            return split(vectors, codes, generated, setting, run, args.seed, args.radius)

        worlds += [
            (f"lfw {s.name}", s, take)
            for size in ((200, 300), (half, half))
            for photos in ("one", "several")
            for s in (Setting(*size, photos, "portraits"),)
        ]
        apart += [same_as_scan(take(Setting(200, 300, "several", "portraits", leaks), 0), 0) for leaks in (0, 10)]
        rates["lfw"] = fpir_on_others(lambda _: (vectors, codes), 10)
    report: dict[str, Any] = {
        "machine": describe_machine(), "runs": args.runs, "real_runs": args.real_runs or args.runs, "level": LEVEL,
        "seed": args.seed, "settings": {}, "fpir": rates, "whole_runs": len(apart),
        "largest_apart": max(value for of in apart for value in of.values()),
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    for name, setting, make in worlds:
        runs = report["real_runs"] if name.startswith("lfw") else args.runs
        report["settings"][name] = many(setting, make, runs, args.seed)
        (args.out / "evidence_null.json").write_text(json.dumps(report, indent=2) + "\n")
        (args.out / "evidence_null.md").write_text(to_markdown(report))
    print(json.dumps({"settings": len(worlds), "whole_runs": len(apart)}))


if __name__ == "__main__":
    main()
