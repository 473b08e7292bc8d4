"""Make the demo's two sets of generated faces: one that leaks its people, one that does not.

    python -m tools.make_demo_samples --cache /tmp/bed-faces
    python -m tools.make_demo_samples --cache /tmp/bed-faces --check   # how well are they told apart?

Run from the repository root.  Both come from the small autodecoder of benchmarks/membership: the leaking one
is trained on few people until it shows them, the innocent one on so many, so shortly, that it shows none of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.membership import quick
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
from benchmarks.membership.tars import write_samples

OUT = Path(__file__).resolve().parent.parent / "scanner" / "world" / "samples"
SAMPLES = 300
SEED = 0


@dataclass(frozen=True, slots=True)
class Set:
    """One generator of the demo."""

    name: str
    people: Crowd
    plan: GloPlan


SETS = (
    Set("leaking", Crowd(MEMBERS, 24, TRAINING_PHOTOS), GloPlan(passes=40_000, bandwidth=0.2)),
    Set("innocent", Crowd(CROWD, 1_500, range(2)), GloPlan(passes=40_000, latent=32, bandwidth=1.0)),
)


def main() -> None:
    """Train, sample, write, or check what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for drawn photos, outside the repository")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true", help="measure the sets that are there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.check:
        made = [_make(each, args.cache, args.out) for each in SETS]
        record = {
            "world_seed": WORLD_SEED,
            "side_px": SIDE_PX,
            "drawing": drawing_fingerprint(),
            "torch": torch.__version__,
            "made_by": "python -m tools.make_demo_samples",
            "sets": made,
        }
        (args.out / "samples.json").write_text(json.dumps(record, indent=2) + "\n")
    for each in SETS:
        print(each.name, _check(each, args.cache, args.out))


def _make(each: Set, cache: Path, out: Path) -> dict[str, Any]:
    """Train one generator, write its samples, and return what samples.json says of it."""
    photos = draw_crowd(each.people, cache).reshape(-1, SIDE_PX, SIDE_PX, 3)
    *_, (_, generator) = train_glo(photos, each.plan, seed=SEED)
    path = out / f"{each.name}.tar"
    write_samples(path, generator.sample(SAMPLES, SEED), suffix="jpg")
    people, shown = each.people.numbers, each.people.photos
    return {
        "name": each.name,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "samples": SAMPLES,
        "trained_on": {"people": [people.start, people.stop - 1], "photos": [shown.start, shown.stop - 1]},
        "generator": {"kind": "autodecoder (GLO)", "seed": SEED, **asdict(each.plan)},
    }


def _check(each: Set, cache: Path, out: Path) -> dict[str, float]:
    """Compare the leaking set's members, and the innocent set's own training people, with people in neither."""
    samples = quick.embed(_read(out / f"{each.name}.tar"))
    others = quick.embed_people(Crowd(NON_MEMBERS, 400, HELD_OUT_PHOTOS), cache)
    row: dict[str, float] = {}
    for kept in SETS:
        crowd = Crowd(kept.people.first, min(kept.people.people, 400), HELD_OUT_PHOTOS)
        figures = quick.compare(quick.embed_people(crowd, cache), others, samples)
        row |= {f"{name}, people of {kept.name}": value for name, value in figures.items()}
    return row


def _read(path: Path) -> NDArray[np.uint8]:
    with tarfile.open(path) as tar:
        files = [tar.extractfile(member) for member in tar]
        return np.stack([np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")) for file in files if file])


if __name__ == "__main__":
    main()
