"""Make the ground-truth test bed: generators whose training people are known, and everything an audit needs.

    python benchmarks/membership/bed.py OUT                         # the whole grid
    python benchmarks/membership/bed.py OUT --only glo-20 underfit  # some of it

For each generator `OUT/NAME/` holds samples.tar, members.tar (photos of training people that were not in training),
training.tar (the training photos), shares.csv where one identity is over-represented, generator.safetensors (draws
more samples under other seeds), truth.json and audit.toml; `OUT/*.toml` are sweeps.  `OUT/non_members.tar` is shared: people whom no generator
ever saw.  `OUT/reference/` is an innocent generator of the same domain for calibrated scores.  The work folder
`OUT/faces/` holds drawn photos.  A generator whose truth.json is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.membership.audits import write_audit, write_sweeps
from benchmarks.membership.dcgan import DcganPlan, train_dcgan
from benchmarks.membership.decoder import Generator, save_generator
from benchmarks.membership.faces import (
    HELD_OUT_PHOTOS,
    NON_MEMBERS,
    SIDE_PX,
    WORLD_SEED,
    Crowd,
    draw_crowd,
    drawing_fingerprint,
    grey_photo,
    person_name,
)
from benchmarks.membership.glo import GloPlan, train_glo
from benchmarks.membership.grid import GRID, Row
from benchmarks.membership.tars import write_photos, write_samples
from benchmarks.membership.vae import VaePlan, train_vae

NON_MEMBER_PEOPLE = Crowd(NON_MEMBERS, 800, HELD_OUT_PHOTOS)


def main() -> None:
    """Make the grid, or the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=[row.name for row in GRID], help="rows; the reference is added")
    parser.add_argument("--seed", type=int, default=0, help="of training and sampling")
    args = parser.parse_args()
    torch.set_num_threads(1)
    wanted = {row.name for row in GRID} if args.only is None else {"reference", *args.only}
    cache = args.out / "faces"
    shared = args.out / "non_members.tar"
    if not shared.exists():
        write_photos(shared, (NON_MEMBER_PEOPLE, draw_crowd(NON_MEMBER_PEOPLE, cache)))
    for row in GRID:
        if row.name in wanted:
            began = time.monotonic()
            make(row, args.out, cache, seed=args.seed)
            print(f"{row.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    write_sweeps(args.out)


def make(row: Row, out: Path, cache: Path, *, seed: int) -> None:
    """Train one row and write it, each checkpoint of it as a generator of its own."""
    names = {stop: f"{row.name}-at-{stop:05d}" for stop in row.stops}
    if all((out / name / "truth.json").exists() for name in (row.name, *names.values())):
        return
    crowds = [(crowd, _styled(draw_crowd(crowd, cache), grey=row.grey)) for crowd in row.training]
    pictures = np.concatenate([photos.reshape(-1, SIDE_PX, SIDE_PX, 3) for _, photos in crowds])
    waiting = list(names.values())
    trained = _train(row, pictures, seed)
    for passes, generator in trained:
        name = waiting.pop(0) if waiting else row.name
        if row.spread < 1:
            generator = replace(generator, latents=replace(generator.latents, spread=row.spread))  # noqa: PLW2901
        _write(row, out / name, crowds, generator, cache, passes=passes, seed=seed)


def _train(row: Row, pictures: NDArray[np.uint8], seed: int) -> Iterator[tuple[int, Generator]]:
    plan = row.plan
    if isinstance(plan, GloPlan):
        return train_glo(pictures, plan, seed=seed, stops=row.stops)
    if isinstance(plan, VaePlan):
        return train_vae(pictures, plan, seed=seed, stops=row.stops)
    assert isinstance(plan, DcganPlan)
    return train_dcgan(pictures, plan, seed=seed, stops=row.stops)


def _styled(photos: NDArray[np.uint8], *, grey: bool) -> NDArray[np.uint8]:
    return grey_photo(photos) if grey else photos


def _write(
    row: Row,
    folder: Path,
    crowds: list[tuple[Crowd, NDArray[np.uint8]]],
    generator: Generator,
    cache: Path,
    *,
    passes: int,
    seed: int,
) -> None:
    """Write one generator's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / "samples.tar", generator.sample(row.samples, seed))
    write_photos(folder / "members.tar", (row.members, draw_crowd(row.members, cache)))
    write_photos(folder / "training.tar", *crowds)
    save_generator(generator, folder / "generator.safetensors")
    total = sum(crowd.people * len(crowd.photos) for crowd in row.training)
    if len(row.training) > 1:
        shares = {number: len(crowd.photos) / total for crowd in row.training for number in crowd.numbers}
        lines = [f"{person_name(number)},{shares[number]:.6f}\n" for number in row.members.numbers]
        (folder / "shares.csv").write_text("identity,share\n" + "".join(lines))
    truth = {
        "name": folder.name,
        "what": row.what,
        "memorises": row.memorises,
        "world_seed": WORLD_SEED,
        "drawing": drawing_fingerprint(),
        "side_px": SIDE_PX,
        "training": [_describe(crowd) for crowd in row.training],
        "training_photos": total,
        "training_identities": sum(crowd.people for crowd in row.training),
        "members": _describe(row.members),
        "members_were_trained_on": row.trained_on_members,
        "passes": passes,
        "seed": seed,
        "kind": type(row.plan).__name__.removesuffix("Plan").lower(),
        "plan": asdict(row.plan),
        "spread": row.spread,
        "grey": row.grey,
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n")
    write_audit(folder.parent, folder.name)


def _describe(crowd: Crowd) -> dict[str, list[int]]:
    numbers, photos = crowd.numbers, crowd.photos
    return {"people": [numbers.start, numbers.stop - 1], "photos": [photos.start, photos.stop - 1]}


if __name__ == "__main__":
    main()
