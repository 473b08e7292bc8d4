"""The demo's two generators: their files fit together, and their density is the one that was fitted."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import scanner.world.autodecoder as networks
from benchmarks.membership.decoder import fit_latents
from scanner.networks.modules import load_module
from tools.make_demo_generators import density_tensors

FOLDER = Path(networks.__file__).parent / "generators"
NAMES = ("leaking", "innocent")


def record_of(name):
    return json.loads((FOLDER / f"{name}.training.json").read_text("utf-8"))


def opened(name):
    parts = [("", "decoder"), ("-density", "density")]
    return [
        load_module(FOLDER / f"{name}{end}.safetensors", factory=f"scanner.world.autodecoder:{name}_{part}")
        for end, part in parts
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_that_the_record_names(name):
    record = record_of(name)

    assert len(record["sha256"]) == 2
    for file, digest in record["sha256"].items():
        assert hashlib.sha256((FOLDER / file).read_bytes()).hexdigest() == digest
    assert record["licence"] == "Apache-2.0"
    assert sum((FOLDER / file).stat().st_size for file in record["sha256"]) <= 800_000


def test_no_person_was_in_both_trainings():
    leaking, innocent = (record_of(name)["trained_on"]["people"] for name in NAMES)

    assert record_of("leaking")["world_seed"] == record_of("innocent")["world_seed"] == 909
    assert leaking == [0, 23]
    assert innocent[0] > leaking[1]
    assert innocent[1] - innocent[0] + 1 >= 600


@pytest.mark.parametrize(("name", "size"), [("leaking", 17), ("innocent", 32)])
def test_normal_numbers_become_different_images(name, size):
    decoder, density = opened(name)
    z = torch.from_numpy(np.random.default_rng(3).standard_normal((6, size)).astype(np.float32))

    with torch.inference_mode():
        images = decoder(density(z))
        alone = decoder(density(z[4:5]))

    assert images.shape == (6, 3, 40, 40)
    assert 0.1 < float(images.mean()) < 0.9
    assert float((images[:3] - images[3:]).abs().mean((1, 2, 3)).min()) > 0.02
    assert torch.allclose(images[4:5], alone, atol=1e-5)


def test_a_kernel_is_chosen_by_the_first_number_and_left_by_the_others():
    density = networks.KernelDensity(5, 2)
    density.centres.copy_(torch.arange(10.0).reshape(5, 2))
    density.spread.copy_(torch.tensor([[0.1, 0.0], [0.2, 0.3]]))
    z = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    z[0, 0], z[1, 0] = 40.0, -40.0  # as far out as a normal number never is: still a kernel

    found = density(torch.from_numpy(z)).numpy()

    for (first, *rest), got in zip(z.astype(float), found, strict=True):
        place = min(4, int(5 * 0.5 * math.erfc(-first / math.sqrt(2))))
        wanted = [2 * place + 0.1 * rest[0], 2 * place + 1 + 0.2 * rest[0] + 0.3 * rest[1]]
        assert got == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("bandwidth", [0.3, 1.0])
def test_the_mapping_draws_from_the_density_that_the_bench_draws_from(bandwidth):
    rng = np.random.default_rng(1)
    codes = (rng.standard_normal((40, 3)) @ rng.standard_normal((3, 3)) + [1.0, -2.0, 0.5]).astype(np.float32)
    latents = fit_latents(codes, bandwidth)
    tensors = density_tensors(latents)
    is_gaussian = "weight" in tensors
    density = torch.nn.Linear(3, 3) if is_gaussian else networks.KernelDensity(40, 3)
    density.load_state_dict(tensors)
    z = torch.from_numpy(rng.standard_normal((20_000, 3 if is_gaussian else 4)).astype(np.float32))

    with torch.inference_mode():
        ours = density(z).numpy()
    theirs = np.stack([latents.draw(number, seed=5) for number in range(20_000)])

    assert is_gaussian == (bandwidth == 1.0)
    scale = codes.std(0)
    assert np.abs((ours.mean(0) - theirs.mean(0)) / scale).max() < 0.04
    assert np.abs((np.cov(ours.T) - np.cov(theirs.T)) / np.outer(scale, scale)).max() < 0.06
    # The nearest training code is near for the narrow kernels alone, and equally near for both.
    near = [np.linalg.norm((x[:500, None] - codes) / scale, axis=2).min(1).mean() for x in (ours, theirs)]
    assert near[0] == pytest.approx(near[1], rel=0.08)
