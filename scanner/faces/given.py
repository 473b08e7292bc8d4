"""Finders that find nothing: crops that are aligned already, and pictures taken whole."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scanner.faces.align import align
from scanner.faces.base import Found
from scanner.faces.domain import Landmarks
from scanner.faces.quality import Gates, sharpness
from scanner.records import Face, Picture, Quality, Reason, Reject

_SQUARE_WITHIN = 0.1


@dataclass(frozen=True, slots=True)
class AlignedCrops:
    """Every picture is one aligned crop (eyes, nose and mouth on ArcFace's template), or all are framed alike.

    `landmarks` say where the template's landmarks lie in every picture, as shares of its sides: a generator whose
    faces fill the frame more or less than the template asks for is brought to the template by one fixed warp.
    """

    side_px: int
    gates: Gates
    name: str = "aligned"
    landmarks: Landmarks | None = None

    @property
    def fingerprint(self) -> str:
        """Nothing but the side and the landmarks changes a crop."""
        return f"aligned-{self.side_px}" + ("" if self.landmarks is None else f"-{self.landmarks}")

    def find(self, picture: Picture) -> Found:
        """Return the picture as one crop; one that is far from square cannot be an aligned crop."""
        height, width = picture.pixels_rgb_u8.shape[:2]
        if abs(height - width) > _SQUARE_WITHIN * max(height, width):
            detail = f"{width}x{height} is not square, so it is no aligned crop; --faces detect finds and aligns faces"
            return Found(rejects=(_reject(picture, Reason.NOT_ALIGNED, detail),))
        if self.landmarks is None:
            return _one_face(picture, _resize(picture.pixels_rgb_u8, self.side_px, self.side_px), self.gates)
        # Shares of the sides; pixel centres are whole numbers.
        landmarks_px = np.array(self.landmarks) * (width, height) - 0.5
        return _one_face(picture, align(picture.pixels_rgb_u8, landmarks_px, side_px=self.side_px), self.gates)


@dataclass(frozen=True, slots=True)
class WholePictures:
    """Every picture is one 'face', squeezed to the network's input: for art and other non-face data."""

    width_px: int
    height_px: int
    gates: Gates
    name: str = "whole"

    @property
    def fingerprint(self) -> str:
        """Nothing but the size changes a crop."""
        return f"whole-{self.width_px}x{self.height_px}"

    def find(self, picture: Picture) -> Found:
        """Return the whole picture at the size that the embedder wants."""
        return _one_face(picture, _resize(picture.pixels_rgb_u8, self.width_px, self.height_px), self.gates)


def _one_face(picture: Picture, crop: NDArray[np.uint8], gates: Gates) -> Found:
    height, width = picture.pixels_rgb_u8.shape[:2]
    quality = Quality(size_px=float(min(height, width)), sharpness=sharpness(crop))
    refused = gates.refuse(quality)
    if refused is not None:
        return Found(rejects=(_reject(picture, *refused),))
    box = (0.0, 0.0, float(width), float(height))
    return Found(faces=(Face(picture.item_id, picture.uri, picture.identity, 0, crop, box, quality),))


def _resize(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = pixels.shape[0] > height or pixels.shape[1] > width
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _reject(picture: Picture, reason: Reason, detail: str) -> Reject:
    return Reject(picture.uri, reason, detail, picture.item_id, picture.identity)
