"""What pictures the queries' faces lie in (pixels, compression, colours), and references' crops brought to the same.

A recogniser gives every pair of small, blurred or compressed faces a higher score, so strangers' photos at full size
say nothing about how near strangers are to a generator of small pictures.  The size of a face is counted in *source
pixels across the crop*: the side of the square in the picture that the alignment blew up, or reduced, to the crop.

    look = domain.draw(face_id, seed=0)                   # one query's size, compression and colour
    crop = bring(crop_rgb_u8, look, own_px=130.0)         # a reference's crop as if it had been such a picture
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from scanner.faces.align import ARCFACE_LANDMARKS_PX, ARCFACE_SIDE_PX, align, similarity
from scanner.records import Quality

SPAN_OF_BOX: Final = 1.41
"""Side of the aligned square over the shorter side of SCRFD's box: median of 250 LFW photos and of 107 generated
portraits (1.408 both; nine in ten within 1.32 and 1.50)."""
QUANTILES: Final = (5, 25, 50, 75, 95)

_SIZE_MIN_PX: Final = 4
_NEARLY: Final = 1.25
"""A crop with fewer times the pixels is taken as it is: reducing it by so little would blur it once more than the query was."""
_UNSEEN_FROM: Final = 2.0
"""Crop sides from which a picture's compression is no longer seen in its crop: 2x2 of its pixels and more make one."""
_GREY_SPREAD: Final = 2.0
"""Mean difference of the channels, in levels, under which a picture is grey: JPEG moves grey ones by less."""
_LUMINANCE: Final = np.array(
    [
        16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
    ]
)  # fmt: skip
"""Luminance quantisation of ITU-T T.81, table K.1, which libjpeg scales by the quality."""
_DQT, _SOS, _EOI = 0xDB, 0xDA, 0xD9

Landmarks = tuple[tuple[float, float], ...]
"""Five points as shares of a picture's sides, in the template's order."""


@dataclass(frozen=True, slots=True)
class Look:
    """One query's picture.

    Attributes:
        size_px: source pixels across the aligned crop, > 0.
        jpeg_quality: 1 to 100, libjpeg's scale; None for a picture without JPEG.
        grey: without colour.
    """

    size_px: float
    jpeg_quality: int | None = None
    grey: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """The looks of the queries, as a list to draw from.

    Attributes:
        looks: of the queries looked at; at least one.  Sorted, so that a draw does not depend on the queries' order.
        queries: number of all faces scanned.
        sharpness: of the same queries, sorted.
        bytes_read: False where the queries came as vectors: their compression and colours are not known.
        webp: how many of them are WebP, whose quality is not written in the file.
        landmarks: where the template's landmarks lie in queries that are all framed alike but not on the template.
    """

    looks: tuple[Look, ...]
    queries: int
    sharpness: tuple[float, ...] = ()
    bytes_read: bool = True
    webp: int = 0
    landmarks: Landmarks | None = None

    def draw(self, face_id: str, *, seed: int) -> Look:
        """Return the look for one reference: the same for the same `face_id` and seed, whatever stands beside it."""
        digest = hashlib.sha256(f"{seed}:{face_id}".encode()).digest()
        return self.looks[int.from_bytes(digest[:8], "big") % len(self.looks)]

    def summary(self) -> dict[str, Any]:
        """Return quantiles for a report, as JSON has them."""
        qualities = [look.jpeg_quality for look in self.looks if look.jpeg_quality is not None]
        n = len(self.looks)
        return {
            "faces": self.queries,
            "looked_at": n,
            "size_px": quantiles([look.size_px for look in self.looks]),
            "jpeg": len(qualities) / n if self.bytes_read else None,
            "jpeg_quality": quantiles(qualities) if qualities else None,
            "webp": self.webp / n if self.bytes_read else None,
            "grey": sum(look.grey for look in self.looks) / n if self.bytes_read else None,
            "sharpness": quantiles(self.sharpness) if self.sharpness else None,
        }

    @property
    def digest(self) -> str:
        """16 hex digits of everything that a draw depends on."""
        return hashlib.sha256(repr((self.looks, self.landmarks)).encode()).hexdigest()[:16]


def domain_of(
    looks: Sequence[Look], sharpness: Sequence[float], *, queries: int, bytes_read: bool = True, webp: int = 0,
    landmarks: Landmarks | None = None,
) -> Domain:  # fmt: skip
    """Return the domain of some looks, in whatever order they come."""
    ordered = sorted(looks, key=lambda look: (look.size_px, look.jpeg_quality or 0, look.grey))
    return Domain(tuple(ordered), queries, tuple(sorted(sharpness)), bytes_read, webp, landmarks)


def quantiles(values: Sequence[float] | NDArray[np.floating]) -> dict[str, float]:
    """Return the `QUANTILES` of values, by name of the percentage, to three decimals."""
    found = np.percentile(np.asarray(values, np.float64), QUANTILES)
    return {str(name): round(float(value), 3) for name, value in zip(QUANTILES, found, strict=True)}


