"""Samples of a generator as bytes: image i is the same whoever asks, for how many, from where on and in which pieces.

Images are made in blocks that never change: block b holds the images from b * block_images on, with their own
latents, also those that nobody asked for.  So image i always stands at the same place of the same batch, and its
bytes cannot depend on what was asked for.  Only where memory does not suffice, a block is made in smaller pieces:
then an image differs by as much as the arithmetic of another batch size does, at most 1 of 255 in a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from scanner.errors import ModelError
from scanner.generators.generator import Generator
from scanner.generators.latents import Latents

BLOCK_IMAGES: Final = 64
BLOCK_PIXELS: Final = 64 * 128 * 128
"""Larger images come in smaller blocks: the size of the block follows from the generator alone."""
_NO_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Neighbouring images.

    Attributes:
        first: number of the first one.
        images_rgb_u8: (n, h, w, 3) uint8, RGB.
        labels: (n,) int64, or None for a generator without classes.
        finite: (n,) bool: False where the network put out NaN or an infinity; such an image has no meaning.
    """

    first: int
    images_rgb_u8: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    finite: NDArray[np.bool_]


def block_images(generator: Generator) -> int:
    """Return how many images a block holds: a function of the size of its images alone."""
    height, width = generator.shape_px
    return max(1, min(BLOCK_IMAGES, BLOCK_PIXELS // (height * width)))


def sample_blocks(
    generator: Generator, *, seed: int, first: int, count: int, note: Callable[[str], None] = lambda _: None
) -> Iterator[Sampled]:
    """Yield the images `first` to `first + count - 1`, block by block.

    Args:
        generator: see `scanner.generators.open`.
        seed: with an image's number it gives the image.
        first: number of the first image.
        count: how many.
        note: told when memory did not suffice and pieces got smaller.

    Raises:
        ModelError: not even one image fits into memory.
    """
    size = block_images(generator)
    piece = size
    for block in range(first // size, -(-(first + count) // size) if count else 0):
        latents = generator.law.draw(seed, block * size, size)
        images, piece = _made(generator, latents, piece, note)
        start, end = max(first - block * size, 0), min(first + count - block * size, size)
        finite = np.isfinite(images.reshape(size, -1).sum(axis=1, dtype=np.float64))
        wanted = np.nan_to_num(np.clip(images[start:end], 0.0, 1.0), nan=0.0)
        labels = None if latents.labels is None else latents.labels[start:end]
        yield Sampled(block * size + start, to_u8(wanted), labels, finite[start:end])


def sample(generator: Generator, *, seed: int, first: int, count: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield runs of good images: the number of the first one, and (n, h, w, 3) uint8 RGB.

    A number within first..first+count-1 that no run holds made an image with NaN or infinite pixels.
    """
    for block in sample_blocks(generator, seed=seed, first=first, count=count):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], block.finite, [False]]).astype(np.int8)))
        for start, end in edges.reshape(-1, 2).tolist():
            yield block.first + start, block.images_rgb_u8[start:end]


def to_u8(images01: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (n, 3, h, w) images01 as (n, h, w, 3) uint8, each value rounded to the nearest."""
    return np.ascontiguousarray(np.rint(images01 * np.float32(255.0)).astype(np.uint8).transpose(0, 2, 3, 1))


def _made(
    generator: Generator, latents: Latents, piece: int, note: Callable[[str], None]
) -> tuple[NDArray[np.float32], int]:
    """Return images01 of a block, and the size of the pieces that fitted into memory."""
    values = torch.from_numpy(latents.values)
    labels = None if latents.labels is None else torch.from_numpy(latents.labels)
    done: list[NDArray[np.float32]] = []
    at = 0
    while at < len(values):
        part = slice(at, at + piece)
        try:
            with torch.inference_mode(), exact_arithmetic():
                images = generator.images(values[part], None if labels is None else labels[part], clip=False)
                done.append(images.to("cpu", torch.float32).numpy())
            at += piece
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            piece = _smaller(generator, piece)
            note(f"{generator.name} ran out of memory on {generator.device}; it goes on with {piece} images at a time")
            if generator.device.type == "cuda":
                torch.cuda.empty_cache()
    return np.concatenate(done), piece


def _smaller(generator: Generator, piece: int) -> int:
    if piece == 1:
        raise ModelError(
            f"Not even one image of {generator.name} ({generator.shape_px[0]} x {generator.shape_px[1]} pixels) fits into the "
            f"memory of {generator.device}. Free some of it, or run on another device (--device)."
        )
    return piece // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory did not suffice, on any device."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in _NO_MEMORY)


def exact_arithmetic() -> AbstractContextManager[None]:
    """Let CUDA choose neither faster, coarser numbers nor a kernel by stopwatch; the CPU is not concerned."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags
