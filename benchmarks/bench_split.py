"""What do the features of a split network give away, cut by cut, on real pictures?

    python benchmarks/bench_split.py face --real ../shared/real --work WORK        # identity, judged by others
    python benchmarks/bench_split.py cifar --real ../shared/real --work WORK       # a classifier's own pictures
    python benchmarks/bench_split.py face-defences --real ../shared/real --work WORK --cuts plus1_o plus3_o   # what they buy

`face` attacks mobileface-v2 with photos of LFW people, two each; the judges, face-reid-0095 and mobilefacenet, took no part
in the attack.  `cifar` attacks cifar-resnet20 with its 1 000 test images.  The inverse is trained first, without a picture,
as `scanner invert features` does it, and kept in WORK for both benchmarks of a network; `--inverse` names another one.
Each is one whole `scanner audit` on files.  Training and audit go on where they were cut off.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from scanner.artefacts import read_json
from scanner.audit.audit import audit
from scanner.cli.talk import talk
from scanner.jobs.inverting.feature_inputs import FeatureOptions
from scanner.jobs.inverting.features import invert_features
from scanner.report.split_view import DEFENCE_TEXT

FACE = """
[embedder]
faces = "detect"
detector = "{real}/models/scrfd_500m_kps.onnx"
device = "{device}"
[split]
network = "{network}"
inverse = "{inverse}"
photos = "{real}/faces/lfw-dev-{{00..03}}.tar"
judges = ["onnx:{real}/models/face-reid-0095.onnx", "onnx:{real}/models/mobilefacenet.onnx"]
max_photos = {photos}
"""
FACE_NET = """
[network]
weights = "{real}/models/mobileface-v2.onnx"
name = "mobileface-v2"
[input]
size = [112, 112]
mean = [127.5, 127.5, 127.5]
scale = 0.00784313725490196
"""
CIFAR = """
[embedder]
faces = "whole"
device = "{device}"
[split]
network = "{network}"
inverse = "{inverse}"
photos = "{real}/images/cifar10-test-1000.tar"
identity_from = "name"
class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
max_photos = {photos}
"""
CIFAR_NET = """
[network]
weights = "{real}/models/cifar-resnet20.safetensors"
factory = "scanner.networks.resnet_cifar:resnet20"
name = "cifar-resnet20"
classes = 10
[input]
size = [32, 32]
mean = [123.675, 116.28, 103.53]
scale = [0.01712475383166367, 0.017507002801120448, 0.017429193899782137]
"""
DEFENCES = """
[[split.defence]]
kind = "noise"
values = [0.3, 1.0]
[[split.defence]]
kind = "quantise"
values = [2, 4]
[[split.defence]]
kind = "drop"
values = [0.5]
"""
FACE_CUTS = ("minimumscalar0_o", "batchnorm2_o", "plus1_o", "plus3_o", "plus5_o", "flatten0_o", "fc5_bn_o")
TRAININGS = {
    "face": FeatureOptions(at=FACE_CUTS, steps=1500, batch=16),
    "cifar": FeatureOptions(steps=1000, batch=32),
}
KINDS = {
    "face": (FACE, FACE_NET, 600),
    "face-defences": (FACE, FACE_NET, 300),
    "cifar": (CIFAR, CIFAR_NET, 1000),
    "cifar-defences": (CIFAR, CIFAR_NET, 300),
}


def configure(args: argparse.Namespace) -> tuple[Path, Path]:
    """Write the network's and the audit's description, see to the inverse; return AUDIT.toml and the inverse."""
    text, network, photos = KINDS[args.kind]
    work, real = args.work.absolute(), args.real.absolute()
    toml = work / args.kind / "audit.toml"
    toml.parent.mkdir(parents=True, exist_ok=True)
    # The network is told from its weights and its description: its fingerprint does not hold paths.
    described = work / f"{args.kind.partition('-')[0]}.toml"
    described.write_text(network.format(real=real))
    inverse = args.inverse.absolute() if args.inverse else trained_inverse(described, args)
    told = text.format(
        real=real, network=described, inverse=inverse, photos=args.photos or photos, device=args.device
    )  # fmt: skip
    if args.cuts:
        told += f"cuts = {json.dumps(args.cuts)}\n"
    toml.write_text(told + (DEFENCES if args.kind.endswith("defences") else ""))
    return toml, inverse


def trained_inverse(described: Path, args: argparse.Namespace) -> Path:
    """Train the network's inverse beside its description, where it is not there yet; return its folder."""
    options = replace(TRAININGS[described.stem], device=args.device)
    if args.steps is not None:
        options = replace(options, steps=args.steps)
    inverse = described.with_name(f"{described.stem}-inverse")
    with talk(quiet=False) as progress:
        invert_features(described, inverse, options=options, resume=inverse.exists(), progress=progress)
    return inverse


