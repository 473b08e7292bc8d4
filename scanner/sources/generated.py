"""Images that a generator makes while they are read: `generated:GEN.toml?n=300&seed=1`.

Image i depends on the generator, the seed and i alone, so this source has an order of its own like any other, can be
taken up anywhere, and gives the bytes that `scanner generate` writes.  Images travel as PNG, since a source hands over
bytes: the item's id is their hash.

    n        how many images; must be named
    seed     default 0
    device   auto, cpu or cuda; changes no image by more than rounding, and no description
    trust    a package whose factories may run, as --trust
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from scanner.errors import UsageError
from scanner.records import Item, Reason, Reject
from scanner.sources.options import FILE_BYTES_MAX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scanner.generators.sample import Sampled

GENERATED: Final = "generated:"
PNG_LEVEL: Final = 1
"""Level 6 takes longer than a small generator does, for a tenth of the bytes; benchmarks/results/bench_generate.md."""
KEYS: Final = ("n", "seed", "device", "trust")
NOT_FINITE: Final = "the generator put out NaN or infinities"


@dataclass(frozen=True, slots=True)
class GeneratedSpec:
    """The parts of `generated:GEN.toml?n=300&seed=1`."""

    path: str
    count: int
    seed: int = 0
    device: str = "auto"
    trusted: tuple[str, ...] = ()


def parse_spec(spec: str) -> GeneratedSpec:
    """Return the parts of a spec.

    Raises:
        UsageError: a part that is missing, unknown, given twice or no number.
    """
    path, _, query = spec.removeprefix(GENERATED).partition("?")
    example = "Write it as generated:GEN.toml?n=300&seed=1; in a shell, in quotes."
    if not path:
        raise UsageError(f"{spec!r} names no generator. {example}")
    found: dict[str, str] = {}
    trusted: list[str] = []
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(KEYS)}."
            raise UsageError(f"{spec!r}: there is no {key!r}. {hint}")
        if key == "trust":
            trusted.append(value)
        elif key in found:
            raise UsageError(f"{spec!r} gives {key} twice. {example}")
        else:
            found[key] = value
    if "n" not in found:
        raise UsageError(f"{spec!r} does not say how many images. {example}")
    numbers = {}
    for key, lowest in (("n", 1), ("seed", 0)):
        text = found.get(key, "0")
        if not (text.isascii() and text.isdigit()) or int(text) < lowest:
            raise UsageError(f"{spec!r}: {key} = {text!r} is no whole number from {lowest} on. {example}")
        numbers[key] = int(text)
    return GeneratedSpec(path, numbers["n"], numbers["seed"], found.get("device", "auto"), tuple(trusted))


class GeneratedSource:
    """The first `n` images of a generator and a seed."""

    def __init__(self, spec: str, *, bytes_max: int = FILE_BYTES_MAX) -> None:
        """Open the generator and try it out.

        Raises:
            UsageError: the spec is wrong.
            ModelError: the generator is missing, broken or none; see `scanner.generators`.
        """
        # Importing torch takes seconds.
        from scanner.generators.description import open_generator

        self._spec = parse_spec(spec)
        self._bytes_max = bytes_max
        self.generator = open_generator(self._spec.path, device=self._spec.device, trusted=self._spec.trusted)
        self.uri = f"{GENERATED}{self._spec.path}?n={self._spec.count}&seed={self._spec.seed}"

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, entries, seed and the generator's fingerprint; not the device."""
        return {
            "kind": "generated",
            "uri": self.uri,
            "entries": self._spec.count,
            "seed": self._spec.seed,
            "fingerprint": self.generator.fingerprint,
        }

    def count(self) -> int:
        """Return n."""
        return self._spec.count

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Make and yield the images from number `skip` on; one with NaN or infinities is a reject."""
        from scanner.generators.sample import sample_blocks

        spec = self._spec
        left = max(spec.count - skip, 0)
        for block in sample_blocks(self.generator, seed=spec.seed, first=skip, count=left):
            yield from self._entries(block)

    def _entries(self, block: Sampled) -> Iterator[Item | Reject]:
        for row, pixels in enumerate(block.images_rgb_u8):
            uri = image_uri(self.generator.name, self._spec.seed, block.first + row)
            if not block.finite[row]:
                yield Reject(uri, Reason.NOT_FINITE, NOT_FINITE)
                continue
            data = encode_image(pixels)
            if len(data) > self._bytes_max:
                detail = f"{len(data)} bytes, at most {self._bytes_max} are read"
                yield Reject(uri, Reason.TOO_LARGE_FILE, detail)
            else:
                yield Item(uri, data)


def image_uri(name: str, seed: int, number: int) -> str:
    """Return what image `number` is called."""
    return f"{GENERATED}{name}?seed={seed}#{number:06d}"


def encode_image(pixels_rgb_u8: NDArray[np.uint8]) -> bytes:
    """Return a generated image as the bytes that it travels as."""
    from scanner.images import encode_png  # Pillow, which opening a source must not need

    return encode_png(pixels_rgb_u8, level=PNG_LEVEL)
