"""The small JSON beside an ONNX file that says how pixels become its input.

`face.onnx` is described by `face.json`.  Without one, ArcFace's conventions hold, and the user is told so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from scanner.documents import read_text
from scanner.errors import ModelError

Triple = tuple[float, float, float]


class Sidecar(BaseModel):
    """How to feed a network and what to read from it.

    A pixel `p` of channel `c` (in `channel_order`) becomes `(p - mean[c]) * scale`, with p in 0..255.

    Attributes:
        sha256: hex digest of the ONNX file; checked when given.
        licence: as its authors state it; copied into every artefact.
        input_size: width, height; None takes the graph's own.
        output: name of an output or of any inner tensor; None takes the only output.
        pooling: for a tensor with spatial axes: "mean" or "max" over them; None flattens.
        dim: length of the embedding; checked when given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    licence: str = "not stated"
    input_size: tuple[PositiveInt, PositiveInt] | None = None
    channel_order: Literal["RGB", "BGR"] = "RGB"
    mean: Triple = (127.5, 127.5, 127.5)
    scale: float | Triple = 1.0 / 127.5
    output: str | None = None
    pooling: Literal["mean", "max"] | None = None
    dim: int | None = Field(default=None, ge=1)

    @field_validator("scale")
    @classmethod
    def _no_zero(cls, scale: float | Triple) -> float | Triple:
        if 0.0 in (scale if isinstance(scale, tuple) else (scale,)):
            raise ValueError("a scale of 0 blinds the network: every picture would get the same vector")
        return scale


def read_sidecar(model_path: Path) -> tuple[Sidecar, bool]:
    """Return the description of `model_path` and whether there was one.

    Raises:
        ModelError: the JSON is there and wrong; every problem is listed with its key.
    """
    path = model_path.with_suffix(".json")
    if not path.exists():
        return Sidecar(), False
    try:
        return Sidecar.model_validate(json.loads(read_text(path))), True
    except (OSError, ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise ModelError(f"{path} is no readable JSON: {error}.") from error
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(Sidecar.model_fields)
        raise ModelError(f"{path} does not describe a network: {problems}. Known keys: {known}.") from error
