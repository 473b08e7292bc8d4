"""Encoded bytes to upright RGB pixels, and back to PNG.

Owns which picture formats are read and every limit on them.  A picture is told by its first bytes, never
by its name, and only the formats of `FORMATS` reach Pillow: its other readers (EPS starts a program)
are never asked.  Pictures that cannot be had whole are refused with a reason; nothing is repaired.

    pixels_rgb_u8 = decode_rgb(item.data)     # raises ImageRefused
    picture = decode_item(item)               # Picture | Reject, never raises
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from scanner.records import Item, Picture, Reason, Reject

PIXELS_MAX: Final = 50_000_000
SIDE_MIN: Final = 8
FILE_BYTES_MAX: Final = 64 << 20
SCANNED_PIXELS_MAX: Final = 2_000_000_000
"""Pixels times scans of one JPEG: a few kilobytes of empty scans could else keep a decoder busy for hours."""

FORMATS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}

_MAGIC: Final = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
    "PPM": (b"P4", b"P5", b"P6"),  # not P1 to P3, which are text: Pillow reads them in slow Python
}
# Everything that the pixels depend on.  The rest (texts, profiles, animation) can be a bomb of its own.
_PNG_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"})
_PNG_HEAD_BYTES: Final = 8
# Tables, frames, Adobe's mark (APP14) and JFIF's; not the other APPn, nor comments.
_JPEG_NEEDED: Final = frozenset({*range(0xC0, 0xE1), 0xEE})
# Where the walk stops: the first scan, the end, and what is no segment with a length.
_JPEG_ENDS: Final = b"\0\x01\xff" + bytes(range(0xD0, 0xDB))
_ORIENTATION_TAG: Final = 0x0112
_WARNING_FORMATS: Final = frozenset({"GIF", "TIFF"})
# The filters belong to the process: two threads that change them at once can leave them changed.
_WARNINGS_LOCK = threading.Lock()

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageRefused(Exception):
    """Bytes that give no whole picture within the limits.  Belongs into a `Reject`, not to the user."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode_rgb(
    data: bytes, *, pixels_max: int = PIXELS_MAX, side_min: int = SIDE_MIN, bytes_max: int = FILE_BYTES_MAX
) -> NDArray[np.uint8]:
    """Return the picture as (h, w, 3) uint8, RGB, upright, C-contiguous; what is transparent is white.

    Animations give their first frame.  16-bit grey is scaled.  The size is checked in the header, before
    pixels are allocated.

    Raises:
        ImageRefused: with the reason and a sentence that holds no content.
    """
    return decode_reduced(data, side_wanted=None, pixels_max=pixels_max, side_min=side_min, bytes_max=bytes_max)[0]