def summarise(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row a cut and defence: quality, own work, and rates of each judge at each FMR."""
    rows = []
    for unit in document["units"]:
        rates = [
            {
                "judge": entry["judge"], "fmr": entry["fmr"], "null": entry.get("headline"), "chance": entry.get("chance"),
                **{
                    match: {key: at[key] for key in ("value", "low", "high")}
                    for match, found in entry["rates"].items()
                    for at in [found[entry["headline"]] if "headline" in entry else found]
                },
            }
            for entry in unit["judges"]
        ]  # fmt: skip
        rows.append(
            {**{key: unit[key] for key in ("cut", "layers", "numbers", "defence", "quality", "own")}, "rates": rates}
        )
    return rows


def to_markdown(report: dict[str, Any]) -> str:
    """Return the tables."""
    rows, photos = report["rows"], report["photos"]
    lines = [
        f"# {report['network']}, split: {report['kind']}", "",
        f"{photos['photos']} pictures" + (f" of {photos['people']} people" if report["judges"] else "") + f"; inverse {report['inverse'][:12]} "
        f"of {report['training']['steps']} steps of {report['training']['batch']}, "
        + ("trained with real pictures" if report["real_data"] else "trained without a real picture") + "; "
        f"{report['seconds']:.0f} s on {report['machine']['cores']} cores of {report['machine']['cpu']}, load {report['machine']['load_1min']}, device {report['device']}.",
        "", *_baselines(report),
    ]  # fmt: skip
    fmrs = sorted({rate["fmr"] for row in rows for rate in row["rates"]}, reverse=True)
    for fmr in fmrs:
        judges = list(dict.fromkeys(rate["judge"] for rate in rows[0]["rates"]))
        heads = [
            f"{judge}: {text}"
            for judge in judges
            for text in (("same photo", "another photo", "stranger") if judge != "all judges" else ("same photo",))
        ]
        lines += [
            "",
            f"## FMR {fmr:g} (per cent, 95 % interval)",
            "",
            _line(["cut", "layers", "defence", "PSNR", "SSIM", *heads, f"own TAR at FMR {fmrs[0]:g}"]),
        ]
        lines.append(_line(["---"] * (len(heads) + 6)))
        lines += [_line([*_head(row), *_rates(row, fmr, judges), _percent(row["own"].get("tar"))]) for row in rows]
    if not fmrs:
        lines += [
            "",
            _line(
                [
                    "cut",
                    "layers",
                    "defence",
                    "PSNR",
                    "SSIM",
                    "re-created picture's class, %",
                    "class kept by the defence, %",
                    "accuracy, %",
                ]
            ),
            _line(["---"] * 8),
        ]
        lines += [
            _line([*_head(row), *(_percent(row["own"].get(key)) for key in ("agreement", "kept", "accuracy"))])
            for row in rows
        ]
    return "\n".join([*lines, ""])


def _baselines(report: dict[str, Any]) -> list[str]:
    return [
        f"{row['judge']} at FMR {row['fmr']:g} (threshold {row['threshold']:.3f}): another photo of the person, originals: "
        f"{_percent(row['original'])} %; the mean face: {_percent(row['mean_image'])} %.\n"
        for row in report["baselines"]["judges"]
    ]


def _head(row: dict[str, Any]) -> list[str]:
    defence = DEFENCE_TEXT[row["defence"]["kind"]].format(row["defence"]["value"])
    return [
        row["cut"],
        str(row["layers"]),
        defence,
        f"{row['quality']['psnr_db']['mean']:.1f}",
        f"{row['quality']['ssim']['mean']:.3f}",
    ]


def _rates(row: dict[str, Any], fmr: float, judges: list[str]) -> list[str]:
    cells = []
    for judge in judges:
        rate = next(rate for rate in row["rates"] if rate["judge"] == judge and rate["fmr"] == fmr)
        cells.append(_percent(rate["type_1"]))
        if judge != "all judges":
            cells += [_percent(rate.get("type_2")), f"{100 * rate['chance']:.2g}"]
    return cells


def _percent(at: dict[str, float] | None) -> str:
    return "" if at is None else f"{100 * at['value']:.1f} ({100 * at['low']:.1f} to {100 * at['high']:.1f})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Audit and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--real", type=Path, required=True, help="folder of the real models and pictures")
    parser.add_argument("--inverse", type=Path, help="made by scanner invert features; default: trained in WORK")
    parser.add_argument("--steps", type=int, help="of that training; default: 1500 of 16 (face), 1000 of 32 (cifar)")
    parser.add_argument("--photos", type=int, help="at most so many")
    parser.add_argument("--cuts", nargs="*", default=[], help="default: all of the inverse")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=Path("split-work"), help="trainings and audits are kept there")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    if args.inverse is not None and args.steps is not None:
        parser.error("--steps is of a training, and --inverse was trained already: pass one of them")
    toml, inverse = configure(args)
    folder, machine, started = toml.parent / "audit", describe_machine(), time.monotonic()
    with talk(quiet=False) as progress:
        done = audit(toml, out=folder, resume=folder.exists(), progress=progress)
    split = done.document["split"]
    report = {
        "kind": args.kind, "machine": machine, "seconds": time.monotonic() - started, "network": split["network"]["name"],
        "inverse": split["inverse"]["weights_sha256"], "real_data": split["inverse"]["real_data"],
        "training": {key: read_json(inverse / "inverse.json")["plan"][key] for key in ("steps", "batch", "cycle", "seed")}, "device": args.device,
        "threads": os.environ.get("OMP_NUM_THREADS"), "judges": [judge["name"] for judge in split["judges"]], "photos": split["photos"],
        "baselines": split["baselines"], "rows": summarise(split),
    }  # fmt: skip
    name = args.kind.replace("-", "_")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"split_{name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    (args.out / f"split_{name}.md").write_text(to_markdown(report))
    print(json.dumps({"kind": args.kind, "units": len(report["rows"]), "seconds": round(report["seconds"], 1)}))


if __name__ == "__main__":
    main()
