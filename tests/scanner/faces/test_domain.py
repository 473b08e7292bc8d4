"""Queries' looks by hand, and `bring` against the plain chain: shrink, save, open, enlarge."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scanner.faces.align import ARCFACE_LANDMARKS_PX, align
from scanner.faces.domain import (
    SPAN_OF_BOX,
    Look,
    bring,
    domain_of,
    is_grey,
    jpeg_quality,
    quantiles,
    shown,
    span_px,
    template_share,
)
from scanner.faces.given import AlignedCrops
from scanner.faces.quality import Gates, sharpness
from scanner.images import decode_rgb, encode_png
from scanner.records import Picture, Quality
from scanner.world.draw import face_pixels

WHOLE = Quality(size_px=36.0)
SEEN = Quality(detection_score=0.93, size_px=90.0)


def crop(number: int = 3, photo: int = 0) -> NDArray[np.uint8]:
    return face_pixels(5, number, photo)


def saved(pixels: NDArray[np.uint8], **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, **{"format": "JPEG", **options})
    return out.getvalue()


def on_the_road(data: bytes) -> NDArray[np.uint8]:
    """Return what `--faces aligned` makes of a file."""
    picture = Picture("0" * 32, "query", None, decode_rgb(data))
    return AlignedCrops(112, Gates()).find(picture).faces[0].crop_rgb_u8


JPEG = saved(crop(), quality=50)


# --- measuring


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_the_quality_that_pillow_saved_with_is_read_from_the_tables(subsampling: int) -> None:
    pixels = crop()
    for quality in range(1, 101):
        assert jpeg_quality(saved(pixels, quality=quality, subsampling=subsampling)) == quality


def test_a_grey_a_progressive_and_a_commented_jpeg_have_their_quality_too() -> None:
    grey = crop()[:, :, 0]

    assert jpeg_quality(saved(grey, quality=37)) == 37
    assert jpeg_quality(saved(crop(), quality=61, progressive=True, optimize=True)) == 61
    assert jpeg_quality(saved(crop(), quality=44, comment=b"x" * 300)) == 44


def test_tables_of_a_camera_count_as_the_quality_that_is_as_coarse() -> None:
    # Twice the luminance steps of quality 90 are those of quality 80: 20 % and 40 % of the standard table.
    table = Image.open(io.BytesIO(saved(crop(), quality=90))).quantization
    coarse = [min(255, 2 * step) for step in table[0]]

    assert abs((jpeg_quality(saved(crop(), qtables=[coarse, coarse])) or 0) - 80) <= 1


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xdb", encode_png(crop())])
def test_what_is_no_jpeg_has_no_quality(data: bytes) -> None:
    assert jpeg_quality(data) is None


@given(st.binary(max_size=300), st.integers(0, 400))
@example(b"", 22)
@settings(max_examples=60, deadline=None)
def test_broken_tables_never_raise(noise: bytes, at: int) -> None:
    for data in (b"\xff\xd8\xff" + noise, JPEG[:at] + noise + JPEG[at + 20 :], JPEG[:at]):
        found = jpeg_quality(data)
        assert found is None or 1 <= found <= 100


def test_grey_is_seen_in_the_pixels_and_not_in_the_mode() -> None:
    grey = np.repeat(crop()[:, :, :1], 3, axis=2)

    assert is_grey(grey)
    assert is_grey(decode_rgb(saved(grey, quality=40)))
    assert not is_grey(crop())


def test_the_size_is_the_pictures_side_or_what_the_detectors_box_spans() -> None:
    assert span_px((0, 0, 36, 36), WHOLE) == 36.0
    assert span_px((0, 0, 36, 38), WHOLE) == 36.0
    assert span_px((10, 20, 100, 140), SEEN) == pytest.approx(SPAN_OF_BOX * 90)
    # A detector's box may begin in the corner, or hold the whole picture.
    assert span_px((0, 0, 90, 120), SEEN) == pytest.approx(SPAN_OF_BOX * 90)


def test_a_frame_that_shows_half_of_the_template_has_twice_its_pixels_across_the_crop() -> None:
    # A picture of 56 of the template's 112 pixels, centred: its landmarks lie at (p - 28) / 56.
    landmarks = tuple((float(x), float(y)) for x, y in (ARCFACE_LANDMARKS_PX + 0.5 - 28) / 56)

    assert template_share(landmarks) == pytest.approx(2.0)
    assert span_px((0, 0, 36, 36), WHOLE, landmarks=landmarks) == pytest.approx(72.0)
    fill = shown(landmarks, side_px=112)
    assert fill.shape == (112, 112, 1)
    assert fill[30:82, 30:82].min() == 1.0
    assert fill[:26].max() == fill[:, :26].max() == fill[87:].max() == 0.0


def test_quantiles_of_a_domain_are_those_of_numpy() -> None:
    looks = [Look(24.0, 80), Look(48.0, 90, grey=True), Look(36.0), Look(30.0, 70)]
    domain = domain_of(looks, [9.0, 1.0, 5.0, 7.0], queries=9, webp=1)

    found = domain.summary()
    assert found["faces"] == 9
    assert found["looked_at"] == 4
    assert found["size_px"] == {"5": 24.9, "25": 28.5, "50": 33.0, "75": 39.0, "95": 46.2}
    assert found["jpeg"] == 0.75
    assert found["jpeg_quality"]["50"] == 80.0
    assert found["grey"] == found["webp"] == 0.25
    assert found["sharpness"] == quantiles([1.0, 5.0, 7.0, 9.0])


def test_of_vectors_no_compression_is_claimed() -> None:
    found = domain_of([Look(24.0)], [], queries=1, bytes_read=False).summary()

    assert found["jpeg"] is found["jpeg_quality"] is found["grey"] is found["webp"] is found["sharpness"] is None


# --- drawing


def test_a_draw_depends_on_the_reference_and_the_seed_alone() -> None:
    looks = [Look(float(size), quality) for size in range(20, 60) for quality in (None, 70, 90)]
    domain = domain_of(looks, [], queries=len(looks))
    turned = domain_of(looks[::-1], [], queries=len(looks))
    names = [f"{n:032x}:0" for n in range(300)]

    drawn = [domain.draw(name, seed=1) for name in names]
    assert [turned.draw(name, seed=1) for name in reversed(names)] == drawn[::-1]
    assert domain.digest == turned.digest != domain_of(looks[1:], [], queries=119).digest
    assert [domain.draw(name, seed=2) for name in names] != drawn


def test_draws_have_the_queries_shares() -> None:
    domain = domain_of([Look(24.0)] * 70 + [Look(90.0, 75)] * 30, [], queries=100)

    large = sum(domain.draw(f"{n:032x}:0", seed=0).size_px == 90.0 for n in range(5000))

    assert abs(large / 5000 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 5000)


# --- bringing


@pytest.mark.parametrize("size", [17, 36, 64, 89])
@pytest.mark.parametrize("quality", [None, 30, 90])
def test_a_brought_crop_is_what_the_road_makes_of_such_a_query(size: int, quality: int | None) -> None:
    """The slow twin: a picture file of that size, through the decoder and `--faces aligned`."""
    small = cv2.resize(crop(), (size, size), interpolation=cv2.INTER_AREA)
    data = encode_png(small) if quality is None else saved(small, quality=quality)

    brought = bring(crop(), Look(float(size), quality), own_px=130.0)

    assert np.array_equal(brought, on_the_road(data))


def test_a_grey_query_makes_a_grey_crop() -> None:
    small = cv2.resize(cv2.cvtColor(crop(), cv2.COLOR_RGB2GRAY), (40, 40), interpolation=cv2.INTER_AREA)

    brought = bring(crop(), Look(40.0, 60, grey=True), own_px=130.0)

    assert is_grey(brought)
    assert np.abs(brought.astype(int) - on_the_road(saved(small, quality=60))).max() <= 8  # reduced before or after
    assert is_grey(bring(crop(), Look(300.0, None, grey=True), own_px=130.0))


@pytest.mark.parametrize(("size", "own"), [(112.0, 130.0), (200.0, 130.0), (48.0, 40.0), (40.0, 40.0)])
def test_a_crop_with_no_more_pixels_than_the_query_is_left(size: float, own: float) -> None:
    pixels = crop()

    assert bring(pixels, Look(size), own_px=own) is pixels


def test_compression_alone_leaves_the_resolution() -> None:
    soft = on_the_road(encode_png(cv2.resize(crop(), (30, 30), interpolation=cv2.INTER_AREA)))

    coded = bring(soft, Look(60.0, 95), own_px=30.0)

    error = np.abs(coded.astype(int) - soft)
    assert 0 < error.mean() < 3
    assert np.array_equal(bring(crop(), Look(300.0, 20), own_px=300.0), crop())  # 3x3 pixels make one: nothing is seen
    worse = bring(crop(), Look(112.0, 20), own_px=130.0)
    assert np.array_equal(worse, decode_rgb(saved(crop(), quality=20)))


def test_fewer_pixels_and_lower_quality_take_more_away() -> None:
    sizes = [sharpness(bring(crop(), Look(float(size)), own_px=130.0)) for size in (90, 60, 40, 25)]
    errors = [
        float(np.abs(bring(crop(), Look(112.0, quality), own_px=112.0).astype(int) - crop()).mean())
        for quality in (95, 75, 40, 10)
    ]

    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)


def test_what_the_frame_does_not_show_is_black_as_on_the_queries_road() -> None:
    landmarks = tuple((float(x), float(y)) for x, y in (ARCFACE_LANDMARKS_PX + 0.5 - 16) / 80)
    side = 40  # pixels of a picture that shows 80 of the template's 112
    picture = cv2.resize(crop()[16:96, 16:96], (side, side), interpolation=cv2.INTER_AREA)
    query = align(picture, np.array(landmarks) * side - 0.5, side_px=112)

    look = Look(side * template_share(landmarks))
    brought = bring(crop(), look, own_px=130.0, fill=shown(landmarks, side_px=112))

    assert look.size_px == pytest.approx(56.0)
    assert brought[:15].max() == brought[:, :15].max() == brought[97:].max() == brought[:, 97:].max() == 0
    inner = (slice(18, 94), slice(18, 94))
    assert np.abs(brought[inner].astype(int) - query[inner]).mean() < 1.5


def test_oblong_crops_keep_their_sides() -> None:
    oblong = cv2.resize(crop(), (160, 80), interpolation=cv2.INTER_AREA)

    brought = bring(oblong, Look(20.0, 80), own_px=80.0)

    small = cv2.resize(oblong, (40, 20), interpolation=cv2.INTER_AREA)
    expected = cv2.resize(decode_rgb(saved(small, quality=80)), (160, 80), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(brought, expected)


def test_the_crop_itself_is_never_written_to() -> None:
    pixels = crop()
    before = pixels.copy()

    for look in (Look(20.0, 30, grey=True), Look(112.0, 30), Look(20.0)):
        bring(pixels, look, own_px=130.0, fill=np.zeros((112, 112, 1), np.float32))

    assert np.array_equal(pixels, before)
    assert replace(Look(20.0), grey=True) == Look(20.0, None, grey=True)
