"""dlib's own detector and alignment, for dlib's own recogniser."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner.dlib_files import load_dlib, weights
from scanner.faces.base import Found
from scanner.faces.quality import Gates, sharpness
from scanner.records import Face, Picture, Quality, Reason, Reject

CHIP_SIDE_PX = 150
_PADDING = 0.25
_ALIGNED_BOX = (0.06, 0.18, 0.94, 0.98)
"""Where dlib's detector would put its box in an ArcFace-aligned crop, as shares of the side."""


@dataclass(frozen=True, slots=True)
class DlibFaces:
    """HOG detector (Dalal & Triggs 2005), 5-point predictor and dlib's face chips of 150×150.

    With `aligned`, pictures are ArcFace-aligned crops already and nothing is detected.
    """

    gates: Gates
    all_faces: bool = False
    aligned: bool = False
    name: str = "dlib"
    _networks: threading.local = field(default_factory=threading.local)

    @property
    def fingerprint(self) -> str:
        """The weights come with the package, so the settings say all."""
        return f"dlib-hog-{'aligned' if self.aligned else 'all' if self.all_faces else 'largest'}-{CHIP_SIDE_PX}"

    def find(self, picture: Picture) -> Found:
        """Return the chips of `picture`, largest face first."""
        pixels = picture.pixels_rgb_u8
        boxes = self._boxes(pixels)
        if not boxes:
            height, width = pixels.shape[:2]
            return Found(rejects=(_reject(picture, Reason.NO_FACE, f"no face seen in {width}x{height} pixels"),))
        faces: list[Face] = []
        rejects: list[Reject] = []
        for box, score in boxes if self.all_faces else boxes[:1]:
            crop = self._chip(pixels, box)
            quality = Quality(score, min(box[2] - box[0], box[3] - box[1]), sharpness(crop))
            refused = self.gates.refuse(quality)
            if refused is not None:
                rejects.append(_reject(picture, *refused))
                continue
            faces.append(Face(picture.item_id, picture.uri, picture.identity, len(faces), crop, box, quality))
        return Found(tuple(faces), tuple(rejects))

    def _boxes(self, pixels: NDArray[np.uint8]) -> list[tuple[tuple[float, float, float, float], float]]:
        height, width = pixels.shape[:2]
        if self.aligned:
            x0, y0, x1, y1 = _ALIGNED_BOX
            return [((x0 * width, y0 * height, x1 * width, y1 * height), 1.0)]
        # The detector sees no face under 80 pixels, and its time grows with the area: look at about 600.
        scale = min(2.0, 600.0 / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        found, scores, _ = self._dlib()["detector"].run(small, 0, 0.0)
        boxes = [
            (
                (
                    max(0.0, r.left() / scale), max(0.0, r.top() / scale),
                    min(float(width), r.right() / scale), min(float(height), r.bottom() / scale),
                ),
                # dlib's score is a margin, open above; the logistic brings it to [0, 1] and keeps its order.
                float(1.0 / (1.0 + np.exp(-s))),
            )
            for r, s in zip(found, scores, strict=True)
        ]  # fmt: skip
        return sorted(boxes, key=lambda b: -(b[0][2] - b[0][0]) * (b[0][3] - b[0][1]))

    def _chip(self, pixels: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
        tools = self._dlib()
        rectangle = tools["rectangle"](*(round(v) for v in box))
        contiguous = np.ascontiguousarray(pixels)
        shape = tools["landmarks"](contiguous, rectangle)
        return np.asarray(tools["chip"](contiguous, shape, size=CHIP_SIDE_PX, padding=_PADDING), np.uint8)

    def _dlib(self) -> dict[str, Any]:
        """Return this thread's networks: dlib's objects keep scratch memory and are not thread-safe."""
        tools: dict[str, Any] | None = getattr(self._networks, "tools", None)
        if tools is None:
            dlib = load_dlib()
            tools = {
                "detector": dlib.get_frontal_face_detector(),
                "landmarks": dlib.shape_predictor(str(weights("shape_predictor_5_face_landmarks.dat"))),
                "chip": dlib.get_face_chip,
                "rectangle": dlib.rectangle,
            }
            self._networks.tools = tools
        return tools


def _reject(picture: Picture, reason: Reason, detail: str) -> Reject:
    return Reject(picture.uri, reason, detail, picture.item_id, picture.identity)
