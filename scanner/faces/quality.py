"""How good a crop is, and the gates that a face must pass."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner.records import Quality, Reason


@dataclass(frozen=True, slots=True)
class Gates:
    """Faces below these are rejected, with a reason each.

    The defaults only keep out what no recogniser can use; `sharpness_min` and `frontality_min` are off.

    Attributes:
        size_min_px: shorter side of the box.
        detection_score_min: detector's confidence, in [0, 1].
        sharpness_min: variance of the Laplacian of the crop's luminance; blurred crops lie under about 20.
        frontality_min: in [0, 1]; a profile lies under about 0.3.
    """

    size_min_px: float = 16.0
    detection_score_min: float = 0.5
    sharpness_min: float = 0.0
    frontality_min: float = 0.0

    def refuse(self, quality: Quality) -> tuple[Reason, str] | None:
        """Return the first gate that `quality` fails, with a sentence, or None."""
        checks = (
            (quality.size_px, self.size_min_px, Reason.FACE_TOO_SMALL, "px across"),
            (quality.detection_score, self.detection_score_min, Reason.FACE_UNSURE, "detection score"),
            (quality.sharpness, self.sharpness_min, Reason.FACE_TOO_BLURRED, "sharpness"),
            (quality.frontality, self.frontality_min, Reason.FACE_TURNED_AWAY, "frontality"),
        )
        for value, least, reason, unit in checks:
            if value < least:
                return reason, f"{value:.3g} {unit}, at least {least:.3g} asked"
        return None


def sharpness(crop_rgb_u8: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of a crop's luminance (Pech-Pacheco et al. 2000)."""
    grey = cv2.cvtColor(crop_rgb_u8, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def frontality(landmarks_px: NDArray[np.floating]) -> float:
    """Return 1 for a nose midway between the eyes, 0 for one on or beyond an eye's side.

    Args:
        landmarks_px: (5, 2) left eye, right eye, nose, mouth corners.
    """
    left, right, nose = (np.asarray(landmarks_px[i], np.float64) for i in range(3))
    across = right - left
    length = float(across @ across)
    if length <= 0.0:
        return 0.0
    place = float((nose - left) @ across) / length
    return float(np.clip(1.0 - 2.0 * abs(place - 0.5), 0.0, 1.0))
