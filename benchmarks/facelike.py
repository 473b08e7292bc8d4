"""Draw vectors that are spread like real face embeddings, as many as wanted.

A search engine that is timed on uniform noise looks better than it is: real embeddings crowd in some
directions and nearly miss others. So the mean and the covariance of real embeddings are fitted, and
normal draws from them are scaled to unit length. The draws are strangers to everybody: no two share
an identity.

    model = fit_facelike(real_vectors)
    save_rows(path, draw_blocks(model, 500_000, seed=0), (500_000, 256))
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Facelike:
    """A normal distribution fitted to embeddings.

    Args:
        mean: float64 (d,).
        root: float64 (d, d), symmetric root of the covariance.
    """

    mean: npt.NDArray[np.float64]
    root: npt.NDArray[np.float64]


def fit_facelike(vectors: npt.NDArray[np.float32]) -> Facelike:
    """Fit mean and covariance on real unit vectors: float32 (n, d), n well above d."""
    wide = vectors.astype(np.float64)
    values, directions = np.linalg.eigh(np.cov(wide, rowvar=False))
    root = (directions * np.sqrt(np.maximum(values, 0.0))) @ directions.T
    return Facelike(wide.mean(axis=0), root)


def draw_blocks(model: Facelike, rows: int, *, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield `rows` unit vectors in blocks of float32 (8192 or fewer, d); each block has its own seed."""
    for number, start in enumerate(range(0, rows, BLOCK_ROWS)):
        rng = np.random.default_rng([seed, number])
        noise = rng.standard_normal((min(BLOCK_ROWS, rows - start), model.mean.shape[0]))
        drawn = model.mean + noise @ model.root
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        yield drawn.astype(np.float32)


def save_rows(path: Path, blocks: Iterable[npt.NDArray[np.float32]], shape: tuple[int, int]) -> None:
    """Write blocks into an .npy file of `shape`, never more than one of them in memory."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for block in blocks:
        out[start : start + len(block)] = block
        start += len(block)
    out.flush()


def effective_dim(vectors: npt.NDArray[np.float32]) -> float:
    """Return the participation ratio of the spectrum: how many directions the vectors really use."""
    wide = vectors.astype(np.float64)
    values = np.linalg.eigvalsh(wide.T @ wide / wide.shape[0])
    return float(values.sum() ** 2 / np.square(values).sum())
