"""What a latent inversion would cost, from a moment of its own steps: before the long work, not after."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.options import SourceOptions
from scanner.quantities import time_words


@dataclass(frozen=True, slots=True)
class InversionEstimate:
    """Predicted cost.

    `images` is None where the source does not know its number cheaply; then so is `most_s`: the seconds if every
    restart of every image takes all its steps.
    """

    images: int | None
    slots: int
    image_steps_per_s: float
    steps_each_max: int
    most_s: float | None
    device: str

    def sentence(self) -> str:
        """Return the estimate for people."""
        number = "an unknown number of" if self.images is None else str(self.images)
        most = "not known" if self.most_s is None else f"at most {time_words(self.most_s)}"
        return (
            f"{number} images, {self.slots} at once on {self.device}: {self.image_steps_per_s:.0f} image steps/s\n"
            f"at most {self.steps_each_max} steps an image (restarts times steps; most images need far fewer): {most}\n"
            "measured for a moment just now, so good to a factor of about two"
        )


def estimate(
    generator: str | Path, images: Sequence[str], *, options: InvertOptions, sources: SourceOptions | None = None
) -> InversionEstimate:
    """Open everything, measure the rate of steps, and predict; nothing is written.

    Raises:
        UsageError, ModelError, SourceError: as `invert_latent` would.
    """
    from scanner.jobs.inverting.tools import open_tools

    with tempfile.TemporaryDirectory() as folder:
        tools = open_tools(generator, options, work=Path(folder))
        source = (sources or SourceOptions()).open(images)
        slots = options.slots or tools.find_slots(options)
        rate = tools.image_steps_per_s(options, slots)
    count, each = source.count(), options.restarts * options.steps_max
    return InversionEstimate(
        images=count,
        slots=slots,
        image_steps_per_s=rate,
        steps_each_max=each,
        most_s=None if count is None else count * each / rate,
        device=str(tools.generator.device),
    )
