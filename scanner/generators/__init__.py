"""Generators: latents in, images out; image i depends on the seed and on i alone.

generator = open_generator(Path("gen.toml"), device="auto")       # from scanner.generators.description
for number, images_rgb_u8 in sample(generator, seed=1, first=0, count=300): ...

latents      which latent belongs to image i: a law, a seed, a number
generator    the network with its conventions folded in: latents (n, size) -> images01 (n, 3, h, w), differentiable
probe        what is asked of a network before any long work
open         weights on disk -> Generator
sample       uint8 images in fixed blocks
description  GEN.toml (the one module here that needs pydantic, and so is not imported from here)
"""

from __future__ import annotations

from scanner.generators.generator import Generator
from scanner.generators.latents import LatentLaw, Latents
from scanner.generators.open import make_generator
from scanner.generators.sample import sample, sample_blocks

__all__ = ["Generator", "LatentLaw", "Latents", "make_generator", "sample", "sample_blocks"]
