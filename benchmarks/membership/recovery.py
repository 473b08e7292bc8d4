"""Run the bed's generators backwards: are training photos re-created better than photos of people they never saw?

    python benchmarks/membership/recovery.py OUT            # OUT as `bed.py` left it; minutes

Writes benchmarks/results/membership_recovery.{json,md}.  Both sides are as many photos, mixed, one inversion; the search is
in whitened codes (the density that samples are drawn from, as one Gaussian), so no side is nearer to the starting points.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import describe_machine
from benchmarks.membership.decoder import load_generator
from scanner import artefacts
from scanner.audit.recovery import Chosen, choose, stage
from scanner.audit.recovery_config import RecoverySection
from scanner.audit.results import plain
from scanner.audit.sources import Faces
from scanner.evidence.recovery import weigh_recovery
from scanner.jobs.inverting.latent import invert_latent
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.options import SourceOptions
from scanner.records import Item

ROWS = {
    "glo-20": True, "glo-50": True, "glo-200": True, "vae-20": True, "dcgan-20": True, "shrunk": False, "underfit": False,
    "shifted": False,
}  # fmt: skip
"""Generators, and whether they are known to memorise.  `shifted` makes grey pictures of grey ones, and the non-members' photos are
in colour: what differs there is the kind, which `scanner audit` refuses to speak about (its guard, not run here)."""


class Whitened(nn.Module):
    """Standard normal numbers to images, by way of the codes' mean and covariance."""

    def __init__(self, decoder: nn.Module, mean: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)

    def forward(self, latents: Tensor) -> Tensor:
        """Return images01."""
        images: Tensor = self.decoder(self.mean + latents @ self.factor.T)
        return images


def write_description(weights: Path, folder: Path) -> Path:
    """Export a generator of the bed with its GEN.toml."""
    generator = load_generator(weights)
    latents = generator.latents
    module = Whitened(generator.decoder, torch.from_numpy(latents.mean.copy()), torch.from_numpy(latents.factor.copy()))
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    size = len(latents.mean)
    exported = torch.export.export(module.eval(), (torch.zeros(3, size),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, folder / "generator.pt2")
    path = folder / "gen.toml"
    path.write_text(f'[generator]\nweights = "generator.pt2"\n[latent]\nsize = {size}\nlaw = "normal"\n')
    return path


def photos_of(tar: Path) -> Faces:
    """Return who is on the photos of a tar; nothing is embedded."""
    items = [entry for entry in SourceOptions().open([str(tar)]).entries() if isinstance(entry, Item)]
    marks = tuple((f"item {item.item_id} 0",) for item in items)
    return Faces(np.empty((0, 0), np.float32), tuple(item.identity for item in items), marks, "", {})


def recovered(bed: Path, name: str, section: RecoverySection) -> dict[str, Any]:
    """Invert photos of both sides and weigh the errors."""
    tars = [bed / name / "training.tar", bed / "non_members.tar"]
    chosen = choose(*(photos_of(tar) for tar in tars), section, what=name)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        model = write_description(bed / name / "generator.safetensors", folder)
        stage(folder / "photos.tar", chosen, [str(tar) for tar in tars], SourceOptions())
        options = InvertOptions(restarts=section.restarts, steps_max=section.steps, seed=section.seed, device="cpu")
        began = time.monotonic()
        invert_latent(model, [str(folder / "photos.tar")], folder / "out", options=options)
        seconds = time.monotonic() - began
        rows = artefacts.read_table(folder / "out" / "inversions.parquet", "inversions").to_pylist()
    errors = {row["item_id"]: row["pixel_mse"] for row in rows if row["pixel_mse"] is not None}
    found = weigh_recovery(*arrays(chosen, errors), seed=0)
    return {"name": name, "memorises": ROWS[name], "seconds": round(seconds, 1), **plain(asdict(found))}


def arrays(
    chosen: list[Chosen], errors: dict[str, float]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return errors, codes of people, and which people are members."""
    good = [photo for photo in chosen if photo.item_id in errors]
    people = sorted({(photo.person, photo.member) for photo in good})
    place = {person: code for code, (person, _) in enumerate(people)}
    codes = np.array([place[photo.person] for photo in good], np.int64)
    return np.array([errors[photo.item_id] for photo in good]), codes, np.array([member for _, member in people])


def page(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Recovery errors of the test bed's generators",
        "",
        f"{report['images_max']} photos of each side at most, {report['restarts']} starts of {report['steps']} steps; "
        f"{report['machine']['cpu'] if 'cpu' in report['machine'] else report['machine']}. AUC and TPR are of people; "
        "`p` shuffles people, `p, photos` is Kolmogorov's as it is usually printed.",
        "",
        "| generator | memorises | photos, people of a side | median error in, out | KS | p | p, photos | MRE-gap | AUC | TPR at FPR 1 % | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["generators"]:
        gap, area, hits = row["mre_gap"], row["by_identity"]["auc"], row["by_identity"]["tpr_1"]
        lines.append(
            f"| {row['name']} | {'yes' if row['memorises'] else 'no'} | {row['photos'][0]}, {row['people'][0]}/{row['people'][1]} | "
            f"{row['median'][0]:.2g}, {row['median'][1]:.2g} | {row['ks']:.2f} | {row['ks_p']:.2g} | {row['ks_p_photos']:.2g} | "
            f"{gap['value']:.2f} ({gap['low']:.2f} to {gap['high']:.2f}) | {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}) | "
            f"{hits['value']:.2f} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Invert for all rows and write the two result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bed", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(ROWS))
    parser.add_argument("--images", type=int, default=100, help="photos of each side")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    section = RecoverySection(images_max=args.images, restarts=2, steps=100)
    report = {
        "machine": describe_machine(), "images_max": args.images, "restarts": section.restarts, "steps": section.steps,
        "generators": [],
    }  # fmt: skip
    for name in args.only or ROWS:
        report["generators"].append(recovered(args.bed, name, section))
        print(json.dumps(report["generators"][-1])[:300], file=sys.stderr, flush=True)
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "membership_recovery.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
        (args.out / "membership_recovery.md").write_text(page(report))


if __name__ == "__main__":
    main()
