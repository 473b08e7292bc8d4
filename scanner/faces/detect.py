"""Find faces, align them, and let nothing vanish without a reason."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scanner.faces.align import align
from scanner.faces.base import Found
from scanner.faces.quality import Gates, frontality, sharpness
from scanner.faces.scrfd import Detections, Scrfd
from scanner.records import Face, Picture, Quality, Reason, Reject

Select = Literal["largest", "central", "all"]


@dataclass(frozen=True, slots=True)
class LookPlan:
    """At which sizes a picture is looked at until a face is seen.

    First at its own size within [`canvas_min_px`, `canvas_max_px`]; then with a border, for a face that fills the
    frame; then larger, for small faces; then small with a wide border.
    """

    canvas_min_px: int = 320
    canvas_max_px: int = 640

    def attempts(self, side_px: int) -> tuple[tuple[int, float], ...]:
        """Return (canvas_px, border share) pairs for a picture whose longer side is `side_px`."""
        first = min(max(side_px, self.canvas_min_px), self.canvas_max_px)
        larger = 2 * self.canvas_max_px if side_px > self.canvas_max_px else self.canvas_max_px
        return ((first, 0.0), (first, 0.3), (larger, 0.0), (self.canvas_min_px, 0.8))


@dataclass(frozen=True, slots=True)
class DetectedFaces:
    """SCRFD, alignment and quality gates, as one finder.

    Attributes:
        detector: the network.
        side_px: side of the crops.
        select: "largest" (by box), "central" (large, and near the middle: for portraits with people behind),
            or "all".
        faces_max: most faces of one picture; more are rejected, not forgotten.
    """

    detector: Scrfd
    side_px: int
    select: Select = "central"
    gates: Gates = field(default_factory=Gates)
    plan: LookPlan = field(default_factory=LookPlan)
    faces_max: int = 64
    name: str = "detect"

    @property
    def fingerprint(self) -> str:
        """Hash of the detector and of every setting that changes a crop."""
        settings = {
            "detector": self.detector.sha256, "side_px": self.side_px, "select": self.select,
            "gates": asdict(self.gates), "plan": asdict(self.plan), "faces_max": self.faces_max,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def find(self, picture: Picture) -> Found:
        """Return the aligned faces of `picture`."""
        pixels = picture.pixels_rgb_u8
        seen = self._look(pixels)
        if len(seen) == 0:
            height, width = pixels.shape[:2]
            return Found(rejects=(_reject(picture, Reason.NO_FACE, f"no face seen in {width}x{height} pixels"),))
        order = _ranking(seen, self.select, pixels.shape[:2])
        wanted = order[: self.faces_max if self.select == "all" else 1]
        faces: list[Face] = []
        rejects: list[Reject] = []
        for place in wanted:
            crop = align(pixels, seen.landmarks_px[place], side_px=self.side_px)
            quality = _quality(seen, place, crop)
            refused = self.gates.refuse(quality)
            if refused is not None:
                rejects.append(_reject(picture, *refused))
                continue
            x0, y0, x1, y1 = (float(v) for v in seen.boxes_px[place])
            face = Face(picture.item_id, picture.uri, picture.identity, len(faces), crop, (x0, y0, x1, y1), quality)
            faces.append(face)
        if self.select == "all" and len(order) > self.faces_max:
            left = len(order) - self.faces_max
            rejects.append(_reject(picture, Reason.TOO_MANY_FACES, f"{left} faces beyond the {self.faces_max} largest"))
        return Found(tuple(faces), tuple(rejects))

    def _look(self, pixels: NDArray[np.uint8]) -> Detections:
        score_min = self.gates.detection_score_min
        for canvas_px, border in self.plan.attempts(max(pixels.shape[:2])):
            seen = self.detector.look(pixels, canvas_px=canvas_px, score_min=score_min, border=border)
            if len(seen):
                return seen
        return seen


def _ranking(seen: Detections, select: Select, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return rows of `seen`, the wanted face first; equal faces keep the detector's order."""
    sides = seen.boxes_px[:, 2:] - seen.boxes_px[:, :2]
    worth = sides.prod(1).astype(np.float64)
    if select == "central":
        middle = (seen.boxes_px[:, :2] + seen.boxes_px[:, 2:]) / 2 - np.array([shape[1], shape[0]]) / 2
        worth -= 2.0 * (middle.astype(np.float64) ** 2).sum(1)  # insightface's rule
    return np.argsort(-worth, kind="stable")


def _quality(seen: Detections, place: np.intp, crop: NDArray[np.uint8]) -> Quality:
    x0, y0, x1, y1 = seen.boxes_px[place]
    return Quality(
        detection_score=float(np.clip(seen.scores[place], 0.0, 1.0)),
        size_px=float(min(x1 - x0, y1 - y0)),
        sharpness=sharpness(crop),
        frontality=frontality(seen.landmarks_px[place]),
    )


def _reject(picture: Picture, reason: Reason, detail: str) -> Reject:
    return Reject(picture.uri, reason, detail, picture.item_id, picture.identity)
