"""GEN.toml (or the same as JSON): what a generator is, in a few lines; read whole, with every problem at once.

    [generator]
    weights = "decoder.pt2"       # .pt2, TorchScript, .onnx, or .safetensors with factory = "package.module:function"

    [latent]
    size = 10

    [output]
    range = [0.0, 1.0]

Paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from scanner.documents import Section, read_document
from scanner.errors import ModelError, UsageError
from scanner.generators.generator import ChannelOrder, Generator, Labels, Layout
from scanner.generators.latents import LatentLaw, Law
from scanner.generators.open import make_generator, sha256_of

SUFFIXES = (".pt2", ".pt", ".ts", ".onnx", ".safetensors")
"""Of weights: where a user names these in place of the description."""
DESCRIBED_IN = "docs/rewinding.md, Generators"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class GeneratorSection(Section):
    """`[generator]`.

    Attributes:
        weights: the network; its suffix says which kind.
        factory: for .safetensors: `package.module:function` that makes the module.
        name: what results call it; left out, the weights' name up to its first dot.
        sha256: of the weights; checked when given.
        mapping: a network z to w, where the weights take w.
        mapping_factory: as `factory`, for a mapping in .safetensors.
    """

    weights: str = Field(min_length=1)
    factory: str | None = None
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    sha256: Sha256 | None = None
    mapping: str | None = Field(default=None, min_length=1)
    mapping_factory: str | None = None


class LatentSection(Section):
    """`[latent]`: see `LatentLaw` for size, law, truncation and classes, `Conventions` for shape and labels."""

    size: PositiveInt
    law: Law = "normal"
    truncation: float | None = Field(default=None, gt=0)
    classes: PositiveInt | None = None
    labels: Labels = "index"
    shape: tuple[PositiveInt, ...] | None = Field(default=None, min_length=1, max_length=4)

    @model_validator(mode="after")
    def _fits(self) -> LatentSection:
        try:
            self.to_law()
        except UsageError as error:
            raise ValueError(str(error)) from None
        return self

    def to_law(self) -> LatentLaw:
        """Return it as the sampler wants it."""
        return LatentLaw(self.size, self.law, self.truncation, self.classes)


class OutputSection(Section):
    """`[output]`: see `Conventions`."""

    range: tuple[float, float] = (0.0, 1.0)
    layout: Layout = "NCHW"
    channel_order: ChannelOrder = "RGB"

    @model_validator(mode="after")
    def _rises(self) -> OutputSection:
        if not self.range[0] < self.range[1]:
            raise ValueError("range does not rise: write the value of black first, that of white second")
        return self


class GeneratorDescription(Section):
    """The whole file."""

    generator: GeneratorSection
    latent: LatentSection
    output: OutputSection = OutputSection()


def read_generator(path: str | Path) -> GeneratorDescription:
    """Read a description.

    Raises:
        ModelError: not there, neither TOML nor JSON, or wrong; every problem is listed with its key.
    """
    path = Path(path)
    if path.suffix.lower() in SUFFIXES:
        raise ModelError(
            f"{path} is a network, and nothing says what its latents are. Describe it in a GEN.toml ({DESCRIBED_IN}): "
            f'[generator] weights = "{path.name}", [latent] size = ..., and name that file.'
        )
    return read_document(path, GeneratorDescription, error=ModelError, described_in=DESCRIBED_IN)


def open_generator(path: str | Path, *, device: str = "auto", trusted: Sequence[str] = ()) -> Generator:
    """Read a description, load what it describes and try it out.

    Args:
        path: GEN.toml, or the same as JSON.
        device: "auto", "cpu" or "cuda".
        trusted: packages besides `scanner` whose factories may run.

    Raises:
        ModelError: see `read_generator` and `make_generator`.
    """
    path = Path(path)
    described = read_generator(path)
    chosen = described.generator
    weights = path.parent / Path(chosen.weights).expanduser()
    found = sha256_of(weights)
    if chosen.sha256 is not None and chosen.sha256 != found:
        raise ModelError(
            f"{weights} has SHA-256 {found}, {path} says {chosen.sha256}: other weights than were described. Fetch them "
            "again, or mend sha256 if you changed them yourself."
        )
    return make_generator(
        name=chosen.name or weights.name.partition(".")[0],
        weights=weights,
        law=described.latent.to_law(),
        factory=chosen.factory,
        trusted=trusted,
        output_range=described.output.range,
        layout=described.output.layout,
        channel_order=described.output.channel_order,
        latent_shape=described.latent.shape,
        labels=described.latent.labels,
        mapping=None if chosen.mapping is None else path.parent / Path(chosen.mapping).expanduser(),
        mapping_factory=chosen.mapping_factory,
        device=device,
        where=str(path),
    )
