"""A codec on disk: `codec.safetensors` for its arrays, `codec.json` for what was measured."""

import json
from pathlib import Path

import numpy as np

from indexes.atomic import encode_json
from indexes.codec import Codec, CodecError
from indexes.errors import FormatError
from indexes.vectors import MATRIX_NDIM

TENSORS_NAME = "codec.safetensors"
JSON_NAME = "codec.json"


def encode_codec(codec: Codec) -> dict[str, bytes]:
    """Return the contents of the codec's two files by name; equal codecs give equal bytes."""
    from safetensors.numpy import save

    described = {
        "kept": codec.kept,
        "seed": codec.seed,
        "faiss_version": codec.faiss_version,
        "error": codec.error.as_json(),
    }
    tensors = {"axes": codec.axes, "centroids": codec.centroids}
    return {TENSORS_NAME: save(tensors), JSON_NAME: encode_json(described)}


def read_codec(folder: Path, *, dim: int) -> Codec:
    """Read a codec; raise FormatError where a file is missing, broken or of another dimension."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / TENSORS_NAME)
        described = json.loads((folder / JSON_NAME).read_bytes())
        axes, centroids = tensors["axes"], tensors["centroids"]
        error = CodecError.from_json(described["error"])
        kept, seed = int(described["kept"]), int(described["seed"])
        faiss_version = str(described["faiss_version"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise FormatError(
            f"the codec in '{folder}' cannot be read ({type(problem).__name__}). "
            "Restore it from a copy, or build the index again."
        ) from problem
    m = axes.shape[1] // 2 if axes.ndim == MATRIX_NDIM else 0
    if axes.dtype != np.float32 or axes.shape != (dim, 2 * m) or centroids.shape != (m, 16, 2):
        raise FormatError(
            f"the codec in '{folder}' has axes {axes.shape} and centroids {centroids.shape}, "
            f"which do not fit vectors of {dim} components. Restore it from a copy."
        )
    return Codec(axes, centroids, error, kept, seed, faiss_version)
