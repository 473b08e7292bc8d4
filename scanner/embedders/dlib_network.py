"""dlib's recogniser: real faces with pip and no other download.

128 numbers a face, about ten faces a second: a fall-back and a second opinion, not the engine.  dlib's own rule
of thumb ("0.6") is on another scale; here scores are cosines and the threshold comes from a calibration.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.dlib_files import load_dlib, weights
from scanner.embedders.base import unit_rows

SIDE_PX = 150
DIM = 128


class DlibEmbedder:
    """dlib_face_recognition_resnet_model_v1 on dlib's 150×150 face chips.  Thread-safe."""

    name = "dlib"
    dim = DIM
    crop_size_px = (SIDE_PX, SIDE_PX)

    def __init__(self) -> None:
        """Load the weights; raises ModelError when the extra is missing."""
        self._dlib = load_dlib()
        self._path = weights("dlib_face_recognition_resnet_model_v1.dat")
        self._sha256 = hashlib.sha256(self._path.read_bytes()).hexdigest()
        self._threads = threading.local()
        self.fingerprint = hashlib.sha256(f"dlib:{self._sha256}:{SIDE_PX}".encode()).hexdigest()[:16]

    def embed(self, crops_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        if len(crops_rgb_u8) == 0:
            return np.empty((0, DIM), np.float32)
        network = self._network()
        rows = [network.compute_face_descriptor(np.ascontiguousarray(crop)) for crop in crops_rgb_u8]
        return unit_rows(np.array(rows, np.float64))

    def describe(self) -> dict[str, object]:
        """See `Embedder.describe`."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "sha256": self._sha256,
            "licence": "CC0-1.0",
            "dim": DIM,
            "input_size": list(self.crop_size_px),
            "device": "cpu",
            "device_reason": "dlib's wheel has no GPU code",
        }

    def _network(self) -> Any:
        """Return this thread's network: dlib's objects keep scratch memory and are not thread-safe."""
        if not hasattr(self._threads, "network"):
            self._threads.network = self._dlib.face_recognition_model_v1(str(self._path))
        return self._threads.network
