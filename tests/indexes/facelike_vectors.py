"""Unit vectors that are spread like face embeddings; needs numpy alone."""

from pathlib import Path

import numpy as np
import pytest

from indexes.sealed import open_file

DIM = 48


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw_faces(identities: int, photos: int, *, seed: int, dim: int = DIM) -> np.ndarray:
    """Photos of identities: float32 (identities * photos, dim), photos of one identity adjoin."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(1.6, 0.4, dim)
    people = np.repeat(rng.standard_normal((identities, dim)), photos, axis=0)
    return unit((people + 0.8 * rng.standard_normal(people.shape)) * scale)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Contents of every file but the lock, by relative name; of sealed ones, what is inside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock")
    contents = {}
    for path in files:
        with open_file(path) as file:
            contents[str(path.relative_to(folder))] = file.read()
    return contents


@pytest.fixture(scope="session")
def references_f32() -> np.ndarray:
    return draw_faces(400, 3, seed=1)


@pytest.fixture(scope="session")
def queries_f32(references_f32: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(2)
    near = unit(references_f32[:20] + 0.05 * rng.standard_normal((20, DIM)))
    return np.concatenate([references_f32[30:50], near, draw_faces(20, 1, seed=3)])
