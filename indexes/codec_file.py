"""A codec on disk: `codec.safetensors` for its axes, `codec.json` for how it was fitted."""

import json
from pathlib import Path

import numpy as np

from indexes.atomic import atomic_path, encode_json
from indexes.codec import Codec
from indexes.errors import FormatError
from indexes.sealed import create, open_file
from indexes.vectors import MATRIX_NDIM

TENSORS_NAME = "codec.safetensors"
JSON_NAME = "codec.json"


def encode_codec(codec: Codec) -> dict[str, bytes]:
    """Return the contents of the codec's two files by name; equal codecs give equal bytes."""
    from safetensors.numpy import save

    return {
        TENSORS_NAME: save({"axes": codec.axes}),
        JSON_NAME: encode_json({"kept": codec.kept, "seed": codec.seed}),
    }


def write_codec(folder: Path, codec: Codec) -> None:
    """Write the codec's two files, each completely or not at all."""
    for name, content in encode_codec(codec).items():
        with atomic_path(folder / name) as temporary, create(temporary) as file:
            file.write(content)


def read_codec(folder: Path, *, dim: int) -> Codec:
    """Read a codec; raise FormatError where a file is missing, broken or of another dimension."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if not all((folder / name).is_file() for name in (TENSORS_NAME, JSON_NAME)):
            raise FileNotFoundError
        axes = load(_content(folder / TENSORS_NAME))["axes"]
        described = json.loads(_content(folder / JSON_NAME))
        kept, seed = int(described["kept"]), int(described["seed"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise FormatError(
            f"the codec in '{folder}' cannot be read ({type(problem).__name__}). "
            "Restore it from a copy, or build the index again."
        ) from problem
    if axes.dtype != np.float32 or axes.ndim != MATRIX_NDIM or axes.shape[0] != dim or not np.isfinite(axes).all():
        raise FormatError(
            f"the codec in '{folder}' has axes {axes.shape}, which do not fit vectors of {dim} components. "
            "Restore it from a copy."
        )
    return Codec(axes, kept, seed)


def _content(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()
