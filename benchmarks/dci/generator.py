"""A generator run backwards, image to latent: block by block (DCI), by an encoder, by an optimiser; on its own samples.

Everything is trained on the generator's own samples; the latents that are looked for come from another seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from benchmarks.dci.runs import Clock
from scanner.generators.generator import Conventions, Generator, ToImages
from scanner.generators.latents import LatentLaw
from scanner.inversion.encoder import EncoderPlan, train_encoder
from scanner.inversion.features.stack import Inverse
from scanner.inversion.features.store import load_inverse, read_manifest, save_inverse
from scanner.inversion.features.stream import LatentStream
from scanner.inversion.features.train import DciPlan, train_inverse
from scanner.inversion.latent import LatentPlan, invert_latents
from scanner.networks.from_export import module_from_export
from scanner.networks.network import make_network

VAE, LATENT = "vae-celeba-decoder", 10
JUDGED = 256
JUDGED_SEED = 2
SEARCH_STEPS = 150
WITHIN = 0.01


def open_vae(real: Path, device: torch.device) -> Generator:
    """Return the decoder of a VAE trained on CelebA by others: 10 normal numbers to 64x64 faces."""
    module = vae_module(real).to(device)
    clipped, free = (ToImages(module, Conventions(), clip=clip).to(device) for clip in (True, False))
    return Generator(
        name=VAE,
        fingerprint="0" * 16,
        law=LatentLaw(LATENT),
        shape_px=(64, 64),
        module=clipped,
        unclipped=free,
        synthesis=clipped,
        unclipped_synthesis=free,
        mapping=None,
        differentiable=True,
        batch_max=None,
        device=device,
        device_reason="asked",
        value_range=(0.0, 1.0),
    )


def vae_module(real: Path) -> fx.GraphModule:
    """Return the decoder as a graph from (n, 10) to images01 (n, 3, 64, 64)."""
    return module_from_export(real / "models" / f"{VAE}.pt2").requires_grad_(requires_grad=False)


def dci_of(real: Path, plan: DciPlan, *, work: Path, talk: Callable[[str], None]) -> tuple[Inverse, dict[str, Any]]:
    """Return the block-wise inverse, trained now unless `work` holds it, and what is known of its training."""
    network = make_network(VAE, vae_module(real), input_shape=(LATENT,))
    folder = work / f"{VAE}-ours"
    law = LatentLaw(LATENT)

    def draw(seed: int, first: int, count: int) -> NDArray[np.float32]:
        return law.draw(seed, first, count).values

    if not (folder / "inverse.json").exists():
        checkpoints = work / f"{folder.name}.unfinished"
        checkpoints.mkdir(parents=True, exist_ok=True)
        clock = Clock(talk)
        stream = LatentStream(draw, law.size, seed=1)
        inverse = train_inverse(network, stream, plan=plan, work=checkpoints, progress=clock)
        seconds = round(time.perf_counter() - clock.started, 1)
        weights = sum(p.numel() for p in inverse.modules.parameters())
        save_inverse(inverse, folder, plan=asdict(plan), account={"seconds": seconds, "weights": weights})
    return load_inverse(folder, network), read_manifest(folder)


def encoder_within(generator: Generator, seconds: float, talk: Callable[[str], None]) -> tuple[Any, dict[str, Any]]:
    """Return an encoder trained for about as many seconds as the block-wise inverse took."""
    probe = EncoderPlan(steps=20)
    train_encoder(generator, plan=EncoderPlan(steps=3))
    started = time.perf_counter()
    train_encoder(generator, plan=probe)
    per_step = (time.perf_counter() - started) / probe.steps
    plan = EncoderPlan(steps=max(50, round(seconds / per_step)))
    started = time.perf_counter()
    encoder = train_encoder(generator, plan=plan, progress=Clock(talk))
    return encoder, {"steps": plan.steps, "seconds": round(time.perf_counter() - started, 1)}


def figures(generator: Generator, latents: Tensor, images: Tensor, found: Tensor) -> dict[str, float]:
    """Return how far found latents (n, size) are from the true ones, and their images from the images."""
    with torch.no_grad():
        again = generator.images(found)
    relative = (again - images).flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1)
    return {
        "latent_rmse": float((found - latents).square().mean().sqrt()),
        "relative_error_median": float(relative.median()),
        "relative_error_p95": float(relative.quantile(0.95)),
        "within_1_percent": float((relative <= WITHIN).float().mean()),
    }


def compare(real: Path, plan: DciPlan, *, work: Path, talk: Callable[[str], None]) -> dict[str, Any]:
    """Return every way's figures and images a second."""
    generator = open_vae(real, torch.device("cpu"))
    inverse, manifest = dci_of(real, plan, work=work, talk=talk)
    encoder, training = encoder_within(generator, manifest["seconds"], talk)
    latents = torch.from_numpy(generator.law.draw(JUDGED_SEED, 0, JUDGED).values)
    with torch.no_grad():
        images = generator.images(latents)
    last = inverse.names[-1]

    def through_blocks(x: Tensor) -> Tensor:
        return inverse.inputs(x, last)

    searches = {
        "optimiser": (None, "L-BFGS from the nearest of 1 024 draws"),
        "encoder, then optimiser": (encoder, "L-BFGS from the encoder's guess"),
        "block by block, then optimiser": (through_blocks, "L-BFGS from the guess of the block-wise inverse"),
    }
    ways: dict[str, Any] = {}
    with torch.no_grad():
        for name, run in (("block by block (DCI)", through_blocks), ("encoder", encoder)):
            run(images[:8])
            started = time.perf_counter()
            found = torch.cat([run(part) for part in images.split(64)])
            speed = JUDGED / (time.perf_counter() - started)
            ways[name] = {"images_per_s": speed, **figures(generator, latents, images, found)}
            talk(f"{name}: {ways[name]}")
    for name, (start, _) in searches.items():
        search = LatentPlan(restarts=1, steps_max=SEARCH_STEPS, feature=0.0, identity=0.0, tolerance=0.001)
        started = time.perf_counter()
        results = list(invert_latents(generator, iter(images), plan=search, encoder=start))
        speed = JUDGED / (time.perf_counter() - started)
        found = torch.stack([result.latent for result in results])
        steps = float(np.mean([result.steps for result in results]))
        ways[name] = {"images_per_s": speed, "steps": steps, **figures(generator, latents, images, found)}
        talk(f"{name}: {ways[name]}")
    return {
        "generator": generator.name,
        "images": JUDGED,
        "blocks": [block.name for block in inverse.blocks],
        "training": {"dci": {"seconds": manifest["seconds"], **manifest["plan"]}, "encoder": training},
        "ways": ways,
        "words": {name: words for name, (_, words) in searches.items()},
    }
