"""What do features at each depth give away, how fast, and what do cycle consistency and data-free training cost?

    python benchmarks/bench_dci.py --real ../shared/real --work WORK            # everything; hours of one core
    python benchmarks/bench_dci.py --real ../shared/real --work WORK --train resnet20-ours    # one training, then stop
    python benchmarks/bench_dci.py --device cuda --name bench_dci_gpu           # speed alone, random weights, no files

Trainings are kept in WORK, unfinished ones too, and are not repeated.  The last form needs torch and numpy alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.dci.page import page
from benchmarks.dci.runs import RUNS, Run, step_flops, trained
from benchmarks.dci.speeds import describe_device, inverse_speeds, product_rate, training_speed
from benchmarks.dci.worlds import FACTORIES, SHAPE, Photos, cifar, classifier, onlooker
from scanner.inversion.features.search import SearchPlan
from scanner.inversion.features.stream import ProceduralStream
from scanner.inversion.features.train import DciPlan, train_inverse
from scanner.networks.cut import cut

TRAININGS = {
    "resnet20": ("ours", "no-cycle", "real", "mixed", "synthesised", "alone"),
    "resnet56": ("ours", "no-cycle", "real", "alone"),
}
STEPS = {"resnet20": 1000, "resnet56": 300}
BATCH = 32
PICTURE_SEED = 99
GENERATOR_PLAN = DciPlan(steps=800, batch=64)
JUDGED_AT = {
    "resnet56": ("relu", "layer1.4", "layer1.8", "layer2.4", "layer2.8", "layer3.3", "layer3.7", "mean", "linear"),
}
SEARCHED_AT = {"resnet56": ("layer1.8", "layer2.8", "layer3.7")}
SEARCH_IMAGES = {"resnet20": 12, "resnet56": 8}
SPEED_BATCH = {"cpu": 128, "cuda": 1024}


def talk(sentence: str) -> None:
    """Tell how far it is."""
    print(sentence, file=sys.stderr, flush=True)


def base_plan(network: str) -> DciPlan:
    """Return the plan of the first training of a network."""
    return replace(DciPlan(), steps=STEPS[network], batch=BATCH)


def runs_of(network: str, args: argparse.Namespace) -> list[Run]:
    """Return the trainings that are asked for."""
    return [RUNS[name] for name in TRAININGS[network] if name in args.runs]


def measured(name: str, photos: Photos, args: argparse.Namespace) -> dict[str, Any]:
    """Return the part of the report about one classifier; kept in the work folder, to be deleted to measure again."""
    kept = args.work / f"{name}-measured.json"
    if not kept.exists():
        kept.write_text(json.dumps(measure(name, photos, args)))
    return dict(json.loads(kept.read_text()))


def measure(name: str, photos: Photos, args: argparse.Namespace) -> dict[str, Any]:
    """Return the part of the report about one classifier."""
    from benchmarks.dci.measure import compare_pairs, per_depth, recreate
    from scanner.inversion.perceptual import PerceptualGap

    network = classifier(name, args.real)
    gap = PerceptualGap(onlooker(args.real))
    load = describe_device(torch.device("cpu"))["load_1min"]
    part: dict[str, Any] = {"network": name, "images": args.images, "load_1min": load, "depths": {}, "budgets": {}}
    inverses = {}
    for run in runs_of(name, args):
        inverse, manifest = trained(run, network, base_plan(name), lambda: photos.spare, work=args.work, talk=talk)
        inverses[run.name] = inverse
        talk(f"{name}: judging {run.name}")
        cuts = JUDGED_AT.get(name, inverse.names)
        part["depths"][run.name] = per_depth(network, inverse, photos.judged[: args.images], gap, cuts)
        part["budgets"][run.name] = {key: manifest[key] for key in ("plan", "stream", "seconds", "flops")}
    part["pairs"] = compare_pairs(part["depths"])
    ours = inverses["ours"]
    part["layers"] = {block.name: block.layers for block in ours.blocks if block.name in part["depths"]["ours"]}
    part |= speeds(name, args, ours, base_plan(name))
    part |= searches(network, ours, photos, part, args)
    if args.grid is not None:
        from benchmarks.dci.grid import write_grid

        drawn = ProceduralStream(SHAPE[1:], seed=PICTURE_SEED).batch(0, 8)
        for kind, shown in (("photos", photos.judged[:8]), ("procedural", drawn)):
            rows = [shown, *(recreate(ours, shown, cut) for cut in part["layers"])]
            write_grid(args.grid / f"{name}-{kind}.png", rows)
    return part


def searches(network: Any, ours: Any, photos: Photos, part: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return ours against the optimisation of each image, cut by cut."""
    from benchmarks.dci.measure import compare_pairs, judge, recreate
    from benchmarks.dci.rival import STEPS as SEARCH_STEPS
    from benchmarks.dci.rival import prefix, search_speed, searched

    images = photos.judged[: SEARCH_IMAGES[network.name]]
    cuts = SEARCHED_AT.get(network.name, ours.names)
    rows = {}
    for name, found in searched(network, cuts, images, photos.spare, work=args.work, talk=talk).items():
        rows[name] = {
            "ours": judge(network, images, recreate(ours, images, name), None),
            "search": judge(network, images, found["images"], None),
            "ours_images_per_s": part["speeds"][name]["images_per_s"],
            "search_images_per_s": search_speed(prefix(ours.blocks, name), images, SearchPlan(**found["plan"])),
            "plan": found["plan"],
            "tuning": found["tuning"],
        }
    pairs = compare_pairs({way: {name: row[way] for name, row in rows.items()} for way in ("ours", "search")})
    for name, row in rows.items():
        row["pair"] = pairs["search"][name]
    return {"search": rows, "search_images": len(images), "search_steps": SEARCH_STEPS}


