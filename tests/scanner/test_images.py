"""Decoding: every kind of picture comes out upright and RGB, every bad one with its reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scanner.images import (
    FILE_BYTES_MAX,
    ImageRefused,
    decode_item,
    decode_reduced,
    decode_rgb,
    encode_png,
)
from scanner.records import Item, Picture, Reason, Reject
from scanner.sources import options

RAMP = np.dstack([np.tile(np.arange(0, 240, 10, dtype=np.uint8), (16, 1))] * 3)
RAMP[:8, :, 1] = 0


@pytest.fixture(autouse=True)
def _tracing_ends() -> Iterator[None]:
    """A test may start `tracemalloc`; the next one is not slowed by it."""
    yield
    tracemalloc.stop()


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def refused(data: bytes, **limits: int) -> tuple[Reason, str]:
    with pytest.raises(ImageRefused) as caught:
        decode_rgb(data, **limits)
    return caught.value.reason, caught.value.detail


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    """Put a chunk behind IHDR."""
    return png[:33] + chunk(name, data) + png[33:]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "JPEG"])
def test_every_format_gives_the_pixels(kind: str) -> None:
    how = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}

    pixels = decode_rgb(encoded(Image.fromarray(RAMP), kind, **how))

    assert (pixels.shape, pixels.dtype) == ((16, 24, 3), np.uint8)
    assert pixels.flags["C_CONTIGUOUS"]
    assert pixels.flags["WRITEABLE"]
    assert np.abs(pixels.astype(int) - RAMP).max() <= (0 if kind != "JPEG" else 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (250, 0, 0)
    upright[8:, 16:] = (0, 0, 250)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = Image.fromarray(upright) if undo is None else Image.fromarray(upright).transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}

    pixels = decode_rgb(encoded(stored, kind, exif=exif.tobytes(), **how))

    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() <= 8


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1"]
)
def test_broken_exif_is_harmless(exif: bytes) -> None:
    assert decode_rgb(encoded(Image.fromarray(RAMP), "JPEG", exif=exif)).shape == (16, 24, 3)


def test_cmyk_of_both_polarities() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 200, 200, 0))
    adobe = encoded(cmyk, "JPEG", quality=100)
    at = adobe.index(b"\xff\xee")
    plain = adobe[:at] + adobe[at + 2 + int.from_bytes(adobe[at + 2 : at + 4], "big") :]

    # Adobe stores 255 - ink; without its marker the same numbers are the ink itself.
    assert np.allclose(decode_rgb(adobe)[8, 8], (255, 55, 55), atol=3)
    assert np.allclose(decode_rgb(plain)[8, 8], (0, 0, 0), atol=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled(kind: str) -> None:
    levels = np.tile(np.linspace(0, 65535, 16).astype(np.uint16), (16, 1))

    pixels = decode_rgb(encoded(Image.fromarray(levels), kind))

    assert pixels[0, :, 0].tolist() == [round(int(level) / 257) for level in levels[0]]
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_palette_with_and_without_transparency() -> None:
    palette = Image.fromarray((np.arange(256, dtype=np.uint8) % 3).reshape(16, 16), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])

    assert decode_rgb(encoded(palette))[0, :3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for transparency in (1, b"\xff\0\xff"):
        pixels = decode_rgb(encoded(palette, transparency=transparency))
        assert pixels[0, :3].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_alpha_is_laid_on_white() -> None:
    half = decode_rgb(encoded(Image.new("RGBA", (16, 16), (0, 0, 0, 128))))
    grey = decode_rgb(encoded(Image.new("LA", (16, 16), (40, 0))))
    colour = decode_rgb(encoded(Image.new("RGB", (16, 16), (9, 9, 9)), transparency=(9, 9, 9)))

    assert half[0, 0].tolist() == [127, 127, 127]
    assert grey[0, 0].tolist() == [255, 255, 255]
    assert colour[0, 0].tolist() == [255, 255, 255]


def test_grey_and_one_bit() -> None:
    assert decode_rgb(encoded(Image.new("L", (16, 16), 77)))[0, 0].tolist() == [77, 77, 77]
    assert decode_rgb(encoded(Image.new("1", (16, 16), 1)))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    how = {"lossless": True} if kind == "WEBP" else {}

    pixels = decode_rgb(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **how))

    assert pixels[8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "JPEG"])
def test_files_cut_in_the_middle_are_no_half_grey_pictures(kind: str) -> None:
    random = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(random), kind)

    for share in (0.5, 0.9):
        reason, detail = refused(data[: int(len(data) * share)])
        assert reason in {Reason.TRUNCATED, Reason.NOT_AN_IMAGE}
        assert kind.lower() in detail.lower()


def test_reasons_and_sentences() -> None:
    png = encoded(Image.fromarray(RAMP))
    damaged = bytearray(png)
    damaged[-20] ^= 1

    assert refused(b"") == (Reason.EMPTY_FILE, "not a single byte")
    assert refused(png, bytes_max=9) == (Reason.TOO_LARGE_FILE, f"{len(png)} bytes, at most 9 are read")
    assert refused(png, pixels_max=100) == (Reason.TOO_MANY_PIXELS, "24 x 16 pixels, at most 100 in all")
    assert refused(png, side_min=17) == (Reason.TOO_SMALL, "24 x 16 pixels, each side needs 17")
    assert refused(png[:60]) == (Reason.TRUNCATED, "the PNG file ends before its picture does")
    assert refused(bytes(damaged)) == (Reason.NOT_AN_IMAGE, "a PNG file with a checksum that does not hold")
    assert refused(b"<html>") == (
        Reason.NOT_AN_IMAGE,
        "none of JPEG, PNG, WebP, GIF, BMP, TIFF, PPM begins like this",
    )
    assert refused(encoded(Image.new("F", (16, 16)), "TIFF")) == (
        Reason.NOT_AN_IMAGE,
        "a TIFF file of 32-bit samples, whose range is unknown",
    )


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "TGA", "DDS", "PCX", "SGI", "JPEG2000"])
def test_formats_that_are_not_listed_are_not_tried(kind: str) -> None:
    assert refused(encoded(Image.fromarray(RAMP), kind))[0] is Reason.NOT_AN_IMAGE


def giant(kind: str) -> bytes:
    """Return a small file that claims 30 000 x 30 000 pixels."""
    side = 30_000
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    if kind == "PPM":
        return b"P6 30000 30000 255\n"
    small = encoded(Image.fromarray(RAMP), kind)
    if kind == "BMP":
        return small[:18] + struct.pack("<ii", side, side) + small[26:]
    if kind == "GIF":
        return small[:6] + struct.pack("<HH", side, side) + small[10:]
    at = small.index(b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", side, side) + small[at + 4 :]


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "GIF", "JPEG"])
def test_bombs_are_refused_before_memory_is_taken(kind: str) -> None:
    data = giant(kind)
    tracemalloc.start()

    reason, detail = refused(data)

    assert (reason, detail) == (Reason.TOO_MANY_PIXELS, "30000 x 30000 pixels, at most 50000000 in all")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20


def test_webp_bomb_is_refused_before_its_canvas_is_made() -> None:
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xff\x3f\0" * 2

    data = b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas

    assert refused(data) == (Reason.TOO_MANY_PIXELS, "16384 x 16384 pixels, at most 50000000 in all")


def test_gif_whose_frame_is_larger_than_its_screen() -> None:
    small = encoded(Image.fromarray(RAMP), "GIF")
    at = small.rindex(b"\x2c\0\0\0\0") + 5

    assert refused(small[:at] + struct.pack("<HH", 30_000, 30_000) + small[at + 4 :])[0] in {
        Reason.TOO_MANY_PIXELS,
        Reason.NOT_AN_IMAGE,
    }


def test_jpeg_of_endless_scans_is_refused() -> None:
    big = encoded(Image.new("RGB", (7000, 7000)), "JPEG")

    assert refused(big + b"\xff\xda" * 100) == (Reason.TOO_MANY_PIXELS, "7000 x 7000 pixels in 101 scans")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"iCCP", b"p\0\0" + zlib.compress(bytes(80 << 20))),
        (b"zTXt", b"k\0\0" + zlib.compress(bytes(80 << 20))),
        (b"tEXt", b"k\0" + b"x" * (3 << 20)),
        (b"acTL", b"\0" * 8),
        (b"gAMA", b""),
    ],
)
def test_png_chunks_that_no_pixel_needs_are_harmless(name: bytes, data: bytes) -> None:
    png = encoded(Image.fromarray(RAMP))
    tracemalloc.start()

    pixels = decode_rgb(with_chunk(png, name, data))

    assert (pixels == RAMP).all()
    assert tracemalloc.get_traced_memory()[1] < 8 << 20


def test_huge_profile_in_a_jpeg_is_harmless() -> None:
    data = encoded(Image.fromarray(RAMP), "JPEG", icc_profile=b"\0" * (8 << 20))

    assert decode_rgb(data).shape == (16, 24, 3)


def test_item_becomes_picture_or_reject() -> None:
    good = Item("a/b.png", encode_png(RAMP), "anna")
    bad = Item("a/c.png", b"nonsense", "anna")

    picture, reject = decode_item(good), decode_item(bad)

    assert isinstance(picture, Picture)
    assert (picture.item_id, picture.uri, picture.identity) == (good.item_id, "a/b.png", "anna")
    assert (picture.pixels_rgb_u8 == RAMP).all()
    assert reject == Reject(
        "a/c.png",
        Reason.NOT_AN_IMAGE,
        "none of JPEG, PNG, WebP, GIF, BMP, TIFF, PPM begins like this",
        bad.item_id,
        "anna",
    )


@pytest.mark.parametrize(
    ("side", "divisor"), [(400, 1), (200, 1), (150, 1), (100, 2), (50, 4), (49, 4), (20, 8), (1, 8)]
)
def test_large_jpegs_can_be_had_smaller(side: int, divisor: int) -> None:
    data = encoded(Image.new("RGB", (303, 205), "teal"), "JPEG")

    pixels, by = decode_reduced(data, side_wanted=side)

    assert by == divisor
    assert pixels.shape == (-(-205 // divisor), -(-303 // divisor), 3)
    assert divisor == 1 or min(pixels.shape[:2]) >= side


def test_png_is_the_same_each_time_and_comes_back() -> None:
    assert encode_png(RAMP) == encode_png(RAMP.copy())
    assert (decode_rgb(encode_png(RAMP)) == RAMP).all()
    with pytest.raises(ValueError, match=r"^expected uint8 \(h, w, 3\), got float64 \(2, 2\)$"):
        encode_png(np.zeros((2, 2)))  # type: ignore[arg-type]


def test_sources_and_decoder_agree_on_the_largest_file() -> None:
    assert FILE_BYTES_MAX == options.FILE_BYTES_MAX


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_broken_bytes_are_refused_and_nothing_else(kind: str, data: st.DataObject) -> None:
    good = encoded(Image.fromarray(RAMP), kind)
    broken = bytearray(good[: data.draw(st.integers(0, len(good)), label="length")])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(good)), st.integers(0, 255)), max_size=6)):
        if at < len(broken):
            broken[at] = value

    try:
        pixels = decode_rgb(bytes(broken), pixels_max=1_000_000)
    except ImageRefused:
        pass
    else:
        assert pixels.shape[0] * pixels.shape[1] <= 1_000_000


def test_threads_leave_the_warning_filters_alone() -> None:
    gif, tiff = encoded(Image.fromarray(RAMP), "GIF"), encoded(Image.fromarray(RAMP), "TIFF")
    before = list(warnings.filters)

    threads = [threading.Thread(target=lambda: [decode_rgb(gif), decode_rgb(tiff)] * 20) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(warnings.filters) == before


def test_no_warning_reaches_the_terminal() -> None:
    """Pillow is loud about broken TIFFs; what libtiff says of compressed ones cannot be had quiet from Python."""
    tiff = encoded(Image.fromarray(RAMP), "TIFF")
    program = (
        "import sys\nfrom scanner.images import decode_rgb, ImageRefused\n"
        f"good = {tiff!r}\n"
        "for at in range(8, len(good)):\n"
        "    try:\n        decode_rgb(good[:at] + bytes([good[at] ^ 0x5a]) + good[at + 1:])\n"
        "    except ImageRefused:\n        pass\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=Path(__file__).parents[2], timeout=60
    )

    assert (done.stdout, done.stderr) == (b"", b"")
