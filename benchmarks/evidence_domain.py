"""Does `--null-match` keep small strangers innocent, and does it still find who is there?

    python benchmarks/evidence_domain.py --real ../shared/real

Samples of two real generators (36 and 64 pixels) against LFW's identities, split in halves: candidates and null.  Whether
LFW was among their training pictures is not known; the halves are drawn by lot, so neither is nearer but by chance, and
whoever is named without having been planted is named wrongly.  Candidates are the photos at full size, or the same photos
cut and reduced as the generator's own training pictures are: the trap, since everybody small is near everybody small.
In a planted round a second photo of some candidates, cut and reduced like a sample, lies among the samples.  "small /
small" is the ideal: both sides cut and reduced by the same hand.  Pictures and indexes are made in `domain_faces`.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from domain_faces import (
    VARIANTS,
    Variant,
    domain_for,
    embedded,
    finder_of,
    read_photos,
    samples_of,
    small_faces,
    subset,
    write_faces,
)  # fmt: skip
from machine import describe_machine
from numpy.typing import NDArray

from indexes import Index, open_index
from scanner import BuildOptions, build
from scanner.evidence.calibration import operating_point
from scanner.evidence.guards import two_sample
from scanner.evidence.identities import weigh_identities
from scanner.faces.domain import template_share
from scanner.jobs.options import FaceOptions, OpenedRoad, open_road
from scanner.jobs.scanning.match_account import describe
from scanner.jobs.scanning.null_match import match_galleries
from scanner.records import Picture
from scanner.search import count_pairs, gallery_neighbours, open_galleries
from scanner.sessions import read_model

LEVEL = 0.05
FMR = 1e-5


def verdicts(
    candidates: Path, null: Path, queries: NDArray[np.float32], samples: int, planted: set[str], radius: float
) -> dict[str, Any]:
    """Return what each rule says; the first `samples` queries come from the generator."""
    sides = []
    for path in (candidates, null):
        (gallery,) = open_galleries([path], memory_bytes=1 << 30)
        names, codes = np.unique(gallery.index.column("identity").to_pylist(), return_inverse=True)
        references = gallery.index.references()
        _, first = np.unique(codes, return_index=True)
        vectors = references.gather(np.sort(first))
        sides.append(
            (
                names,
                codes,
                gallery_neighbours(gallery, queries, k=1).score[:, 0],
                vectors,
                references.gather(references.live_rows()),
            )
        )
    (names, codes, best, faces, everyone), (_, null_codes, null_best, null_faces, _) = sides
    found = weigh_identities(best, codes, null_best, null_codes, seed=0)
    fit = two_sample(faces, null_faces, seed=0)
    named = set(names[found.q_bh <= LEVEL].tolist())
    over = set(names[found.statistic >= radius].tolist())
    one = np.percentile((queries[:samples] @ everyone.T).max(1), [50, 99])
    return {
        "candidates": len(names), "null": found.null_identities,
        "best_score_50": round(float(one[0]), 3), "best_score_99": round(float(one[1]), 3),
        "over_threshold": len(over), "over_threshold_planted": len(over & planted),
        "guard_auc": round(fit.auc, 3), "inconclusive": fit.differ,
        "named": len(named), "named_planted": len(named & planted),
        "p_below_0.05": round(float((found.p_conformal <= LEVEL).mean()), 3),
    }  # fmt: skip


def experiment(
    variant: Variant, people: Index, photos: dict[str, bytes], opened: OpenedRoad, radius: float,
    args: argparse.Namespace, work: Path,
) -> dict[str, Any]:  # fmt: skip
    """Return the verdicts of one generator on one road."""
    find = finder_of(variant, opened)
    table = people.lookup(np.arange(people.rows), ["item_id", "identity"])
    items, labels = np.array(table["item_id"].to_pylist()), np.array(table["identity"].to_pylist())
    rng = np.random.default_rng([args.seed])
    order = rng.permutation(np.unique(labels))
    null_people = set(order[len(order) // 2 :].tolist())
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        if len(rows.setdefault(label, [])) < args.photos_max:
            rows[label].append(row)
    planted = [p for p in order[: len(order) // 2].tolist() if len(rows[p]) > 1][: args.planted]
    hidden = [rows[p].pop() for p in planted]
    sides = {
        side: np.sort([r for p, found in rows.items() for r in found if (p in null_people) == (side == "null")])
        for side in ("candidates", "null")
    }
    samples = [
        face
        for number, pixels in enumerate(samples_of(variant, args.real / "models", args.samples))
        if (face := find(Picture(f"{number:032x}", str(number), None, pixels))) is not None
    ]
    leaks = small_faces([(items[r], labels[r]) for r in hidden], photos, variant, find)
    queries = embedded([*samples, *leaks], opened)
    domain = domain_for(variant, samples)

    indexes = {side: subset(people, sides[side], work / side) for side in sides}
    for side, chosen in sides.items():
        small = small_faces([(items[r], labels[r]) for r in chosen], photos, variant, find)
        indexes[f"small {side}"] = write_faces(work / f"small-{side}", small, opened, people, variant.landmarks)
    road = replace(opened, road=replace(opened.road, workers=2))
    names = ("candidates", "small candidates", "null")
    matched = match_galleries(
        [indexes[n] for n in names], domain=domain, out=work / "matched", opened_road=road, seed=0
    )
    pairs = {
        "full size / full size": (indexes["candidates"], indexes["null"]),
        "small / full size": (indexes["small candidates"], indexes["null"]),
        "matched / matched": (matched[0], matched[2]),
        "small, matched / matched": (matched[1], matched[2]),
        "small / small": (indexes["small candidates"], indexes["small null"]),
    }
    rounds = {
        arm: {
            "innocent": verdicts(*pair, queries[: len(samples)], len(samples), set(), radius),
            "planted": verdicts(*pair, queries, len(samples), {face.identity or "" for face in leaks}, radius),
        }
        for arm, pair in pairs.items()
    }
    return {
        "samples": len(samples), "samples_without_face": args.samples - len(samples), "planted": len(leaks),
        "domain": describe(domain, matched), "arms": rounds,
    }  # fmt: skip


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page."""
    lines = [
        "# The null in the generator's own domain",
        "",
        f"LFW's identities in halves, at most {report['photos_max']} photos each; {report['recogniser']}; threshold "
        f"{report['radius']} (FMR {report['fmr']:g} on the full-size photos); identities named at a false discovery rate "
        f"of {LEVEL}. *small*: the same photos cut and reduced as the generator's training pictures are. *matched*: by "
        "`--null-match`. The halves are drawn by lot: whoever is named without having been planted is named wrongly.",
    ]
    for name, found in report["variants"].items():
        size = found["domain"]["queries"]["size_px"]
        lines += [
            "",
            f"## {name}",
            "",
            f"{found['samples']} samples ({found['samples_without_face']} without a face), {size['5']} to {size['95']} "
            f"(median {size['50']}) source pixels across the crop; {found['planted']} planted.",
            "",
            "| candidates / null | best score of samples 50 / 99 % | over the threshold | guard AUC | named | p ≤ 0.05 | "
            "planted: over the threshold (planted) | planted: named (planted) |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for arm, both in found["arms"].items():
            a, b = both["innocent"], both["planted"]
            guard = f"{a['guard_auc']}{' inconclusive' if a['inconclusive'] else ''}"
            lines.append(
                f"| {arm} | {a['best_score_50']} / {a['best_score_99']} | {a['over_threshold']} of {a['candidates']} | "
                f"{guard} | {a['named']} | {a['p_below_0.05']} | "
                f"{b['over_threshold']} ({b['over_threshold_planted']}) | {b['named']} ({b['named_planted']}) |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    """Run all variants and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder with models/ and faces/lfw-dev-*.tar")
    parser.add_argument("--recogniser", default="face-reid-0095.onnx")
    parser.add_argument("--index", type=Path, help="index of all of faces/, with crops; made where there is none")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--planted", type=int, default=30)
    parser.add_argument("--photos-max", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    models = args.real / "models"
    faces = FaceOptions(
        embedder=f"onnx:{models / args.recogniser}", faces="detect", detector=str(models / "scrfd_500m_kps.onnx")
    )
    read_model(models / args.recogniser)
    opened = open_road(faces)
    with tempfile.TemporaryDirectory() as name:
        path = args.index or Path(name) / "people"
        if not path.exists():
            tars = [str(p) for p in sorted((args.real / "faces").glob("lfw-dev-*.tar"))]
            build(path, tars, faces=faces, options=BuildOptions(with_crops=True))
        people, photos = open_index(path), read_photos(args.real / "faces")
        vectors = people.references().gather(np.arange(people.rows))
        non_mated, mated, _ = count_pairs(vectors, people.column("identity").to_pylist(), seed=args.seed)
        point = operating_point(non_mated, mated, fmr=FMR)
        found = {}
        for number, (title, variant) in enumerate(VARIANTS.items()):
            started = time.monotonic()
            work = Path(name) / str(number)
            work.mkdir()
            found[title] = experiment(variant, people, photos, opened, point.threshold, args, work)
            if variant.landmarks is not None:
                found[title]["template_share"] = round(template_share(variant.landmarks), 3)
            print(title, round(time.monotonic() - started), "s", json.dumps(found[title]["arms"]), file=sys.stderr)
    report = {
        "machine": describe_machine(), "recogniser": args.recogniser, "fmr": FMR, "radius": round(point.threshold, 4),
        "photos_max": args.photos_max, "seed": args.seed, "photos": people.rows,
        "frames": {title: asdict(variant) for title, variant in VARIANTS.items()}, "variants": found,
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evidence_domain.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / "evidence_domain.md").write_text(to_markdown(report))
    print(json.dumps({title: v["arms"] for title, v in found.items()}))


if __name__ == "__main__":
    main()
