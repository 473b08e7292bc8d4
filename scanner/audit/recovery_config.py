"""`[recovery]` of AUDIT.toml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from scanner.documents import Section


class RecoverySection(Section):
    """`[recovery]`: run generators backwards, and compare what is left of members' and of non-members' photos.

    The photos are the generator's `training` where it is given, else members' photos; against those of non-members.

    Attributes:
        images_max: photos of each side.
        restarts: starting points of each photo.
        steps: of the optimiser for each start, at most.
        space: where latents are searched: "z", or "w" and "w+" for a generator with a mapping.
        encoder: train a network that guesses the first starting point, on the generator's own samples.
        centre: share of the largest centred box of the generator's aspect that is taken of every picture: photos must
            be framed like the generator's.
        scan: embed what was re-created, and ask whether it shows the person.
        seed: draws photos and starting points.
    """

    images_max: int = Field(default=200, ge=10)
    restarts: int = Field(default=4, ge=1, le=1024)
    steps: PositiveInt = 300
    space: Literal["z", "w", "w+"] = "z"
    encoder: bool = False
    centre: float = Field(default=1.0, gt=0.0, le=1.0)
    scan: bool = False
    seed: int = Field(default=0, ge=0)
