"""Draw faces of people who do not exist.

A picture is one person (`Identity`) in one set of circumstances (`Nuisance`); it depends
on these two alone, never on what was drawn before. The same numbers give the same bytes,
as long as processor and library versions stay: other ones may round a pixel differently.

    person = draw_identity(world_seed=1, number=42)
    photo = draw_nuisance(np.random.default_rng(7))
    crop = draw_face(person, photo)                  # aligned, uint8 RGB (112, 112, 3)
    image, landmarks_px = draw_photo(person, photo)  # wider, with its true landmarks
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scanner.world.canvas import Canvas
from scanner.world.curves import TEMPLATE_112_PX
from scanner.world.features import paint_brows, paint_eyes, paint_mouth
from scanner.world.hair import paint_back_hair, paint_beard, paint_cap
from scanner.world.head import Head, stand_aligned, stand_in_photo
from scanner.world.identity import Identity, draw_identity
from scanner.world.light import expose
from scanner.world.nuisance import Cover, Nuisance, draw_nuisance
from scanner.world.props import paint_backdrop, paint_clothes, paint_cover, paint_glasses
from scanner.world.skin import paint_ears, paint_face, paint_neck, paint_nose

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "TEMPLATE_112_PX",
    "Cover",
    "Identity",
    "Nuisance",
    "draw_face",
    "draw_identity",
    "draw_nuisance",
    "draw_photo",
    "face_pixels",
]

_PHOTO_STREAM = 0x2E  # keeps photo draws apart from the identity draws of the same numbers


def draw_face(identity: Identity, nuisance: Nuisance, *, size_px: int = 112) -> NDArray[np.uint8]:
    """Draw an aligned crop.

    The five landmarks lie where an aligner would put them: the least-squares similarity
    onto `TEMPLATE_112_PX`, off by the photo's small landmark error.

    Returns:
        uint8 RGB (size_px, size_px, 3).
    """
    return _render(stand_aligned(identity, nuisance, size_px), size_px)


def draw_photo(
    identity: Identity, nuisance: Nuisance, *, size_px: int = 160
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw the same face rolled and off centre in a wider picture.

    Returns:
        The picture, uint8 RGB (size_px, size_px, 3), and its true landmarks in pixels,
        float32 (5, 2): left eye, right eye, nose tip, left and right mouth corner, as
        seen in the picture. Pixel centres are whole numbers.
    """
    head = stand_in_photo(identity, nuisance, size_px)
    return _render(head, size_px), head.landmarks_px()


def face_pixels(
    world_seed: int, number: int, photo: int, *, hard: float = 1.0, size_px: int = 112
) -> NDArray[np.uint8]:
    """Draw aligned photo `photo` of person `number`: uint8 RGB (size_px, size_px, 3)."""
    rng = np.random.default_rng([world_seed, number, photo, _PHOTO_STREAM])
    return draw_face(draw_identity(world_seed, number), draw_nuisance(rng, hard=hard), size_px=size_px)


def _render(head: Head, size_px: int) -> NDArray[np.uint8]:
    canvas = Canvas(size_px, head.unit_px)
    paint_backdrop(canvas, head)
    paint_back_hair(canvas, head)
    paint_neck(canvas, head)
    paint_clothes(canvas, head)
    paint_ears(canvas, head)
    paint_face(canvas, head)
    paint_beard(canvas, head)
    paint_nose(canvas, head)
    paint_mouth(canvas, head)
    paint_eyes(canvas, head)
    paint_brows(canvas, head)
    paint_cap(canvas, head)
    paint_glasses(canvas, head)
    paint_cover(canvas, head)
    return expose(canvas.finish(), head)