def span_px(box_px: Sequence[float], quality: Quality, *, landmarks: Landmarks | None = None) -> float:
    """Return the source pixels across the aligned crop of a face.

    A box that is the whole picture, at full detection score, is that of `--faces aligned` or `whole`: the picture was
    the crop.  Every other box is a detector's, and the crop is `SPAN_OF_BOX` as wide.

    Args:
        box_px: x0, y0, x1, y1 in the picture.
        quality: of the face.
        landmarks: of pictures framed alike (see `Domain`).
    """
    x0, y0, x1, y1 = box_px
    whole = x0 == 0.0 == y0 and quality.detection_score == 1.0 and quality.size_px == min(x1, y1)
    if not whole:
        return SPAN_OF_BOX * min(x1 - x0, y1 - y0)
    return quality.size_px if landmarks is None else quality.size_px * template_share(landmarks)


def template_share(landmarks: Landmarks) -> float:
    """Return the template's side over a picture's side, for pictures whose landmarks lie at these shares."""
    warp = similarity(np.array(landmarks), ARCFACE_LANDMARKS_PX / ARCFACE_SIDE_PX)
    return 1.0 / float(np.hypot(warp[0, 0], warp[1, 0]))


def shown(landmarks: Landmarks, *, side_px: int) -> NDArray[np.float32]:
    """Return how much of each pixel of an aligned crop such pictures fill: (side_px, side_px, 1), in [0, 1]."""
    white = np.full((4 * side_px, 4 * side_px, 3), 255, np.uint8)
    filled = align(white, np.array(landmarks) * (4 * side_px) - 0.5, side_px=side_px)
    return filled[:, :, :1].astype(np.float32) / 255.0


def jpeg_quality(data: bytes) -> int | None:
    """Return the quality that a JPEG was saved at, or None for what is no JPEG or has no table.

    The quality of libjpeg whose luminance table is as coarse (has the nearest sum): exact for what libjpeg and Pillow
    write, and the nearest equivalent for the tables of cameras.
    """
    table = _luminance_table(data)
    if table is None:
        return None
    return int(np.argmin(np.abs(_SUMS - table.sum()))) + 1


def is_grey(pixels_rgb_u8: NDArray[np.uint8]) -> bool:
    """Return whether a picture has no colour, whatever its file calls it."""
    spread = pixels_rgb_u8.max(2).astype(np.int16) - pixels_rgb_u8.min(2)
    return float(spread.mean()) < _GREY_SPREAD


def bring(
    crop_rgb_u8: NDArray[np.uint8], look: Look, *, own_px: float, fill: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """Return a reference's crop as it would be had its picture looked like `look`.

    It is reduced by area averaging, compressed at that size, and enlarged as the road enlarges a query.  A crop that
    has no more pixels than `look` keeps those it has, and the error of a compression at the query's size is added to
    it, so that nothing is resampled twice.  Where nothing is to be done the crop itself comes back.

    Args:
        crop_rgb_u8: (h, w, 3) uint8.
        look: what to bring it to.
        own_px: source pixels across this crop.
        fill: (h, w, 1) of what the queries' frame fills (see `shown`); the rest becomes black, as on their road.
    """
    height, width = crop_rgb_u8.shape[:2]
    side = min(height, width)
    pixels = _without_colour(crop_rgb_u8) if look.grey else crop_rgb_u8
    reduce = look.size_px < min(own_px / _NEARLY, side)
    compress = look.jpeg_quality is not None and look.size_px < _UNSEEN_FROM * side
    if reduce or compress:
        scale = max(look.size_px, _SIZE_MIN_PX) / side
        small = _resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
        coded = _compress(small, look) if compress else small
        if reduce:
            pixels = _resize(coded, width, height)
        else:
            error = _resize(coded.astype(np.float32) - small, width, height)
            pixels = np.clip(np.rint(pixels + error), 0, 255).astype(np.uint8)
    return pixels if fill is None else np.rint(pixels * fill).astype(np.uint8)


def _sums() -> NDArray[np.int64]:
    """Return the sums of libjpeg's luminance tables of qualities 1 to 100."""
    scale = np.concatenate([5000 // np.arange(1, 50), 200 - 2 * np.arange(50, 101)])
    return np.asarray(np.clip((_LUMINANCE * scale[:, None] + 50) // 100, 1, 255).sum(1), np.int64)


_SUMS: Final = _sums()


def _luminance_table(data: bytes) -> NDArray[np.int64] | None:
    """Return quantisation table 0 of a JPEG, in the file's order, without any decoder: queries are not trusted."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] and data[at + 1] not in (_SOS, _EOI):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length] if data[at + 1] == _DQT else b""
        while segment:
            wide, number = bool(segment[0] >> 4), segment[0] & 15
            values = segment[1 : 1 + _LUMINANCE.size * (1 + wide)]
            if len(values) < _LUMINANCE.size * (1 + wide):
                return None
            if number == 0:
                return np.frombuffer(values, ">u2" if wide else "u1").astype(np.int64)
            segment = segment[1 + len(values) :]
        at += 2 + length
    return None


def _without_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2).astype(np.uint8)


def _compress(pixels: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """Save as JPEG with Pillow's defaults (half the chroma each way) and decode again."""
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    (image.convert("L") if look.grey else image).save(out, "JPEG", quality=look.jpeg_quality)
    return np.array(JpegImagePlugin.JpegImageFile(io.BytesIO(out.getvalue())).convert("RGB"), np.uint8)


def _resize(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize as the road does: areas when it shrinks, bilinear when it enlarges."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = pixels.shape[0] > height or pixels.shape[1] > width
    return np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    )
