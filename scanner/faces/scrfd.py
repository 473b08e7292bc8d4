"""SCRFD (Guo et al. 2021): pictures in, boxes and five landmarks out.

Published files are fixed to 640×640, so a 250-pixel picture costs six times what it needs.  The graph has no other
fixed size, so its input is freed here, and every picture is looked at in a canvas of its own shape.  Boxes and
landmarks are worked out where a face is seen, not at all places of the canvas as insightface does it, which takes a
quarter of the time of a small picture; the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner.errors import ModelError
from scanner.sessions import Device, ModelFile, open_session

_LEVELS = {9: ((8, 16, 32), 2), 15: ((8, 16, 32, 64, 128), 1)}
"""Strides of the feature maps, and anchors at each place, by the number of outputs of a network with landmarks."""
_WIDTHS = (1, 4, 10)
"""Numbers of an anchor: score, sides of the box from the anchor, five landmarks from it."""
_GREY, _SPREAD = 127.5, 128.0
_OVERLAP_MAX = 0.4
"""Of two boxes that overlap by more (intersection over union) the less certain one is the same face."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What was seen in one picture, best score first.

    `boxes_px` (n, 4) float32 x0 y0 x1 y1, `landmarks_px` (n, 5, 2) float32, `scores` (n,) in [0, 1], all in the
    picture's own pixels.
    """

    boxes_px: NDArray[np.float32]
    landmarks_px: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


class Scrfd:
    """A detector for any SCRFD file with landmarks.  Thread-safe."""

    def __init__(self, model: ModelFile, device: Device, *, threads: int = 1) -> None:
        """Open `model`; raises ModelError if it is no SCRFD network with landmarks."""
        self._session: Any = open_session(_freed(model), device, threads=threads, what=str(model.path))
        outputs = len(self._session.get_outputs())
        if outputs not in _LEVELS:
            raise ModelError(
                f"{model.path} has {outputs} output{'s' if outputs != 1 else ''}; an SCRFD detector with five landmarks "
                "has 9 or 15. "
                "Without landmarks faces cannot be aligned: take the variant whose name has 'kps' or 'bnkps'."
            )
        self._strides, self._anchors = _LEVELS[outputs]
        self._input = self._session.get_inputs()[0].name
        self.sha256 = model.sha256
        probe = np.zeros((64, 64, 3), np.uint8)
        try:
            self.look(probe, canvas_px=64, score_min=0.5)
        except Exception as error:  # a graph of another layout fails in numpy or in onnxruntime, in any way
            raise ModelError(f"{model.path} does not answer as an SCRFD detector does: {error}") from error

    def look(
        self, pixels_rgb_u8: NDArray[np.uint8], *, canvas_px: int, score_min: float, border: float = 0.0
    ) -> Detections:
        """Detect faces with the picture's longer side scaled to `canvas_px`.

        Args:
            pixels_rgb_u8: (h, w, 3) uint8 RGB.
            canvas_px: longer side of what the network sees, in pixels.
            score_min: faces below are not returned.
            border: blank border on every side, as a share of the longer side: faces that fill the frame are
                missed without one (insightface#1518).
        """
        height, width = pixels_rgb_u8.shape[:2]
        scale = canvas_px / (max(height, width) * (1.0 + 2.0 * border))
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        interpolation = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
        small = cv2.resize(pixels_rgb_u8, inner, interpolation=interpolation)
        margin = round(border * max(height, width) * scale)
        size = [-(-(side + 2 * margin) // self._strides[-1]) * self._strides[-1] for side in inner]
        canvas = np.zeros((size[1], size[0], 3), np.uint8)
        canvas[margin : margin + inner[1], margin : margin + inner[0]] = small
        boxes, landmarks, scores = self._see(canvas, score_min)
        boxes = (boxes - margin) / scale
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        return Detections(boxes, (landmarks - margin) / np.float32(scale), scores)

    def _see(
        self, canvas: NDArray[np.uint8], score_min: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (n, 4), landmarks (n, 5, 2) and scores (n,) in the canvas, best first, each face once."""
        answers = self._session.run(None, {self._input: network_input(canvas)})
        # One row an anchor; some exports keep the batch's axis before them.
        answers = [answer.reshape(-1, answer.shape[-1]) for answer in answers]
        levels = len(self._strides)
        found = [
            self._level(stride, (canvas.shape[0] // stride, canvas.shape[1] // stride), answers[k::levels], score_min)
            for k, stride in enumerate(self._strides)
        ]
        boxes, landmarks, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.argsort(-scores, kind="stable")
        boxes, landmarks, scores = boxes[order], landmarks[order], scores[order]
        kept = _once(boxes)
        return boxes[kept], landmarks[kept], scores[kept]

    def _level(
        self, stride: int, places: tuple[int, int], answers: Sequence[NDArray[np.float32]], score_min: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return what one feature map sees: its scores, the sides of boxes and the landmarks are told from its places."""
        count = places[0] * places[1] * self._anchors
        shapes = [answer.shape for answer in answers]
        if shapes != [(count, width) for width in _WIDTHS]:
            raise ValueError(f"its map of stride {stride} has {shapes}, expected {count} rows of {_WIDTHS} numbers")
        scores, sides, points = answers
        rows = np.flatnonzero(scores[:, 0] >= score_min)
        if not rows.size:  # as in most maps of most pictures
            return np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
        y, x = np.divmod(rows // self._anchors, places[1])
        place = np.stack([x, y], axis=1).astype(np.float32) * stride
        sides = sides[rows] * stride
        boxes = np.concatenate([place - sides[:, :2], place + sides[:, 2:]], axis=1)
        return boxes, place[:, None] + points[rows].reshape(-1, 5, 2) * stride, scores[rows, 0]


def network_input(canvas_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the network sees of a picture (h, w, 3): (1, 3, h, w) in [-1, 1), channels in their order.

    Bit for bit `cv2.dnn.blobFromImage`, in a fifth of its time.
    """
    seen = np.empty((1, 3, *canvas_rgb_u8.shape[:2]), np.float32)
    for plane, out in zip(cv2.split(canvas_rgb_u8), seen[0], strict=True):
        np.subtract(plane, np.float32(_GREY), out=out)
    seen *= np.float32(1.0 / _SPREAD)
    return seen


def _once(boxes: NDArray[np.float32]) -> list[int]:
    """Return the rows of boxes, best first, that overlap no better one (greedy non-maximum suppression)."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    areas = sides.prod(axis=1)
    kept: list[int] = []
    left = np.arange(len(boxes))
    while left.size:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        shared = np.maximum(high - low + 1, 0).prod(axis=1)
        left = left[shared <= _OVERLAP_MAX * (areas[best] + areas[left] - shared)]
    return kept


def _freed(model: ModelFile) -> bytes:
    """Return the graph with batch, height and width left open."""
    import onnx

    graph_file = onnx.load_model_from_string(model.data)
    graph = graph_file.graph
    stored = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in stored]  # old exporters list the weights as inputs too
    dims = inputs[0].type.tensor_type.shape.dim if inputs else ()
    if len(dims) != 4:  # noqa: PLR2004 - NCHW
        raise ModelError(f"{model.path} takes no picture (its input has {len(dims)} axes, not 4); it is no detector.")
    for axis, name in ((0, "n"), (2, "height"), (3, "width")):
        dims[axis].dim_param = name
    for place, output in enumerate(graph.output):
        for axis, dim in enumerate(output.type.tensor_type.shape.dim[:-1]):
            dim.dim_param = f"free_{place}_{axis}"
    del graph.value_info[:]  # shapes recorded by the exporter for 640x640
    return bytes(graph_file.SerializeToString())