def decode_reduced(
    data: bytes,
    *,
    side_wanted: int | None,
    pixels_max: int = PIXELS_MAX,
    side_min: int = SIDE_MIN,
    bytes_max: int = FILE_BYTES_MAX,
) -> tuple[NDArray[np.uint8], int]:
    """Return the picture as `decode_rgb` does, made smaller by 1, 2, 4 or 8, and that divisor.

    Only JPEGs get smaller (their decoder skips the work), and never so far that the shorter side falls
    below `side_wanted` pixels.  A place in the result times the divisor is the place in the full picture.
    """
    kind = _check_bytes(data, bytes_max, pixels_max)
    exif = b""
    if kind == "PNG":
        data = _plain_png(data)
    elif kind == "JPEG":
        data, exif = _plain_jpeg(data)
    with _silence() if kind in _WARNING_FORMATS else nullcontext():
        try:
            image: Image.Image = FORMATS[kind](io.BytesIO(data))
            full_size = image.size
            scans = data.count(b"\xff\xda") if kind == "JPEG" else 1
            _check_size(*full_size, pixels_max=pixels_max, side_min=side_min, scans=scans)
            if kind == "JPEG" and side_wanted is not None:
                shrink = max(1, min(full_size) // max(1, side_wanted))
                image.draft(None, (max(1, full_size[0] // shrink), max(1, full_size[1] // shrink)))
            image.load()
            divisor = round(max(full_size) / max(image.size))
            if kind != "TIFF":  # Pillow turns TIFFs itself when it loads them.
                turn = _TURNS.get(_orientation(exif or image.info.get("exif", b"")))
                image = image if turn is None else image.transpose(turn)
            return np.array(_to_rgb(image, kind), dtype=np.uint8), divisor
        except ImageRefused:
            raise
        except Exception as error:  # noqa: BLE001 - broken pictures make Pillow raise nearly anything
            # It has no exception of its own for a file that ends early.
            if isinstance(error, EOFError) or "truncated" in str(error).lower():
                raise ImageRefused(Reason.TRUNCATED, f"the {kind} file ends before its picture does") from None
            detail = f"a {kind} file that cannot be decoded ({type(error).__name__})"
            raise ImageRefused(Reason.NOT_AN_IMAGE, detail) from None


def decode_item(item: Item, *, pixels_max: int = PIXELS_MAX, side_min: int = SIDE_MIN) -> Picture | Reject:
    """Decode an item; whatever is wrong with it comes back as a reject."""
    try:
        pixels = decode_rgb(item.data, pixels_max=pixels_max, side_min=side_min)
    except ImageRefused as refused:
        return Reject(item.uri, refused.reason, refused.detail, item.item_id, item.identity)
    return Picture(item.item_id, item.uri, item.identity, pixels)


def encode_png(pixels_rgb_u8: NDArray[np.uint8], *, level: int = 6) -> bytes:
    """Return (h, w, 3) uint8 RGB as PNG, at zlib's `level`: same pixels, same bytes, with the same Pillow."""
    if pixels_rgb_u8.dtype != np.uint8 or pixels_rgb_u8.shape[2:] != (3,):
        raise ValueError(f"expected uint8 (h, w, 3), got {pixels_rgb_u8.dtype} {pixels_rgb_u8.shape}")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels_rgb_u8)).save(out, "PNG", compress_level=level, optimize=False)
    return out.getvalue()


def _check_bytes(data: bytes, bytes_max: int, pixels_max: int) -> str:
    """Return the format's name, or refuse what can be refused without a decoder."""
    if not data:
        raise ImageRefused(Reason.EMPTY_FILE, "not a single byte")
    if len(data) > bytes_max:
        raise ImageRefused(Reason.TOO_LARGE_FILE, f"{len(data)} bytes, at most {bytes_max} are read")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        # Pillow allocates WebP's canvas when it opens the file, so the size is read here.
        _check_size(*_webp_size(data), pixels_max=pixels_max, side_min=1)
        if len(data) < int.from_bytes(data[4:8], "little") + 8:
            raise ImageRefused(Reason.TRUNCATED, "the WebP file ends before its picture does")
        return "WebP"
    for kind, beginnings in _MAGIC.items():
        if data.startswith(beginnings):
            return kind
    raise ImageRefused(Reason.NOT_AN_IMAGE, f"none of {', '.join(FORMATS)} begins like this")


def _check_size(width: int, height: int, *, pixels_max: int, side_min: int, scans: int = 1) -> None:
    if width * height > pixels_max:
        raise ImageRefused(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels, at most {pixels_max} in all")
    if width * height * scans > SCANNED_PIXELS_MAX:
        raise ImageRefused(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels in {scans} scans")
    if min(width, height) < side_min:
        raise ImageRefused(Reason.TOO_SMALL, f"{width} x {height} pixels, each side needs {side_min}")


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Pillow's warnings about one picture from the user; one thread at a time."""
    log = logging.getLogger("PIL")
    with _WARNINGS_LOCK, warnings.catch_warnings(action="ignore"):
        level = log.level
        log.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            log.setLevel(level)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas; (0, 0) where the header makes no sense."""
    head = data[:30].ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _plain_png(data: bytes) -> bytes:
    """Return the PNG with nothing but the chunks its pixels need, each with a checksum that holds."""
    kept = [data[:8]]
    at = 8
    while True:
        head = data[at : at + _PNG_HEAD_BYTES]
        length = int.from_bytes(head[:4], "big")
        end = at + 12 + length
        if len(head) < _PNG_HEAD_BYTES or end > len(data):
            raise ImageRefused(Reason.TRUNCATED, "the PNG file ends before its picture does")
        name = head[4:]
        if name in _PNG_CHUNKS:
            chunk = data[at:end]
            if zlib.crc32(memoryview(chunk)[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise ImageRefused(Reason.NOT_AN_IMAGE, "a PNG file with a checksum that does not hold")
            kept.append(chunk)
        if name == b"IEND":
            return b"".join(kept)
        at = end


def _plain_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """Return the JPEG without texts, profiles and previews, and its EXIF.

    What cannot be understood stays as it is: Pillow knows best whether it is broken.
    """
    kept = [data[:2]]
    exif = b""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in _JPEG_ENDS:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at : at + 2 + length]
        if data[at + 1] in _JPEG_NEEDED:
            kept.append(segment)
        elif segment[4:10] == b"Exif\0\0":
            exif = exif or segment[4:]
        at += 2 + length
    return b"".join([*kept, data[at:]]), exif


def _orientation(exif: bytes) -> int:
    """Return EXIF's orientation, 1 to 8; 1 where there is none.

    Pillow's own reader parses all of EXIF and warns about everything else that may be wrong in it.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return int(value)
    except struct.error:
        return 1
    return 1


def _to_rgb(image: Image.Image, kind: str) -> Image.Image:
    """Return mode RGB, over white where the picture is transparent."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PPM"):
        # To the nearest of 256 levels; Pillow's own conversion clips everything above 255 to white.
        levels = np.array(image).astype(np.uint32)
        grey = ((np.minimum(levels, 65535) * 255 + 32767) // 65535).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in {"I", "F"}:
        raise ImageRefused(Reason.NOT_AN_IMAGE, f"a {kind} file of 32-bit samples, whose range is unknown")
    if image.mode == "CMYK" and kind == "JPEG" and "adobe" not in image.info:
        # Adobe stores CMYK inverted, and Pillow takes every CMYK JPEG for Adobe's.
        return ImageChops.invert(image).convert("RGB")
    if image.mode in {"LA", "PA", "La", "RGBA", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