def speeds(name: str, args: argparse.Namespace, inverse: Any, plan: DciPlan) -> dict[str, Any]:
    """Return how fast an inverse is on the device; None: an untrained one, which is as fast."""
    device = torch.device(args.device)
    network = classifier(name, args.real).to(device)
    stream = ProceduralStream((32, 32), seed=1, device=device)
    if inverse is None:
        inverse = train_inverse(network, stream, plan=replace(plan, steps=1), device=device)
    batch, rate = SPEED_BATCH[device.type], product_rate(device)
    found: dict[str, Any] = {"speeds": inverse_speeds(inverse.to(device), JUDGED_AT.get(name), batch=batch, rate=rate)}
    found |= {"speed_batch": batch, "product_gflops": rate / 1e9}
    if device.type == "cuda":
        plan = replace(plan, batch=512)
    flops = step_flops(classifier(name, args.real), replace(plan, alone=0.0))
    found["training"] = training_speed(network, stream, plan, steps=args.speed_steps, flops=flops, rate=rate)
    return found


def main() -> None:
    """Train what is missing, measure, and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--real", type=Path, help="folder of real models and images; without it speed alone is measured"
    )
    parser.add_argument("--work", type=Path, default=Path("bench_dci_work"), help="trainings are kept here")
    parser.add_argument("--train", help="NETWORK-RUN, NETWORK-search or 'generator': do this part alone")
    parser.add_argument("--networks", nargs="+", default=list(FACTORIES), choices=list(FACTORIES))
    parser.add_argument("--runs", nargs="+", default=["ours", "no-cycle", "real"], choices=list(RUNS))
    parser.add_argument("--images", type=int, default=500, help="photos that are judged")
    parser.add_argument(
        "--grid", type=Path, help="folder for pictures of photos and procedural images, and what was re-created"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the speed measurements")
    parser.add_argument("--speed-steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="bench_dci")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.real is not None:
        args.work.mkdir(parents=True, exist_ok=True)
    elif args.train:
        parser.error("--train needs --real")
    if args.train:
        train_alone(args)
        return
    report: dict[str, Any] = {"machine": describe_device(torch.device(args.device)), "networks": []}
    if args.real is None:
        report["networks"] = [{"network": n, **speeds(n, args, None, base_plan(n))} for n in args.networks]
    else:
        photos = cifar(args.real)
        report["networks"] = [measured(name, photos, args) for name in args.networks]
        report["generator"] = of_generator(args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{args.name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / f"{args.name}.md").write_text(page(report))
    talk(page(report))
    print(json.dumps({part["network"]: summary(part) for part in report["networks"]}))


def of_generator(args: argparse.Namespace) -> dict[str, Any]:
    """Return the part of the report about the generator; kept in the work folder."""
    from benchmarks.dci.generator import compare

    kept = args.work / "generator.json"
    if not kept.exists():
        kept.write_text(json.dumps(compare(args.real, GENERATOR_PLAN, work=args.work, talk=talk)))
    return dict(json.loads(kept.read_text()))


def train_alone(args: argparse.Namespace) -> None:
    """Do one training and leave it in the work folder."""
    if args.train == "generator":
        of_generator(args)
        return
    name, run = args.train.split("-", 1)
    network = classifier(name, args.real)
    if run == "search":
        from benchmarks.dci.rival import searched

        photos, cuts = cifar(args.real), SEARCHED_AT.get(name) or [block.name for block in cut(network)]
        searched(network, cuts, photos.judged[: SEARCH_IMAGES[name]], photos.spare, work=args.work, talk=talk)
        return
    trained(RUNS[run], network, base_plan(name), lambda: cifar(args.real).spare, work=args.work, talk=talk)


def summary(part: dict[str, Any]) -> dict[str, float]:
    """Return a few figures of a network for the last line."""
    if "depths" not in part:
        return {cut: round(row["images_per_s"], 1) for cut, row in part["speeds"].items()}
    return {cut: round(row["psnr_db"], 2) for cut, row in part["depths"]["ours"].items()}


if __name__ == "__main__":
    main()
