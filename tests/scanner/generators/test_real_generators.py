"""Generators that others trained, in every format: one and the same image each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scanner.errors import ModelError
from scanner.generators import sample, sample_blocks
from scanner.generators.description import open_generator

pytestmark = pytest.mark.real
GENERATORS = {"vae-celeba-decoder": (10, (64, 64)), "gan36": (256, (36, 36))}
FORMATS = ("pt2", "ts.pt", "onnx")


def described(real: Path, tmp_path: Path, name: str, suffix: str, *, size: int | None = None) -> Path:
    weights = real / "models" / f"{name}.{suffix}"
    path = tmp_path / f"{name}.{suffix}.toml"
    path.write_text(f'[generator]\nweights = "{weights}"\n[latent]\nsize = {size or GENERATORS[name][0]}\n')
    return path


@pytest.mark.parametrize("name", GENERATORS)
def test_every_format_gives_the_images_of_onnxruntime(name, real, tmp_path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(real / "models" / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    for suffix in FORMATS:
        generator = open_generator(described(real, tmp_path, name, suffix), device="cpu")
        assert generator.shape_px == GENERATORS[name][1]
        assert generator.differentiable
        values = generator.law.draw(4, 0, 100).values
        (expected,) = session.run(None, {entry.name: values})
        found = generator.images(torch.from_numpy(values), clip=False).numpy()
        assert np.abs(found - expected).max() < 1e-4
        images = np.concatenate([run for _, run in sample(generator, seed=4, first=0, count=100)])
        wanted = np.clip(expected, 0, 1).transpose(0, 2, 3, 1) * 255
        assert np.abs(images - wanted).max() <= 1.0
        assert (np.abs(images - wanted) <= 0.51).mean() > 0.999


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", GENERATORS)
def test_pieces_of_a_seed_are_the_whole(name, suffix, real, tmp_path) -> None:
    generator = open_generator(described(real, tmp_path, name, suffix), device="cpu")
    whole = np.concatenate([run for _, run in sample(generator, seed=2, first=0, count=150)])

    random = np.random.default_rng(0)
    for _ in range(4):
        first = int(random.integers(0, 120))
        count = int(random.integers(1, 150 - first))
        blocks = list(sample_blocks(generator, seed=2, first=first, count=count))
        assert b"".join(b.images_rgb_u8.tobytes() for b in blocks) == whole[first : first + count].tobytes()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", GENERATORS)
def test_a_wrong_latent_size_is_mended_by_the_message(name, suffix, real, tmp_path) -> None:
    size = GENERATORS[name][0]
    with pytest.raises(ModelError, match=rf"write size = {size} under \[latent\]"):
        open_generator(described(real, tmp_path, name, suffix, size=size + 1), device="cpu")


@pytest.mark.parametrize("name", GENERATORS)
def test_a_graph_can_be_had_but_of_torchscript(name, real, tmp_path) -> None:
    networks = {f: open_generator(described(real, tmp_path, name, f), device="cpu").network for f in FORMATS}

    assert networks["ts.pt"] is None
    assert networks["pt2"] is not None
    assert networks["onnx"] is not None
    assert networks["pt2"].output_shape == (3, *GENERATORS[name][1])
