"""Images of a generator as PNG: made here, or in pieces by workers; the same bytes either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scanner.jobs.generating.generated_shards import Made
from scanner.jobs.workers import Workers, check_same
from scanner.progress import Progress
from scanner.sources.generated import encode_image

if TYPE_CHECKING:
    from scanner.generators import Generator
    from scanner.generators.sample import Sampled

PIECE_BLOCKS: Final = 4
"""Blocks of the generator that are one worker's piece: at most four million pixels, some megabytes as PNG."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring images: the number of the first one, and how many."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class MakeImages:
    """Makes pieces of a generator's images; see `workers.Work`.

    `seen_here` is what the machine that asks knows of the generator: its facts and its device.
    """

    generator: str
    seed: int
    device: str
    trusted: tuple[str, ...]
    seen_here: dict[str, Any]
    threads: int = 1
    needs_gpu: bool = False

    def name(self, piece: Piece) -> str:
        """See `Work`."""
        return f"The piece of images {piece.first} to {piece.first + piece.count - 1} of {self.generator}"

    def open(self) -> Callable[[Piece], tuple[list[Made], list[str]]]:
        """See `Work`; the work returns the images of a piece and what the user should be told."""
        from scanner.generators.description import open_generator
        from scanner.generators.sample import sample_blocks

        opened = open_generator(self.generator, device=self.device, trusted=self.trusted)
        check_same(f"the generator {self.generator}", self.seen_here, _facts(opened))

        def make(piece: Piece) -> tuple[list[Made], list[str]]:
            notes: list[str] = []
            blocks = sample_blocks(opened, seed=self.seed, first=piece.first, count=piece.count, note=notes.append)
            return [one for block in blocks for one in _made(block)], notes

        return make


def images_by(
    workers: Workers | None,
    generator: str | Path,
    opened: Generator,
    seed: int,
    progress: Progress,
    *,
    device: str,
    trusted: Sequence[str],
) -> Callable[[int, int], Iterator[Made]]:
    """Return what yields images, given the number of the first one and how many; workers open `generator` themselves."""
    from scanner.generators.sample import block_images

    if workers is None:
        return partial(images_here, opened, seed, progress)
    work = MakeImages(
        str(generator), seed, device, tuple(trusted), _facts(opened), needs_gpu=opened.device.type == "cuda"
    )
    return partial(_images_elsewhere, workers, work, PIECE_BLOCKS * block_images(opened), progress)


def images_here(opened: Generator, seed: int, progress: Progress, first: int, count: int) -> Iterator[Made]:
    """Yield `count` images from number `first` on, made in this process."""
    from scanner.generators.sample import sample_blocks

    for block in sample_blocks(opened, seed=seed, first=first, count=count, note=progress.note):
        yield from _made(block)
        progress.advance(len(block.images_rgb_u8))


def _images_elsewhere(
    workers: Workers, work: MakeImages, piece_images: int, progress: Progress, first: int, count: int
) -> Iterator[Made]:
    for made, notes in workers.map(work, _pieces(first, count, piece_images)):
        for note in notes:
            progress.note(note)
        yield from made
        progress.advance(len(made))


def _pieces(first: int, count: int, size: int) -> Iterator[Piece]:
    """Cut a run of images at the multiples of `size`, where blocks begin."""
    end = first + count
    while first < end:
        upto = min(end, first - first % size + size)
        yield Piece(first, upto - first)
        first = upto


def _made(block: Sampled) -> Iterator[Made]:
    for row, pixels in enumerate(block.images_rgb_u8):
        label = None if block.labels is None else int(block.labels[row])
        yield Made(block.first + row, encode_image(pixels) if block.finite[row] else None, label)


def _facts(opened: Generator) -> dict[str, Any]:
    return {**opened.facts, "device": opened.device.type}
