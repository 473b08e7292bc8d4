"""A CUDA device makes the images that the CPU makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scanner.generators import LatentLaw, sample

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
REAL = Path(__file__).resolve().parents[4] / "shared" / "real" / "models"
SHIPPED = Path(__file__).parents[3] / "scanner" / "world" / "generators"
WITHIN = 2


def open_on_both(path: Path):
    """Open a described generator on both devices; descriptions need more than a bare GPU machine has."""
    for library in ("pydantic", "safetensors", "onnx"):
        pytest.importorskip(library)
    from scanner.generators.description import open_generator

    return open_generator(path, device="cuda"), open_generator(path, device="cpu")


def images_of(generator, count: int = 200):
    return np.concatenate([run for _, run in sample(generator, seed=3, first=5, count=count)])


def test_the_device_changes_no_image_by_more_than_rounding(opened, waves) -> None:
    there = opened(waves(64), law=LatentLaw(64), device="cuda")
    here = opened(waves(64), law=LatentLaw(64), device="cpu")

    assert there.device.type == "cuda"
    assert there.fingerprint == here.fingerprint
    assert np.abs(images_of(there).astype(int) - images_of(here)).max() <= WITHIN
    assert there.network is not None
    assert there.network.device.type == "cuda"


@pytest.mark.parametrize("name", ["leaking", "innocent"])
def test_the_shipped_generators_agree(name: str) -> None:
    there, here = open_on_both(SHIPPED / f"{name}.toml")

    assert np.abs(images_of(there).astype(int) - images_of(here)).max() <= WITHIN
    np.testing.assert_array_equal(images_of(there), images_of(there))


@pytest.mark.real
@pytest.mark.parametrize("suffix", ["pt2", "ts.pt", "onnx"])
@pytest.mark.parametrize(("name", "size"), [("vae-celeba-decoder", 10), ("gan36", 256)])
def test_real_generators_agree(name, size, suffix, tmp_path) -> None:
    if not REAL.is_dir():
        pytest.skip("the real models (../shared/real) are not here")
    path = tmp_path / "gen.toml"
    path.write_text(f'[generator]\nweights = "{REAL}/{name}.{suffix}"\n[latent]\nsize = {size}\n')
    there, here = open_on_both(path)

    assert np.abs(images_of(there).astype(int) - images_of(here)).max() <= WITHIN
    np.testing.assert_array_equal(images_of(there), images_of(there))
