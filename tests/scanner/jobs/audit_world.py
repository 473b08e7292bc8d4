"""People as plain vectors, and generators that give some of them away, nobody, or look at another kind of picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

DIM = 64
SPREAD = 0.7
"""Two photos of one person score about 1 / (1 + SPREAD^2) = 0.67, strangers 0 with a deviation of 1 / 8."""


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def draw_people(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    return unit(rng.normal(size=(count, DIM)))


def photos_of(rng: np.random.Generator, people: NDArray[np.float32], each: int) -> NDArray[np.float32]:
    return unit(np.repeat(people, each, 0) + SPREAD * rng.normal(size=(len(people) * each, DIM)) / np.sqrt(DIM))


def write_vectors(path: Path, vectors: NDArray[np.float32], identities: list[str | None] | None = None) -> Path:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1])
    names = identities if identities is not None else [None] * len(vectors)
    uris = [f"{path.stem}/{row}" for row in range(len(vectors))]
    pq.write_table(pa.table({"embedding": column, "uri": uris, "identity": pa.array(names, pa.string())}), path)
    return path


def labels(letter: str, people: int, each: int) -> list[str | None]:
    return [f"{letter}{person:03d}" for person in range(people) for _ in range(each)]


def make_world(
    folder: Path, *, members: int = 40, others: int = 200, each: int = 3, samples: int = 300, leaked: int = 28
) -> Path:
    """Write people, three generators and an `audit.toml`; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    inside, outside = draw_people(rng, members), draw_people(rng, others)
    write_vectors(folder / "members.parquet", photos_of(rng, inside, each), labels("m", members, each))
    write_vectors(folder / "others.parquet", photos_of(rng, outside, each), labels("n", others, each))
    strangers = draw_people(rng, samples)
    write_vectors(folder / "innocent.parquet", strangers)
    shown = photos_of(rng, inside[:leaked], 2)
    write_vectors(folder / "leaking.parquet", np.concatenate([strangers[: samples - len(shown)], shown]))
    write_vectors(folder / "reference.parquet", draw_people(rng, samples))
    dose = "".join(f"m{person:03d},{0.05 if person < leaked else 0.001}\n" for person in range(members))
    (folder / "shares.csv").write_text(f"identity,share\n{dose}")
    path = folder / "audit.toml"
    path.write_text(
        """
[audit]
seed = 3
[embedder]
embedded_by = "net"
[people]
members = "members.parquet"
non_members = "others.parquet"
photos = 2
[[generator]]
name = "leaking"
samples = "leaking.parquet"
reference = "reference.parquet"
shares = "shares.csv"
identities = 40
[[generator]]
name = "innocent"
samples = "innocent.parquet"
identities = 4000
[attack]
k = 4
folds = 4
[sweep]
samples = [100, 300, 1000]
photos = [1, 3, 4]
[gate]
leak_rate_max = 0.2
fpr = 0.02
"""
    )
    return path
