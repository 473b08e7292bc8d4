"""SCRFD (Guo et al. 2021): pictures in, boxes and five landmarks out.

insightface decodes the network's outputs; what is ours is the size at which a picture is looked at.
Published files are fixed to 640×640, so a 250-pixel picture costs six times what it needs.  The
graph has no other fixed size, so its input is freed here, and every picture is looked at in a canvas
of its own shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner.errors import ModelError
from scanner.sessions import Device, ModelFile, open_session

_COARSEST_PX = {9: 32, 15: 128}
"""Stride of the coarsest feature map, by the number of outputs of a network with landmarks."""


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
        from insightface.model_zoo.scrfd import SCRFD

        session = open_session(_freed(model), device, threads=threads, what=str(model.path))
        outputs = len(session.get_outputs())
        if outputs not in _COARSEST_PX:
            raise ModelError(
                f"{model.path} has {outputs} output{'s' if outputs != 1 else ''}; an SCRFD detector with five landmarks "
                "has 9 or 15. "
                "Without landmarks faces cannot be aligned: take the variant whose name has 'kps' or 'bnkps'."
            )
        self._network: Any = SCRFD(model_file=None, session=session)
        self._step_px = _COARSEST_PX[outputs]
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
        size = _canvas_size(inner[0] + 2 * margin, inner[1] + 2 * margin, self._step_px)
        canvas = np.zeros((size[1], size[0], 3), np.uint8)
        canvas[margin : margin + inner[1], margin : margin + inner[0]] = small[:, :, ::-1]  # insightface reads BGR
        found, landmarks = self._network.detect(canvas, input_size=size, det_thresh=score_min)
        boxes = (found[:, :4] - margin) / scale
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        return Detections(
            boxes.astype(np.float32), ((landmarks - margin) / scale).astype(np.float32), found[:, 4].astype(np.float32)
        )


def _canvas_size(width: int, height: int, step: int) -> tuple[int, int]:
    """Return width and height rounded up to whole steps of the coarsest feature map."""
    width, height = (-(-pixels // step) * step for pixels in (width, height))
    # insightface computes the height anew as int(width * (height / width)); where rounding makes that one pixel
    # less, it would shrink the canvas and shift what it finds.
    while int(width * (height / width)) != height:
        height += step
    return width, height


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
