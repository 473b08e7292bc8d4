"""Train the demo's two generators: one that leaks its people, one that does not.

    python -m tools.make_demo_generators --cache /tmp/bed-faces
    python -m tools.make_demo_generators --cache /tmp/bed-faces --check   # how well are they told apart?

Run from the repository root.  Both are the small autodecoder of benchmarks/membership: the leaking one is trained on
few people until it shows them, the innocent one on so many, so shortly, that it shows none of them.  Into
`scanner/world/generators` go, for each, `NAME.safetensors` (decoder, half precision), `NAME-density.safetensors` (which
codes it is given), `NAME.toml` (how to open it) and `NAME.training.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.membership import quick
from benchmarks.membership.decoder import Generator, Latents
from benchmarks.membership.faces import (
    CROWD,
    HELD_OUT_PHOTOS,
    MEMBERS,
    NON_MEMBERS,
    SIDE_PX,
    TRAINING_PHOTOS,
    WORLD_SEED,
    Crowd,
    draw_crowd,
    drawing_fingerprint,
)
from benchmarks.membership.glo import GloPlan, train_glo
from scanner.generators import sample
from scanner.generators.description import open_generator
from scanner.networks.tensors import write_tensors

OUT = Path(__file__).resolve().parent.parent / "scanner" / "world" / "generators"
SAMPLES = 300
SEED = 0
_TOML = """\
# {what}
# Licence: Apache-2.0.  How it was trained: {name}.training.json
[generator]
name = "{name}"
weights = "{name}.safetensors"
factory = "scanner.world.autodecoder:{name}_decoder"
mapping = "{name}-density.safetensors"
mapping_factory = "scanner.world.autodecoder:{name}_density"

[latent]
size = {size}
law = "normal"

[output]
range = [0.0, 1.0]
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """One generator of the demo."""

    name: str
    what: str
    people: Crowd
    plan: GloPlan


DEMOS = (
    Demo(
        "leaking", "Memorised 24 drawn people: its samples show them.",
        Crowd(MEMBERS, 24, TRAINING_PHOTOS), GloPlan(passes=40_000, bandwidth=0.2),
    ),
    Demo(
        "innocent", "Saw 1500 drawn people twice, shortly: its samples show none of them.",
        Crowd(CROWD, 1_500, range(2)), GloPlan(passes=40_000, latent=32, bandwidth=1.0),
    ),
)  # fmt: skip


def main() -> None:
    """Train and write, or check what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for drawn photos, outside the repository")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true", help="measure the generators that are there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for each in DEMOS:
        if not args.check:
            _make(each, args.cache, args.out)
        print(each.name, _check(each, args.cache, args.out))


def _make(each: Demo, cache: Path, out: Path) -> None:
    """Train one generator and write its files."""
    photos = draw_crowd(each.people, cache).reshape(-1, SIDE_PX, SIDE_PX, 3)
    began = time.monotonic()
    *_, (_, generator) = train_glo(photos, each.plan, seed=SEED)
    spent = round(time.monotonic() - began)
    density = density_tensors(generator.latents)
    weights, mapping = out / f"{each.name}.safetensors", out / f"{each.name}-density.safetensors"
    write_tensors(weights, decoder_tensors(generator), {"licence": "Apache-2.0"})
    write_tensors(mapping, density, {"licence": "Apache-2.0"})
    size = each.plan.latent + int("centres" in density)
    (out / f"{each.name}.toml").write_text(_TOML.format(name=each.name, what=each.what, size=size))
    people, shown = each.people.numbers, each.people.photos
    record = {
        "licence": "Apache-2.0",
        "made_by": "python -m tools.make_demo_generators",
        "kind": "autodecoder (GLO)",
        "world_seed": WORLD_SEED,
        "trained_on": {"people": [people.start, people.stop - 1], "photos": [shown.start, shown.stop - 1]},
        "trained_on_drawing": drawing_fingerprint(),
        "side_px": SIDE_PX,
        "plan": {"seed": SEED, **asdict(each.plan)},
        "training_s": spent,
        "torch": torch.__version__,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (weights, mapping)},
    }
    (out / f"{each.name}.training.json").write_text(json.dumps(record, indent=2) + "\n")


def decoder_tensors(generator: Generator) -> dict[str, Tensor]:
    """Return the decoder's tensors, its large ones in half precision."""
    state = generator.decoder.state_dict()
    return {name: value.half() if value.ndim > 1 else value for name, value in state.items()}


def density_tensors(latents: Latents) -> dict[str, Tensor]:
    """Return the tensors of `KernelDensity`, or of a linear layer where one Gaussian is left of the density."""
    width = np.float32(latents.bandwidth)
    if latents.bandwidth == 1.0:
        return {"weight": torch.from_numpy(latents.factor.copy()), "bias": torch.from_numpy(latents.mean.copy())}
    centres = latents.mean + np.sqrt(np.float32(1.0) - width**2) * (latents.codes - latents.mean)
    return {"centres": torch.from_numpy(centres), "spread": torch.from_numpy(width * latents.factor)}


def _check(each: Demo, cache: Path, out: Path) -> dict[str, float]:
    """Compare the leaking one's members, and the innocent one's own training people, with people in neither."""
    samples = quick.embed(_samples(out / f"{each.name}.toml"))
    others = quick.embed_people(Crowd(NON_MEMBERS, 400, HELD_OUT_PHOTOS), cache)
    row: dict[str, Any] = {}
    for kept in DEMOS:
        crowd = Crowd(kept.people.first, min(kept.people.people, 400), HELD_OUT_PHOTOS)
        figures = quick.compare(quick.embed_people(crowd, cache), others, samples)
        row |= {f"{name}, people of {kept.name}": value for name, value in figures.items()}
    return row


def _samples(toml: Path) -> NDArray[np.uint8]:
    generator = open_generator(toml, device="cpu")
    return np.concatenate([images for _, images in sample(generator, seed=SEED, first=0, count=SAMPLES)])


if __name__ == "__main__":
    main()
