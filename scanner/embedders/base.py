"""What an embedder is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Crops in, unit vectors out.  Thread-safe.

    Two vectors may be compared when their embedders' fingerprints are equal, and only then.
    """

    name: str
    """What the user named, e.g. `onnx:face.onnx`."""
    fingerprint: str
    """16 hex digits: hash of the weights and of everything done to a crop before them."""
    dim: int
    crop_size_px: tuple[int, int]
    """Width and height of the crops that `embed` takes."""

    def embed(self, crops_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops.

        Args:
            crops_rgb_u8: (n, height, width, 3) uint8 RGB, of `crop_size_px`.

        Returns:
            (n, dim) float32 in input order, unit L2 norm.  A row that the network could not embed (not
            finite, or all zero) is NaN throughout: the caller rejects it by name.  A row does not depend
            on the other rows of its batch.
        """
        ...

    def describe(self) -> dict[str, object]:
        """Return what a reader of an artefact must know: name, fingerprint, sha256, licence, preprocessing, device."""
        ...


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale rows to unit length; rows that are zero or not finite become NaN.

    Args:
        vectors: (n, d) of any float type.

    Returns:
        (n, d) float32, C-contiguous.
    """
    wide = np.asarray(vectors, np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        norms = np.sqrt((wide**2).sum(1, keepdims=True))
        scaled = wide / norms
    scaled[~np.isfinite(scaled).all(1)] = np.nan
    return np.ascontiguousarray(scaled, np.float32)
