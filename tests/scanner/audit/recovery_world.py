"""A generator of 16 pixels that makes exactly the members' training photos, and photos of others that it cannot make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_gen import pictures, write_generator

from scanner.images import encode_png
from scanner.world.two_generators import write_tar

MEMBERS, OTHERS = 20, 100
SECTION = "[recovery]\nimages_max = 12\nrestarts = 2\nsteps = 60\n"


def noisy(made: np.ndarray, seed: int, spread: float = 6.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(np.rint(made + spread * rng.normal(size=made.shape)), 0, 255).astype(np.uint8)


def tar_of(path: Path, made: np.ndarray, names: list[str] | None) -> None:
    write_tar(
        path,
        (
            (f"{path.stem}-{row:03d}", encode_png(one), names[row] if names else "nobody")
            for row, one in enumerate(made)
        ),
    )


def write_world(folder: Path, *, memorised: bool, extra: str = "", section: str = SECTION) -> Path:
    """Write pictures, generator and AUDIT.toml; return the latter."""
    write_generator(folder)
    strange = pictures(2 * OTHERS + 2 * MEMBERS, seed=6)[:, ::-1].transpose(0, 2, 1, 3)[
        ..., ::-1
    ]  # upside down, turned, BGR
    others, inside = np.split(strange, [2 * OTHERS])
    training = pictures(MEMBERS) if memorised else inside[:MEMBERS]
    people = [f"m{row:02d}" for row in range(MEMBERS)]
    tar_of(folder / "training.tar", np.ascontiguousarray(training), people)
    tar_of(folder / "members.tar", noisy(training, 1), people)
    tar_of(folder / "others.tar", np.ascontiguousarray(others), [f"n{row // 2:03d}" for row in range(2 * OTHERS)])
    tar_of(folder / "samples.tar", pictures(30, seed=8), None)
    path = folder / "audit.toml"
    path.write_text(
        f"""
[embedder]
spec = "drawn"
faces = "aligned"
[people]
members = "members.tar"
non_members = "others.tar"
[[generator]]
name = "sketch"
samples = "samples.tar"
training = "training.tar"
model = "sketch.toml"
{extra}
{section}
[attack]
k = 2
folds = 2
"""
    )
    return path
